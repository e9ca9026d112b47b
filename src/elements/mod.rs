//! The elements: one folder each, `mod.rs` the public face, `imp.rs` everything private.
//!
//! [`frame`] is the door between them and the analysis.

pub mod detect;
pub mod frame;
pub mod log;
pub mod overlay;

pub fn register(plugin: &gst::Plugin) -> Result<(), gst::glib::BoolError> {
    detect::register(plugin)?;
    log::register(plugin)?;
    overlay::register(plugin)
}
