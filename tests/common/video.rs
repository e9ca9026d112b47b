//! Frames of real video.

// Each test uses a part of it.
#![allow(dead_code)]

use std::path::Path;

use gst::prelude::*;
use gst_video::video_frame::{Readable, VideoFrame};

/// The first `count` samples that come out of these elements.
pub fn samples(elements: &str, count: usize) -> Vec<gst::Sample> {
    gst::init().unwrap();
    let pipeline = gst::parse::launch(&format!("{elements} ! appsink name=sink sync=false"));
    let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("sink").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    // Copied out of the decoder's pool, which would run dry.
    let copy = |sample: gst::Sample| {
        let buffer = sample.buffer().unwrap().copy_deep().unwrap();
        gst::Sample::builder().buffer(&buffer).caps(&sample.caps_owned().unwrap()).build()
    };
    let samples = std::iter::from_fn(|| sink.pull_sample().ok()).take(count).map(copy).collect();
    pipeline.set_state(gst::State::Null).unwrap();
    samples
}

/// A sample's frame.
pub fn frame(sample: &gst::Sample) -> VideoFrame<Readable> {
    let info = gst_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
    VideoFrame::from_buffer_readable(sample.buffer_owned().unwrap(), &info).unwrap()
}

/// Frames of a clip that `make deps` installs, 15 a second, as RGB in its own size.
pub fn frames(name: &str, count: usize) -> Vec<VideoFrame<Readable>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/clips").join(name);
    assert!(path.is_file(), "{} is missing: run `make deps`", path.display());
    let elements = format!(
        "filesrc location=\"{}\" ! decodebin ! videorate ! videoconvert ! video/x-raw,format=RGB,framerate=15/1",
        path.display()
    );
    samples(&elements, count).iter().map(frame).collect()
}
