//! What `deepfakeoverlay` costs per frame, in processor time of the streaming thread: drawing and blending, or drawing and
//! attaching, of one face and of four that all move and get a new score with every frame (the worst case).
//!
//!     cargo bench --bench overlay

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use deepfake_report::State;
use deepfake_report::testing::with;
use deepfake_report::{self as report, FaceReport, FrameReport};
use gst::prelude::*;
use gst_check::Harness;
use gst_video::{VideoFormat, VideoInfo, VideoOverlayCompositionMeta};

const FRAME: u64 = 33_333_333;

/// Processor time this thread has used. Wall-clock time would measure the machine's other work.
fn cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills the struct that it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn faces(count: u32, frame: u64) -> Vec<FaceReport> {
    (0..count)
        .map(|i| {
            let sway = (frame as f64 * 0.1 + f64::from(i)).sin();
            with(FaceReport::new(i + 1), |face| {
                face.x = 0.05 + 0.22 * f64::from(i) + sway * 0.02;
                face.y = 0.3;
                face.width = 0.17 + sway * 0.005;
                face.height = 0.4 + sway * 0.01;
                face.detection = 0.9;
                face.state = State::Uncertain;
                face.score = Some(0.5 + sway * 0.2);
                face.certainty = 0.5;
                face.window_fill = 40;
                face.window_size = 40;
                face.window_end = Some(frame);
            })
        })
        .collect()
}

fn bench(criterion: &mut Criterion) {
    gst::init().unwrap();
    gstdeepfake::plugin_register_static().unwrap();
    for (format, width, height) in [
        (VideoFormat::I420, 1280, 720),
        (VideoFormat::Nv12, 1280, 720),
        (VideoFormat::Bgrx, 1280, 720),
        (VideoFormat::I420, 1920, 1080),
    ] {
        for count in [0, 1, 4] {
            for attach in [false, true] {
                let info = VideoInfo::builder(format, width, height).fps(gst::Fraction::new(30, 1)).build().unwrap();
                let caps = info.to_caps().unwrap();
                let mut sink_caps = caps.clone();
                let mut harness = Harness::new("deepfakeoverlay");
                if attach {
                    let features = gst::CapsFeatures::new(["memory:SystemMemory", "meta:GstVideoOverlayComposition"]);
                    sink_caps.make_mut().set_features(0, Some(features));
                    harness.add_propose_allocation_meta(VideoOverlayCompositionMeta::meta_api(), None);
                }
                harness.set_caps(caps, sink_caps);
                let mut frame = 0;
                let way = if attach { "attach" } else { "blend" };
                criterion.bench_function(&format!("overlay/{format}/{height}p/{count}-faces/{way}"), |bencher| {
                    bencher.iter_custom(|iterations| {
                        let mut spent = Duration::ZERO;
                        for _ in 0..iterations {
                            frame += 1;
                            let mut buffer = gst::Buffer::with_size(info.size()).unwrap();
                            let writable = buffer.get_mut().unwrap();
                            writable.map_writable().unwrap().fill(0x80);
                            writable.set_pts(gst::ClockTime::from_nseconds(frame * FRAME));
                            let report = FrameReport::new(frame * FRAME, "bench@1", "cpu", faces(count, frame));
                            report::meta::attach(writable, &report, width, height).unwrap();
                            let start = cpu();
                            harness.push(buffer).unwrap();
                            spent += cpu() - start;
                            harness.pull().unwrap();
                        }
                        spent
                    });
                });
            }
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(20);
    targets = bench
}
criterion_main!(benches);
