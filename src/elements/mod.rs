//! The elements: one folder each, `mod.rs` the public face, `imp.rs` everything private.

pub mod log;

pub fn register(plugin: &gst::Plugin) -> Result<(), gst::glib::BoolError> {
    log::register(plugin)?;
    Ok(())
}
