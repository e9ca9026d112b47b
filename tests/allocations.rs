//! What analysing a frame allocates, once everything runs: lists of faces and the report, but no memory for pixels.

mod common;
#[path = "common/video.rs"]
mod video;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use common::Package;
use deepfake_engine::analysis::analyzer::{Analyzer, AnalyzerSettings};
use deepfake_engine::analysis::detector::FaceDetector;
use deepfake_engine::analysis::follower::FollowerSettings;

use deepfake_engine::analysis::quality::QualityLimits;
use deepfake_engine::inference::{DeviceRequest, Model, SessionOptions, places};
use gstdeepfake::elements::frame;

/// Counts what Rust allocates; what OpenCV and ONNX Runtime do for themselves is not seen.
struct Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(0);

fn count(bytes: usize) {
    BYTES.fetch_add(bytes, Relaxed);
    LARGEST.fetch_max(bytes, Relaxed);
}

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Longer than any list of what is found (16 KiB where new faces are looked for, 4 KiB else), and shorter than the smallest tensor
/// that the detector takes (48 KiB).
const LARGEST_LIST: usize = 32 << 10;

#[test]
fn in_steady_state_no_memory_for_pixels_is_allocated() {
    let package = Package::sequence();
    let model = package.read().unwrap();
    let options = SessionOptions { device: DeviceRequest::Cpu, require_device: true, threads: 1 };
    let detector = FaceDetector::load(&places::find_detector("centerface.onnx").unwrap(), &options).unwrap();
    let settings = AnalyzerSettings {
        follower: FollowerSettings::default(),
        quality: QualityLimits { min_sharpness: 0.0, ..QualityLimits::default() },
        fake_threshold: None,
        authentic_threshold: None,
        hysteresis: None,
        attach_where: false,
    };
    let mut analyzer = Analyzer::new(Model::load(model, &options).unwrap(), Some(detector), settings);

    let frames = video::frames("WolfgangLanger_Pexels.mp4", 60);
    let mut allocated = Vec::new();
    for (index, frame) in frames.iter().chain(frames.iter().rev()).enumerate() {
        let frame = frame.as_video_frame_ref();
        let view = frame::view(&frame, index as u64 * 1_000_000_000 / 15).unwrap();
        BYTES.store(0, Relaxed);
        LARGEST.store(0, Relaxed);
        let report = analyzer.analyze(&view, None).unwrap();
        allocated.push((BYTES.load(Relaxed), LARGEST.load(Relaxed)));
        assert_eq!(report.faces.len(), 1, "frame {index}");
        assert!(index < 10 || report.faces[0].score.is_some(), "frame {index}: {report:?}");
    }
    // On the way there windows of other sizes, and the head at the other end of the picture, may come at any time.
    let (begin, steady) = allocated.split_at(frames.len());
    let most = |part: &[(usize, usize)]| part.iter().fold((0, 0), |most, it| (most.0.max(it.0), most.1.max(it.1)));
    println!("bytes a frame, largest piece: at the begin {:?}, then {:?}", most(begin), most(steady));
    assert!(most(begin).1 > 100_000, "allocations are not counted");
    assert!(most(steady).1 < LARGEST_LIST && most(steady).0 < 4 * LARGEST_LIST, "{steady:?}");
}
