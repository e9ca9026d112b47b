//! Frames of real video.

use std::path::Path;

use gst::prelude::*;
use gst_video::video_frame::{Readable, VideoFrame};

/// Frames of a clip that `make deps` installs, 15 a second, as RGB in its own size.
pub fn frames(name: &str, count: usize) -> Vec<VideoFrame<Readable>> {
    gst::init().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/clips").join(name);
    assert!(path.is_file(), "{} is missing: run `make deps`", path.display());
    let pipeline = gst::parse::launch(&format!(
        "filesrc location=\"{}\" ! decodebin ! videorate ! videoconvert ! video/x-raw,format=RGB,framerate=15/1 ! \
         appsink name=sink sync=false",
        path.display()
    ));
    let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("sink").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let samples = std::iter::from_fn(|| sink.pull_sample().ok()).take(count);
    let frames = samples.map(|sample| {
        let info = gst_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
        VideoFrame::from_buffer_readable(sample.buffer().unwrap().copy_deep().unwrap(), &info).unwrap()
    });
    let frames = frames.collect();
    pipeline.set_state(gst::State::Null).unwrap();
    frames
}
