//! What was done to a face and where, from the model's outputs to the buffer's metadata; and a picture that is stored lying.

mod common;

use common::{Package, init, table};
use deepfake_report::{FrameReport, State, meta};
use gst_check::Harness;

const FRAME: u64 = 1_000_000_000 / 15;
const WIDTH: usize = 320;
const HEIGHT: usize = 240;
/// Left, top, width and height of the face.
const FACE: (u32, u32, u32, u32) = (100, 60, 80, 80);

fn package() -> Package {
    let encoder = table("encoder", "encoder-where.onnx", "crops", "features");
    let head = table("head", "head-kinds.onnx", "windows", "scores");
    let kinds = "kinds_output = \"kinds\"\nkinds = [\"swap\", \"lips\", \"generated\"]\n";
    Package::new("sequence", &format!("{encoder}feature_length = 3\nwhere_output = \"where\"\n{head}{kinds}"))
        .change("margin = 1.3", "margin = 1.0")
}

/// A green frame whose face is red in its lower three quarters, and black above.
fn frame(pts: u64) -> gst::Buffer {
    let (left, top, width, height) = FACE;
    let pixel = |index: usize| {
        let (x, y) = ((index % WIDTH) as u32, (index / WIDTH) as u32);
        if !(left..left + width).contains(&x) || !(top..top + height).contains(&y) {
            [0, 255, 0]
        } else if y < top + height / 4 {
            [0, 0, 0]
        } else {
            [255, 0, 0]
        }
    };
    let mut buffer = gst::Buffer::from_mut_slice((0..WIDTH * HEIGHT).flat_map(pixel).collect::<Vec<u8>>());
    let fresh = buffer.get_mut().unwrap();
    fresh.set_pts(gst::ClockTime::from_nseconds(pts));
    gst_video::VideoRegionOfInterestMeta::add(fresh, meta::ROI_TYPE, FACE);
    buffer
}

/// The report of the last of four frames, with these tags before the first.
fn report(properties: &str, tag: Option<&str>) -> FrameReport {
    init();
    let package = package();
    package.read().unwrap();
    let element = gst::parse::launch(&format!(
        "deepfakedetect model={} mode=sync face-source=upstream min-face-size=0 min-sharpness=0 min-luma=0 device=cpu \
         {properties}",
        package.path()
    ))
    .unwrap();
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    harness.play();
    harness.set_src_caps_str("video/x-raw,format=RGB,width=320,height=240,framerate=15/1");
    if let Some(tag) = tag {
        let mut tags = gst::TagList::new();
        tags.get_mut().unwrap().add::<gst::tags::ImageOrientation>(&tag, gst::TagMergeMode::Append);
        assert!(harness.push_event(gst::event::Tag::new(tags)));
    }
    let pass = |index| harness.push_and_pull(frame(index * FRAME)).unwrap();
    let last = (0..4).map(pass).last().unwrap();
    meta::read(&last).expect("each frame has its report")
}

#[test]
fn a_report_says_what_was_done_to_a_face_and_on_demand_where() {
    let found = report("", None);
    let [face] = &found.faces[..] else { panic!("{found:?}") };
    assert_eq!((face.state, &face.heat), (State::Uncertain, &None));
    let kind = face.kind.expect("the model says it");
    assert!((kind.swap - 0.75).abs() < 0.02 && kind.lips < 0.02 && kind.generated < 0.02, "{kind:?}");

    let found = report("attach-where=true", None);
    let heat = found.faces[0].heat.clone().expect("it was asked for");
    assert_eq!((heat.len(), heat[0].len()), (4, 4));
    assert!(heat[0].iter().all(|value| *value < 0.05), "{heat:?}");
    assert!(heat[1..].iter().flatten().all(|value| *value > 0.95), "{heat:?}");
}

/// Its boxes and maps are of the frame as it is stored, its crops of the frame as it is shown.
#[test]
fn a_frame_that_is_stored_lying_is_reported_lying() {
    for tag in ["rotate-90", "rotate-180", "rotate-270", "flip-rotate-90"] {
        let found = report("attach-where=true", Some(tag));
        let [face] = &found.faces[..] else { panic!("{tag}: {found:?}") };
        let near = |value: f64, pixels: u32, of: usize| (value - f64::from(pixels) / of as f64).abs() < 1e-4;
        let (left, top, width, height) = FACE;
        assert!(near(face.x, left, WIDTH) && near(face.y, top, HEIGHT), "{tag}: {face:?}");
        assert!(near(face.width, width, WIDTH) && near(face.height, height, HEIGHT), "{tag}: {face:?}");
        let heat = face.heat.clone().unwrap();
        assert!(heat[0].iter().all(|value| *value < 0.05), "{tag}: {heat:?}");
        assert!(heat[1..].iter().flatten().all(|value| *value > 0.95), "{tag}: {heat:?}");
    }
}
