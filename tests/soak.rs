//! Many channels of `deepfakedetect` in one process, all of which change all the time.
//!
//!     DEEPFAKE_SOAK_SECONDS=1800 cargo test --release --test soak -- --nocapture

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::Package;
use gst::prelude::*;

/// A number that is random enough.
fn random(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// The tiny model under another name; takes any crop.
fn model(name: &str) -> Package {
    let package = Package::sequence().change("\"tiny\"", &format!("\"{name}\""));
    package.read().unwrap();
    package
}

fn path(package: &Package) -> String {
    package.dir.path().display().to_string()
}

/// Eight channels for a while, each of which is stopped, started, resized, flushed and given another model now and then.
/// `DEEPFAKE_SOAK_SECONDS` makes it last as long as that.
#[test]
fn eight_channels_lose_no_frame_and_no_memory() {
    // With an arena for each thread, memory would grow for minutes only because the arenas differ.
    // SAFETY: no other thread runs yet.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    gst::init().unwrap();
    gstdeepfake::plugin_register_static().unwrap();
    let seconds = std::env::var("DEEPFAKE_SOAK_SECONDS").map_or(12, |seconds| seconds.parse().unwrap());
    let detector = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/detectors/centerface.onnx");
    let faces = if detector.is_file() {
        format!("face-detector={} detection-size=64", detector.display())
    } else {
        eprintln!("SKIPPED in part: no {}; run `make deps`", detector.display());
        "face-source=upstream".into()
    };
    let models = [model("one"), model("two")];
    static COUNTS: [[AtomicU64; 2]; 8] = [const { [const { AtomicU64::new(0) }; 2] }; 8];
    let channels: Vec<gst::Pipeline> = COUNTS
        .iter()
        .map(|counts| {
            let pipeline = gst::parse::launch(&format!(
                "videotestsrc is-live=true pattern=ball ! capsfilter name=caps ! deepfakedetect name=detect mode=async \
                 on-error=fail device=cpu threads=1 model={} {faces} ! fakesink sync=false",
                path(&models[0])
            ));
            let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
            let detect = pipeline.by_name("detect").unwrap();
            for (pad, count) in ["sink", "src"].into_iter().zip(counts) {
                detect.static_pad(pad).unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                    count.fetch_add(1, Ordering::Relaxed);
                    gst::PadProbeReturn::Ok
                });
            }
            pipeline
        })
        .collect();
    let resize = |pipeline: &gst::Pipeline, width: u64| {
        let caps = format!("video/x-raw,width={width},height={},framerate=30/1", width * 3 / 4);
        let filter = pipeline.by_name("caps").unwrap();
        filter.set_property("caps", caps.parse::<gst::Caps>().unwrap());
    };
    for pipeline in &channels {
        resize(pipeline, 160);
        pipeline.set_state(gst::State::Playing).unwrap();
    }

    let began = Instant::now();
    let whole = Duration::from_secs(seconds);
    let (mut state, mut settled) = (42, None);
    while began.elapsed() < whole {
        let pipeline = &channels[random(&mut state, 8) as usize];
        let detect = pipeline.by_name("detect").unwrap();
        match random(&mut state, 6) {
            0 => _ = pipeline.set_state(gst::State::Null).unwrap(),
            1 => _ = pipeline.set_state(gst::State::Ready).unwrap(),
            2 => resize(pipeline, 64 + 16 * random(&mut state, 12)),
            3 => detect.set_property("model", path(&models[random(&mut state, 2) as usize])),
            4 => detect.set_property("detect-interval", 1 + random(&mut state, 3) as u32),
            // A channel that is just starting does not seek.
            _ => _ = pipeline.seek_simple(gst::SeekFlags::FLUSH, gst::ClockTime::ZERO),
        }
        pipeline.set_state(gst::State::Playing).unwrap();
        for pipeline in &channels {
            let message = pipeline.bus().unwrap().pop_filtered(&[gst::MessageType::Error, gst::MessageType::Warning]);
            assert!(message.is_none(), "{message:?}");
            // Only what is of no interest is left on the bus.
            pipeline.bus().unwrap().set_flushing(true);
            pipeline.bus().unwrap().set_flushing(false);
        }
        if settled.is_none() && began.elapsed() > whole / 3 {
            settled = Some(resident_bytes());
        }
        // The pace of the changes, not a wait for anything.
        std::thread::sleep(Duration::from_millis(50));
    }
    let analysed: u64 = channels
        .iter()
        .map(|pipeline| pipeline.by_name("detect").unwrap().property::<gst::Structure>("stats"))
        .map(|stats| stats.get::<u64>("analysed").unwrap())
        .sum();
    let (settled, at_end) = (settled.unwrap(), resident_bytes());
    for pipeline in &channels {
        pipeline.set_state(gst::State::Null).unwrap();
    }
    let [came, went] = [0, 1].map(|side| COUNTS.iter().map(|counts| counts[side].load(Ordering::Relaxed)).sum::<u64>());
    println!(
        "{came} frames came, {went} went, {analysed} analysed since the last starts; {} MiB after a third, {} MiB at the end",
        settled >> 20,
        at_end >> 20
    );
    assert!(analysed > 0);
    // A frame that is under way when its channel is flushed or stopped is none that was lost.
    assert!(came > 100 && came - went <= seconds * 20, "{came} frames came, {went} went");
    assert!(at_end < settled + settled / 50 + (4 << 20), "{settled} bytes became {at_end}");
}
