//! No verdict goes from one person to another: across cuts, also between two frames that are due, and where somebody takes
//! another's place in a running shot.

mod common;

use common::{Package, init, model};
use deepfake_report::{FrameReport, meta};
use gst_check::Harness;
use gst_video::VideoRegionOfInterestMeta;

const WIDTH: usize = 320;
const HEIGHT: usize = 240;
/// Left, top and both sides of the face's box.
const FACE: (usize, usize, usize) = (112, 64, 96);
/// Of 60 a second one in four is due.
const FRAME: u64 = 1_000_000_000 / 60;

/// A stream of 60 grey frames a second, each with one face that upstream found.
struct Stream {
    harness: Harness,
    frames: u64,
    _model: Package,
}

impl Stream {
    fn new() -> Self {
        init();
        let model = model("tiny");
        let element = gst::parse::launch(&format!(
            "deepfakedetect model={} mode=sync face-source=upstream min-face-size=0 min-sharpness=0 min-luma=0",
            model.path()
        ));
        let mut harness = Harness::with_element(&element.unwrap(), Some("sink"), Some("src"));
        harness.play();
        harness.set_src_caps_str("video/x-raw,format=GRAY8,width=320,height=240,framerate=60/1");
        Self { harness, frames: 0, _model: model }
    }

    /// Sends the next frame: this scene with this face.
    fn pass(&mut self, scene: usize, face: usize) -> FrameReport {
        let mut buffer = gst::Buffer::from_mut_slice(picture(scene, face));
        let fresh = buffer.get_mut().unwrap();
        fresh.set_pts(gst::ClockTime::from_nseconds(self.frames * FRAME));
        let (left, top, side) = FACE;
        let part = (left as u32, top as u32, side as u32, side as u32);
        VideoRegionOfInterestMeta::add(fresh, meta::ROI_TYPE, part);
        self.frames += 1;
        meta::read(&self.harness.push_and_pull(buffer).unwrap()).expect("every frame has a report")
    }

    /// The same frame again and again, until its face is judged and the next frame is not due.
    fn pass_until_judged(&mut self, scene: usize, face: usize) -> u32 {
        for _ in 0..100 {
            let report = self.pass(scene, face);
            // After a cut to a brighter shot it takes two frames to know that it was none of a camera's flashes.
            let Some(shown) = report.faces.first() else { continue };
            if shown.window_fill == shown.window_size && self.frames % 4 == 2 {
                assert!(shown.score.is_some());
                return shown.track_id;
            }
        }
        panic!("the face is not judged");
    }
}

/// Walls with bright and dark fields, and a face with bright and dark parts, where others have them elsewhere.
fn picture(scene: usize, face: usize) -> Vec<u8> {
    let (left, top, side) = FACE;
    let grey = |index: usize| {
        let (column, row) = (index % WIDTH, index / WIDTH);
        if (left..left + side).contains(&column) && (top..top + side).contains(&row) {
            let (x, y) = ((column - left) / 24, (row - top) / 24);
            return if (x + face * y).is_multiple_of(2) { 150 } else { 90 };
        }
        match scene {
            0 => 40 + (column / 40 * 20) as u8,
            _ => 220 - (row / 40 * 30) as u8,
        }
    };
    (0..WIDTH * HEIGHT).map(grey).collect()
}

#[test]
fn no_frame_of_a_new_shot_carries_the_old_verdict() {
    let mut stream = Stream::new();
    let old = stream.pass_until_judged(0, 0);
    // Two frames later the next one would be due.
    let report = stream.pass(1, 0);
    assert!(report.faces.iter().all(|face| face.track_id != old && face.score.is_none()), "{report:?}");
    let new = stream.pass_until_judged(1, 0);
    assert!(new > old, "{new}");
}

#[test]
fn who_takes_anothers_place_in_a_shot_is_judged_anew() {
    let mut stream = Stream::new();
    let old = stream.pass_until_judged(0, 0);
    let reports: Vec<_> = (0..4).map(|_| stream.pass(0, 1)).collect();
    // By the next frame that is due.
    let face = &reports[3].faces[0];
    assert!(face.track_id > old && face.score.is_none() && face.window_fill == 1, "{face:?}");
    assert_eq!(stream.pass_until_judged(0, 1), face.track_id);
    // And who only moves stays who it is.
    assert_eq!(stream.pass_until_judged(0, 1), face.track_id);
}
