//! The elements: one folder each, `mod.rs` the public face, `imp.rs` everything private.

pub fn register(_plugin: &gst::Plugin) -> Result<(), gst::glib::BoolError> {
    Ok(())
}
