//! `deepfakelog`: passes buffers through and writes their reports as JSON Lines.
//!
//! Each new report of a `deepfakedetect` gives one line, a JSON object with the report's fields in
//! snake_case and `buffer_pts`, the PTS of the first buffer that carried it. With `all-buffers`
//! each buffer gives a line, also one that carries a report of before, or none; then there are no
//! faces, and `pts`, `model` and `device` are `null`. Copies of a buffer, as an RTP payloader makes
//! them, count once. Of several detectors in a stream each has its lines, which the field `element`
//! tells apart, unless `detector` names one. [`deepfake_report::json::read`] reads either kind of
//! line.
//!
//! ```text
//! gst-launch-1.0 filesrc location=talk.mp4 ! decodebin ! deepfakedetect ! deepfakelog location=talk.jsonl ! fakesink
//! gst-launch-1.0 -q v4l2src ! videoconvert ! deepfakedetect ! deepfakelog location=- ! fakesink | jq .faces
//! ```
//!
//! It takes any caps, and so it may also sit behind an encoder, where the metadata is still on the
//! buffers.
//!
//! # Where lines go
//!
//! `location` is a path, used verbatim: a regular file, a FIFO or a character device; `-` or
//! `stdout`, and `stderr`, name the streams of the process (`./stdout` is a file of that name).
//! Other things, such as folders, are refused when the element starts. A regular file is rotated
//! before a line would make it longer than `max-size-bytes`: `log` becomes `log.1`, `log.1` becomes
//! `log.2`, up to `max-files`.
//!
//! # When it cannot write
//!
//! A thread of its own writes, behind a queue of at most `max-queue-bytes`, so that neither a full
//! disk nor a reader that sleeps holds up a frame. What cannot be written waits; when the queue is
//! full, the oldest lines are dropped and counted in `stats`. The element posts one warning when
//! trouble begins, tries again by itself, and posts an info message when it works again. At the end
//! of the stream, and when it stops, everything is on the disk before EOS goes on or the state
//! change returns, unless that takes longer than `drain-timeout`. With `on-error=fail` a log that
//! cannot be opened keeps the element from starting, and trouble later is an error that ends the
//! stream.

use gst::glib;
use gst::prelude::*;

mod imp;
mod output;
mod queue;
mod writer;

/// What to do when a log cannot be opened or written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstDeepfakeLogOnError")]
#[repr(i32)]
pub enum OnError {
    #[default]
    #[enum_value(name = "Post a warning, let frames pass, and try again", nick = "passthrough")]
    Passthrough,
    #[enum_value(name = "Post an error and stop the stream", nick = "fail")]
    Fail,
}

glib::wrapper! {
    pub struct DeepfakeLog(ObjectSubclass<imp::DeepfakeLog>) @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    OnError::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    gst::Element::register(Some(plugin), "deepfakelog", gst::Rank::NONE, DeepfakeLog::static_type())
}
