//! A channel that stops and starts for weeks. In a process of its own, whose memory nobody else changes.

mod common;

use common::{faces, heap_bytes, init, model};
use gst::prelude::*;

/// OpenCV keeps 800 bytes of each thread that has called it.
#[test]
fn starting_again_and_again_takes_no_more_memory() {
    // Only that of the first arena is counted.
    // SAFETY: no other thread runs yet.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    init();
    let model = model("tiny");
    let pipeline = gst::parse::launch(&format!(
        "videotestsrc pattern=ball num-buffers=8 ! video/x-raw,format=I420,width=160,height=120,framerate=30/1 ! \
         deepfakedetect mode=async device=cpu threads=1 model={} {} detection-size=64 ! fakesink sync=false",
        model.path(),
        faces()
    ));
    let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
    let start = || {
        pipeline.set_state(gst::State::Playing).unwrap();
        let ends = [gst::MessageType::Eos, gst::MessageType::Error];
        let end = pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(60), &ends);
        assert_eq!(end.map(|message| message.type_()), Some(gst::MessageType::Eos));
        pipeline.set_state(gst::State::Ready).unwrap();
    };
    const STARTS: usize = 250;
    (0..100).for_each(|_| start());
    let before = heap_bytes();
    (0..STARTS).for_each(|_| start());
    pipeline.set_state(gst::State::Null).unwrap();
    // Stopping waits for nobody: what still loads holds its memory until it notices.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let grown = loop {
        let grown = heap_bytes().saturating_sub(before);
        if grown < STARTS * 500 || std::time::Instant::now() > deadline {
            break grown;
        }
        std::thread::yield_now();
    };
    println!("{STARTS} starts: {} bytes each", grown / STARTS);
    assert!(grown < STARTS * 500, "{STARTS} starts took {grown} bytes for good");
}
