//! What `deepfakedetect` costs the streaming thread while its analysis cannot keep up, as the element itself measures it.
//!
//!     cargo bench --bench live
//!
//! The demo's clip at 1280×720, 25 or so frames a second as from a camera, with the face detector on pictures so large that
//! frames have to be shed. Wall-clock times: only an idle machine tells the truth.

use std::process::ExitCode;

use gst::prelude::*;

/// What the streaming thread may take for a frame, in nanoseconds, at the 99th percentile.
const BAR: u64 = 500_000;

fn main() -> ExitCode {
    let measuring = std::env::args().any(|argument| argument == "--bench");
    gst::init().expect("GStreamer starts");
    gstdeepfake::plugin_register_static().expect("the plugin registers");
    let clip = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/clips/WolfgangLanger_Pexels.mp4");
    if !clip.is_file() {
        eprintln!("{}no {}; run `make deps`", if measuring { "" } else { "SKIPPED: " }, clip.display());
        return ExitCode::from(u8::from(measuring));
    }
    // As a test, a few frames are enough.
    let frames = if measuring { -1 } else { 20 };
    let pipeline = gst::parse::launch(&format!(
        "filesrc location=\"{}\" ! decodebin ! videoscale ! videoconvert ! video/x-raw,format=I420,width=1280,height=720 \
         ! identity sync=true eos-after={frames} ! queue ! deepfakedetect name=detect mode=async detection-size=1280 \
         on-error=fail ! fakesink sync=false",
        clip.display()
    ));
    let pipeline = pipeline.expect("GStreamer's plugins are installed");
    let detect = pipeline.downcast_ref::<gst::Bin>().and_then(|bin| bin.by_name("detect")).expect("it is described");
    let bus = pipeline.bus().expect("a pipeline has a bus");
    pipeline.set_state(gst::State::Playing).expect("the pipeline starts");
    let message = bus.timed_pop_filtered(gst::ClockTime::NONE, &[gst::MessageType::Eos, gst::MessageType::Error]);
    let stats: gst::Structure = detect.property("stats");
    pipeline.set_state(gst::State::Null).expect("the pipeline stops");
    if let Some(gst::MessageView::Error(error)) = message.as_ref().map(|message| message.view()) {
        eprintln!("{}", error.error());
        return ExitCode::FAILURE;
    }

    let number = |name: &str| stats.get::<u64>(name).expect("it is part of the statistics");
    println!("{} frames, {} analysed, {} shed", number("frames"), number("analysed"), number("shed"));
    println!("\n| stage | p50 ms | p95 ms | p99 ms |\n|---|---:|---:|---:|");
    for stage in ["stream", "wait", "find", "crop", "encode", "judge", "analysis"] {
        let ms = |percent: u32| number(&format!("{stage}-time-p{percent}")) as f64 / 1e6;
        println!("| {stage} | {:.3} | {:.3} | {:.3} |", ms(50), ms(95), ms(99));
    }
    let p99 = number("stream-time-p99");
    println!(
        "\nThe streaming thread's own work: {:.3} of {:.3} ms at the 99th percentile",
        p99 as f64 / 1e6,
        BAR as f64 / 1e6
    );
    // A test on a busy machine says nothing about times.
    ExitCode::from(u8::from(measuring && p99 > BAR))
}
