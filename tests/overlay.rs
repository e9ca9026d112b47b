//! `deepfakeoverlay`: what it draws, where, by which way, and when it keeps its hands off.

use std::sync::Once;

use deepfake_report::testing::with;
use deepfake_report::{self as report, FaceReport, FrameReport};
use deepfake_report::{Reason, State};
use gst::prelude::*;
use gst_check::Harness;
use gst_video::{VideoFormat, VideoFrameRef, VideoInfo, VideoOverlayCompositionMeta, prelude::*};
use gstdeepfake::elements::frame::FORMATS;

const OVERLAY_FEATURE: &str = "meta:GstVideoOverlayComposition";
/// Vermillion: the colour of `fake`.
const FAKE: [u8; 3] = [0xd5, 0x5e, 0x00];
const GREY: u8 = 0x80;

fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().unwrap();
        gstdeepfake::plugin_register_static().unwrap();
    });
}

fn info(format: VideoFormat, width: u32, height: u32) -> VideoInfo {
    init();
    VideoInfo::builder(format, width, height).fps(gst::Fraction::new(25, 1)).build().unwrap()
}

fn face(state: State) -> FaceReport {
    with(FaceReport::new(1), |face| {
        face.x = 0.25;
        face.y = 0.25;
        face.width = 0.5;
        face.height = 0.5;
        face.detection = 0.9;
        face.state = state;
        face.reason = (state == State::Rejected).then_some(Reason::Blurred);
        face.score = matches!(state, State::Fake | State::Uncertain | State::Authentic).then_some(0.75);
        face.certainty = 0.5;
        face.window_fill = 40;
        face.window_size = 40;
        face.window_start = Some(0);
        face.window_end = Some(1);
    })
}

fn report(pts: u64, faces: Vec<FaceReport>) -> FrameReport {
    FrameReport::new(pts, "test@1", "cpu", faces)
}

/// A frame whose every byte is [`GREY`].
fn grey(info: &VideoInfo, pts: u64) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_mut_slice(vec![GREY; info.size()]);
    buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_nseconds(pts));
    buffer
}

fn reported(info: &VideoInfo, pts: u64, faces: Vec<FaceReport>) -> gst::Buffer {
    let mut buffer = grey(info, pts);
    report::meta::attach(buffer.get_mut().unwrap(), &report(pts, faces), info.width(), info.height()).unwrap();
    buffer
}

/// A harness whose sink takes plain caps only, so that drawings are blended.
fn blending(info: &VideoInfo) -> Harness {
    let mut harness = Harness::new("deepfakeoverlay");
    let caps = info.to_caps().unwrap();
    harness.set_caps(caps.clone(), caps);
    harness
}

/// A harness whose sink draws compositions itself.
fn attaching(info: &VideoInfo) -> Harness {
    let mut harness = Harness::new("deepfakeoverlay");
    let caps = info.to_caps().unwrap();
    // As glimagesink lists them.
    let mut with_feature = caps.clone();
    with_feature.make_mut().set_features(0, Some(gst::CapsFeatures::new(["memory:SystemMemory", OVERLAY_FEATURE])));
    harness.add_propose_allocation_meta(VideoOverlayCompositionMeta::meta_api(), None);
    harness.set_sink_caps(with_feature);
    harness.set_src_caps(caps);
    harness
}

fn bytes(buffer: &gst::Buffer) -> Vec<u8> {
    buffer.map_readable().unwrap().to_vec()
}

/// Pixels (x, y) that differ from [`GREY`] in any component, however small its plane is.
fn changed(buffer: &gst::Buffer, info: &VideoInfo) -> Vec<(u32, u32)> {
    let frame = VideoFrameRef::from_buffer_ref_readable(buffer, info).unwrap();
    let format = frame.format_info();
    let mut pixels = Vec::new();
    for component in 0..format.n_components() {
        let plane = format.plane()[component as usize];
        let data = frame.plane_data(plane).unwrap();
        let stride = frame.comp_stride(component) as usize;
        let step = frame.comp_pstride(component) as usize;
        let offset = format.poffset()[component as usize] as usize;
        let (across, down) = (format.w_sub()[component as usize], format.h_sub()[component as usize]);
        for y in 0..frame.comp_height(component) {
            for x in 0..frame.comp_width(component) {
                if data[y as usize * stride + offset + x as usize * step] != GREY {
                    pixels.push((x << across, y << down));
                }
            }
        }
    }
    pixels
}

/// Red, green, blue of a pixel, or its Y, U, V.
fn pixel(buffer: &gst::Buffer, info: &VideoInfo, x: u32, y: u32) -> [u8; 3] {
    let frame = VideoFrameRef::from_buffer_ref_readable(buffer, info).unwrap();
    let format = frame.format_info();
    std::array::from_fn(|component| {
        let (across, down) = (format.w_sub()[component], format.h_sub()[component]);
        let row = (y >> down) as usize * frame.comp_stride(component as u32) as usize;
        let column = (x >> across) as usize * frame.comp_pstride(component as u32) as usize;
        let data = frame.plane_data(format.plane()[component]).unwrap();
        data[row + format.poffset()[component] as usize + column]
    })
}

#[track_caller]
fn assert_color(found: [u8; 3], expected: [u8; 3], tolerance: u8) {
    let near = found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= tolerance);
    assert!(near, "found {found:?}, expected {expected:?} ± {tolerance}");
}

#[test]
fn what_looks_changed_is_veiled_on_suspected_faces_where_asked_for() {
    let info = info(VideoFormat::I420, 320, 240);
    let veiled = |state: State, shown: bool| {
        let mut harness = blending(&info);
        let element = harness.element().unwrap();
        for name in ["show-box", "show-label", "show-window", "show-history"] {
            element.set_property(name, false);
        }
        element.set_property("show-where", shown);
        // The lower half of the box.
        let heat = Some(vec![vec![0.0, 0.0], vec![0.0, 0.0], vec![1.0, 1.0], vec![1.0, 1.0]]);
        let face = with(face(state), |face| face.heat = heat);
        changed(&harness.push_and_pull(reported(&info, 0, vec![face])).unwrap(), &info)
    };
    assert_eq!(veiled(State::Fake, false), []);
    assert_eq!(veiled(State::Authentic, true), []);
    let pixels = veiled(State::Fake, true);
    // The box is from (80, 60) to (240, 180).
    assert!(pixels.iter().all(|(x, y)| (80..240).contains(x) && (90..180).contains(y)), "{pixels:?}");
    assert!(pixels.contains(&(100, 170)) && pixels.contains(&(230, 140)), "{} pixels", pixels.len());
}

/// All SD television has pixels that are wider than high: what is drawn is stored narrower, and looks the same.
#[test]
fn on_pixels_that_are_not_square_all_is_as_wide_as_it_looks() {
    let shown = |width: u32, aspect: (i32, i32)| {
        init();
        let builder = VideoInfo::builder(VideoFormat::I420, width, 576).fps(gst::Fraction::new(25, 1));
        let info = builder.par(gst::Fraction::new(aspect.0, aspect.1)).build().unwrap();
        let mut harness = blending(&info);
        let drawn = harness.push_and_pull(reported(&info, 0, vec![face(State::Fake)])).unwrap();
        let columns: Vec<_> = changed(&drawn, &info).into_iter().map(|(x, _)| x).collect();
        let scale = f64::from(aspect.0) / f64::from(aspect.1);
        let [left, right] = [columns.iter().min(), columns.iter().max()].map(|x| f64::from(*x.unwrap()) * scale);
        (left, right, columns.len() as f64 * scale)
    };
    let square = shown(1024, (1, 1));
    for (width, aspect) in [(720, (64, 45)), (1280, (4, 5))] {
        let other = shown(width, aspect);
        let is_near = |a: f64, b: f64, tolerance: f64| (a - b).abs() <= tolerance;
        let same = is_near(square.0, other.0, 4.0) && is_near(square.1, other.1, 4.0);
        assert!(same && is_near(other.2 / square.2, 1.0, 0.05), "{aspect:?}: {other:?}, square: {square:?}");
    }
}

#[test]
fn every_format_gets_a_box_around_the_face_and_nothing_elsewhere() {
    for format in FORMATS {
        let info = info(format, 320, 240);
        let mut harness = blending(&info);
        let element = harness.element().unwrap();
        element.set_property("show-label", false);
        element.set_property("show-window", false);
        element.set_property("show-history", false);
        let out = harness.push_and_pull(reported(&info, 0, vec![face(State::Fake)])).unwrap();
        let changed = changed(&out, &info);
        // The face is 80..240 × 60..180; its lines are 4 pixels wide with a seam of 1.
        for (x, y) in &changed {
            let outside = !(78..242).contains(x) || !(58..182).contains(y);
            let inside = (86..234).contains(x) && (66..174).contains(y);
            assert!(!outside && !inside, "{format:?}: pixel ({x}, {y}) changed");
        }
        for side in [(82, 120), (238, 120), (160, 62), (160, 178)] {
            assert!(changed.contains(&side), "{format:?}: no line at {side:?}");
        }
    }
}

#[test]
fn every_format_gets_a_label_beside_the_face_and_leaves_the_face_free() {
    for format in FORMATS {
        let info = info(format, 640, 480);
        let mut harness = blending(&info);
        harness.element().unwrap().set_property("show-box", false);
        let out = harness.push_and_pull(reported(&info, 0, vec![face(State::Authentic)])).unwrap();
        let changed = changed(&out, &info);
        assert!(changed.len() > 1000, "{format:?}: {} pixels changed", changed.len());
        // The face is 160..480 × 120..360; there is room above it.
        assert!(changed.iter().all(|&(x, y)| (160..480).contains(&x) && y < 120), "{format:?}");
    }
}

#[test]
fn colours_are_right_in_rgb_and_in_yuv_of_either_matrix_and_range() {
    let rgb = info(VideoFormat::Rgb, 320, 240);
    let out = blending(&rgb).push_and_pull(reported(&rgb, 0, vec![face(State::Fake)])).unwrap();
    assert_color(pixel(&out, &rgb, 82, 120), FAKE, 1);

    // What videoconvert makes of the same colour is the yardstick.
    for colorimetry in ["bt601", "bt709", "1:4:7:1"] {
        let caps = format!("video/x-raw,format=I420,width=320,height=240,framerate=25/1,colorimetry={colorimetry}");
        let caps: gst::Caps = caps.parse().unwrap();
        let yuv = VideoInfo::from_caps(&caps).unwrap();
        let mut converter = Harness::new_parse("videoconvert dither=none");
        converter.set_src_caps(rgb.to_caps().unwrap());
        converter.set_sink_caps(caps.clone());
        let flat: Vec<u8> = FAKE.iter().copied().cycle().take(rgb.size()).collect();
        let expected = pixel(&converter.push_and_pull(gst::Buffer::from_mut_slice(flat)).unwrap(), &yuv, 82, 120);
        let out = blending(&yuv).push_and_pull(reported(&yuv, 0, vec![face(State::Fake)])).unwrap();
        assert_color(pixel(&out, &yuv, 82, 120), expected, 2);
    }
}

#[test]
fn half_transparent_plates_stay_so_where_padding_bytes_are_zero() {
    let plate = |format| {
        let info = info(format, 640, 480);
        let mut buffer = gst::Buffer::from_mut_slice(vec![0xffu8; info.size()]);
        {
            let writable = buffer.get_mut().unwrap();
            writable.set_pts(gst::ClockTime::ZERO);
            if matches!(format, VideoFormat::Bgrx) {
                writable.map_writable().unwrap().as_chunks_mut::<4>().0.iter_mut().for_each(|pixel| pixel[3] = 0);
            }
            report::meta::attach(writable, &report(0, vec![face(State::Authentic)]), 640, 480).unwrap();
        }
        let out = blending(&info).push_and_pull(buffer).unwrap();
        // Near the plate's upper right corner: nothing but plate.
        (0..120).map(|y| pixel(&out, &info, 200, y)).find(|pixel| *pixel != [255; 3]).expect("a plate above the face")
    };
    assert_color(plate(VideoFormat::Bgrx), plate(VideoFormat::Rgb), 1);
}

#[test]
fn what_downstream_draws_itself_is_attached_and_the_pixels_stay() {
    let info = info(VideoFormat::I420, 640, 480);
    let mut harness = attaching(&info);
    let sent = reported(&info, 0, vec![face(State::Fake)]);
    let before = bytes(&sent);
    let out = harness.push_and_pull(sent).unwrap();
    assert_eq!(bytes(&out), before);
    let meta = out.meta::<VideoOverlayCompositionMeta>().expect("a composition");
    assert!(meta.overlay().n_rectangles() >= 5, "four edges and a label");
    for rectangle in meta.overlay().iter() {
        let (x, y, width, height) = rectangle.render_rectangle();
        assert!(x >= 0 && y >= 0 && x as u32 + width <= 640 && y as u32 + height <= 480);
        assert!(width * height < 640 * 480 / 8, "a rectangle of {width}x{height} is no small one");
    }
    let caps = harness.sinkpad().unwrap().current_caps().unwrap();
    assert!(caps.features(0).unwrap().contains(OVERLAY_FEATURE));
}

#[test]
fn what_others_attached_stays_attached() {
    let info = info(VideoFormat::I420, 640, 480);
    let mut harness = attaching(&info);
    let mut with_feature = info.to_caps().unwrap();
    with_feature.make_mut().set_features(0, Some(gst::CapsFeatures::new(["memory:SystemMemory", OVERLAY_FEATURE])));
    harness.set_src_caps(with_feature);
    let mut sent = reported(&info, 0, vec![face(State::Fake)]);
    VideoOverlayCompositionMeta::add(sent.get_mut().unwrap(), &gst_video::VideoOverlayComposition::default());
    let out = harness.push_and_pull(sent).unwrap();
    assert_eq!(out.iter_meta::<VideoOverlayCompositionMeta>().count(), 1);
    assert!(out.meta::<VideoOverlayCompositionMeta>().unwrap().overlay().n_rectangles() >= 5);
}

#[test]
fn a_sink_that_takes_any_caps_but_draws_nothing_gets_the_drawing_blended() {
    let info = info(VideoFormat::I420, 640, 480);
    let mut harness = Harness::new("deepfakeoverlay");
    harness.set_src_caps(info.to_caps().unwrap());
    for pts in [0, 40_000_000] {
        let out = harness.push_and_pull(reported(&info, pts, vec![face(State::Fake)])).unwrap();
        assert!(out.meta::<VideoOverlayCompositionMeta>().is_none());
        assert!(!changed(&out, &info).is_empty());
    }
    // The promise that could not be kept is out of the caps by the second frame.
    let caps = harness.sinkpad().unwrap().current_caps().unwrap();
    assert!(!caps.features(0).unwrap().contains(OVERLAY_FEATURE), "{caps}");
}

#[test]
fn the_composition_is_reused_while_nothing_changes() {
    let info = info(VideoFormat::I420, 640, 480);
    let mut harness = attaching(&info);
    harness.element().unwrap().set_property("show-history", false);
    let mut seqnum = |pts, state| {
        let out = harness.push_and_pull(reported(&info, pts, vec![face(state)])).unwrap();
        out.meta::<VideoOverlayCompositionMeta>().unwrap().overlay().seqnum()
    };
    let first = seqnum(0, State::Fake);
    assert_eq!(seqnum(40_000_000, State::Fake), first);
    assert_ne!(seqnum(80_000_000, State::Authentic), first);
}

#[test]
fn a_frame_without_report_passes_untouched_and_uncopied() {
    let info = info(VideoFormat::Nv12, 321, 181);
    let mut harness = blending(&info);
    // A second reference, as after a tee: a copy would be needed to write.
    let sent = grey(&info, 0);
    let kept = sent.clone();
    let out = harness.push_and_pull(sent).unwrap();
    assert_eq!(bytes(&out), bytes(&kept));
    assert_eq!(out.peek_memory(0).as_ptr(), kept.peek_memory(0).as_ptr());
    // A report without faces leaves nothing to draw either.
    let sent = reported(&info, 40_000_000, vec![]);
    let kept = sent.clone();
    let out = harness.push_and_pull(sent).unwrap();
    assert_eq!(out.peek_memory(0).as_ptr(), kept.peek_memory(0).as_ptr());
}

#[test]
fn a_shared_frame_is_copied_not_scribbled_on() {
    let info = info(VideoFormat::I420, 320, 240);
    let sent = reported(&info, 0, vec![face(State::Fake)]);
    let kept = sent.clone();
    let out = blending(&info).push_and_pull(sent).unwrap();
    assert!(!changed(&out, &info).is_empty());
    assert!(changed(&kept, &info).is_empty());
}

#[test]
fn reports_older_than_expire_are_hidden() {
    let info = info(VideoFormat::I420, 320, 240);
    let mut harness = blending(&info);
    harness.element().unwrap().set_property("expire", 100u32);
    let mut drawn = |pts: Option<u64>, report_pts| {
        let mut buffer = grey(&info, 0);
        let writable = buffer.get_mut().unwrap();
        writable.set_pts(pts.map(gst::ClockTime::from_nseconds));
        report::meta::attach(writable, &report(report_pts, vec![face(State::Fake)]), 320, 240).unwrap();
        !changed(&harness.push_and_pull(buffer).unwrap(), &info).is_empty()
    };
    assert!(drawn(Some(1_000_000_000), 900_000_000));
    assert!(!drawn(Some(1_100_000_001), 1_000_000_000));
    assert!(drawn(None, 1_200_000_000), "without a timestamp nothing is old");
    assert!(!drawn(Some(1_000_000_000), 9_000_000_000), "left over from before a seek");
}

#[test]
fn a_report_is_not_old_because_an_encoder_shifted_timestamps_and_segment() {
    let info = info(VideoFormat::I420, 320, 240);
    let mut harness = blending(&info);
    // x264enc moves everything by 1000 hours.
    let shift = gst::ClockTime::from_seconds(3_600_000);
    let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
    segment.set_start(shift);
    assert!(harness.push_event(gst::event::Segment::new(&segment)));
    let mut buffer = reported(&info, 2_000_000_000, vec![face(State::Fake)]);
    buffer.get_mut().unwrap().set_pts(shift + gst::ClockTime::from_seconds(2));
    assert!(!changed(&harness.push_and_pull(buffer).unwrap(), &info).is_empty());
}

#[test]
fn properties_change_the_drawing_while_playing() {
    let info = info(VideoFormat::I420, 640, 480);
    let mut harness = blending(&info);
    let element = harness.element().unwrap();
    let mut pts = 0;
    let mut draw = |name: &str, value: glib::Value| {
        element.set_property_from_value(name, &value);
        pts += 40_000_000;
        let out = harness.push_and_pull(reported(&info, pts, vec![face(State::Fake)])).unwrap();
        changed(&out, &info).len()
    };
    let all = draw("show-box", true.to_value());
    let larger = draw("scale", 1.5f64.to_value());
    assert!(larger > all);
    assert_eq!(draw("scale", 1.0f64.to_value()), all);
    assert_ne!(draw("font", "Monospace".to_value()), all);
    let same = draw("font", "Sans".to_value());
    assert_eq!(same, all);
    let without_history = draw("show-history", false.to_value());
    assert!(without_history < all);
    let ring_only = draw("show-label", false.to_value());
    assert!(ring_only < without_history);
    let box_only = draw("show-window", false.to_value());
    assert!(box_only < ring_only && box_only > 0);
    assert_eq!(draw("show-box", false.to_value()), 0);
}

#[test]
fn every_state_looks_different_without_colour() {
    let info = info(VideoFormat::Gray8, 320, 240);
    let mut seen = Vec::new();
    for state in State::ALL {
        let mut harness = blending(&info);
        let element = harness.element().unwrap();
        for part in ["show-label", "show-window", "show-history"] {
            element.set_property(part, false);
        }
        // The line alone, whatever its brightness.
        let out = harness.push_and_pull(reported(&info, 0, vec![face(state)])).unwrap();
        seen.push(changed(&out, &info));
    }
    for (i, a) in seen.iter().enumerate() {
        assert!(seen[i + 1..].iter().all(|b| a != b), "{:?} looks like another", State::ALL[i]);
    }
}

#[test]
fn plain_regions_of_interest_get_plain_boxes() {
    let info = info(VideoFormat::Rgb, 320, 240);
    let mut harness = blending(&info);
    let mut buffer = grey(&info, 0);
    gst_video::VideoRegionOfInterestMeta::add(buffer.get_mut().unwrap(), "face", (80, 60, 160, 120)).set_id(7);
    let out = harness.push_and_pull(buffer).unwrap();
    // A corner in white, and no line between the corners: nobody judged this face.
    assert_color(pixel(&out, &info, 82, 62), [255; 3], 1);
    assert_color(pixel(&out, &info, 82, 120), [GREY; 3], 0);

    let mut buffer = grey(&info, 40_000_000);
    gst_video::VideoRegionOfInterestMeta::add(buffer.get_mut().unwrap(), "car", (80, 60, 160, 120));
    assert!(changed(&harness.push_and_pull(buffer).unwrap(), &info).is_empty());
}

#[test]
fn boxes_follow_the_picture_through_scaling() {
    let large = info(VideoFormat::I420, 640, 480);
    let small = info(VideoFormat::Rgb, 320, 240);
    let mut harness = Harness::new_parse("videoscale ! videoconvert ! deepfakeoverlay");
    harness.set_src_caps(large.to_caps().unwrap());
    harness.set_sink_caps(small.to_caps().unwrap());
    let out = harness.push_and_pull(reported(&large, 0, vec![face(State::Fake)])).unwrap();
    assert_color(pixel(&out, &small, 82, 120), FAKE, 1);
}

#[test]
fn no_size_however_odd_is_too_much() {
    for format in FORMATS {
        for (width, height) in [(16, 16), (17, 33), (321, 181), (640, 16), (16, 640)] {
            let info = info(format, width, height);
            let mut harness = blending(&info);
            for state in State::ALL {
                let whole = with(face(state), |face| {
                    face.x = 0.0;
                    face.y = 0.0;
                    face.width = 1.0;
                    face.height = 1.0;
                });
                harness.push_and_pull(reported(&info, 0, vec![whole, face(state)])).unwrap();
            }
        }
    }
    let info = info(VideoFormat::I420, 7680, 4320);
    let out = blending(&info).push_and_pull(reported(&info, 0, vec![face(State::Fake)])).unwrap();
    assert!(!changed(&out, &info).is_empty());
}

#[test]
fn the_frame_size_may_change_in_mid_stream() {
    let first = info(VideoFormat::I420, 640, 480);
    let mut harness = blending(&first);
    harness.push_and_pull(reported(&first, 0, vec![face(State::Fake)])).unwrap();
    let second = info(VideoFormat::I420, 320, 240);
    harness.set_caps(second.to_caps().unwrap(), second.to_caps().unwrap());
    let out = harness.push_and_pull(reported(&second, 40_000_000, vec![face(State::Fake)])).unwrap();
    assert!(changed(&out, &second).contains(&(82, 120)));
}

#[test]
fn strange_reports_harm_nobody() {
    let info = info(VideoFormat::I420, 640, 480);
    let mut harness = blending(&info);
    let strange = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1e300, 1e300, -0.5, 0.0, 1.0, 1.5];
    let mut faces = Vec::new();
    for (i, &a) in strange.iter().enumerate() {
        for &b in &strange {
            faces.push(with(face(State::ALL[i % 5]), |face| {
                face.track_id = u32::MAX - i as u32;
                face.x = a;
                face.y = b;
                face.width = b;
                face.height = a;
                face.score = Some(a);
                face.window_fill = u32::MAX;
                face.window_size = 0;
            }));
        }
    }
    for pts in [0, u64::MAX - 1, 5, u64::MAX / 2] {
        let mut buffer = grey(&info, 0);
        report::meta::attach(buffer.get_mut().unwrap(), &report(pts, faces.clone()), 640, 480).unwrap();
        harness.push_and_pull(buffer).unwrap();
    }
}

#[test]
fn two_hundred_faces_are_drawn_and_the_fake_one_among_them_is_labelled() {
    let info = info(VideoFormat::Rgb, 1280, 720);
    let mut harness = blending(&info);
    let crowd = |state: fn(u32) -> State| {
        (0..200)
            .map(|i| {
                with(face(state(i)), |face| {
                    face.track_id = i;
                    face.x = f64::from(i % 20) / 20.0;
                    face.y = f64::from(i / 20) / 10.0;
                    face.width = 0.04;
                    face.height = 0.08;
                })
            })
            .collect::<Vec<_>>()
    };
    let unlabelled = {
        harness.element().unwrap().set_property("show-label", false);
        harness.element().unwrap().set_property("show-window", false);
        harness.element().unwrap().set_property("show-history", false);
        changed(&harness.push_and_pull(reported(&info, 0, crowd(|_| State::Authentic))).unwrap(), &info).len()
    };
    harness.element().unwrap().set_property("show-label", true);
    let one_fake = crowd(|i| if i == 105 { State::Fake } else { State::Authentic });
    let labelled = changed(&harness.push_and_pull(reported(&info, 40_000_000, one_fake)).unwrap(), &info).len();
    assert!(unlabelled > 200 * 100, "{unlabelled}");
    assert!(labelled > unlabelled + 1000, "{labelled} of {unlabelled}");
}

#[test]
fn a_frame_smaller_than_its_caps_is_an_error_not_a_crash() {
    let info = info(VideoFormat::Rgb, 320, 240);
    let mut harness = blending(&info);
    let mut buffer = gst::Buffer::from_mut_slice(vec![GREY; 100]);
    report::meta::attach(buffer.get_mut().unwrap(), &report(0, vec![face(State::Fake)]), 320, 240).unwrap();
    assert_eq!(harness.push(buffer), Err(gst::FlowError::Error));
}

/// Frames that pass one a second, without reports, and the warnings that come of it.
fn warnings_of_silence(frames: &[(u64, bool)]) -> Vec<String> {
    let info = info(VideoFormat::I420, 320, 240);
    let mut harness = blending(&info);
    let bus = gst::Bus::new();
    harness.element().unwrap().set_bus(Some(&bus));
    for (second, is_reported) in frames {
        let pts = second * 1_000_000_000;
        let buffer = if *is_reported { reported(&info, pts, vec![]) } else { grey(&info, pts) };
        harness.push_and_pull(buffer).unwrap();
    }
    let text = |message: gst::Message| match message.view() {
        gst::MessageView::Warning(warning) => warning.error().to_string(),
        _ => panic!("{message:?}"),
    };
    std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Warning])).map(text).collect()
}

#[test]
fn a_stream_that_nobody_analyses_is_warned_of_once() {
    let silent: Vec<_> = (10..30).map(|second| (second, false)).collect();
    let warnings = warnings_of_silence(&silent);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("deepfakedetect"), "{warnings:?}");
    assert_eq!(warnings_of_silence(&silent[..5]), [""; 0], "not before five seconds");
    let mut late = silent.clone();
    late[3].1 = true;
    assert_eq!(warnings_of_silence(&late), [""; 0], "a report without faces is one, too");
}

#[test]
fn reports_of_several_detectors_are_drawn_or_one_is_chosen() {
    let info = info(VideoFormat::I420, 640, 480);
    let area = |detector: Option<&str>| {
        let mut harness = blending(&info);
        let element = harness.element().unwrap();
        element.set_property("show-label", false);
        element.set_property("show-window", false);
        element.set_property("show-history", false);
        element.set_property("detector", detector);
        let mut buffer = grey(&info, 0);
        for (element, x) in [("a", 0.05), ("b", 0.55)] {
            let face = with(face(State::Fake), |face| (face.x, face.width) = (x, 0.4));
            let report = with(report(0, vec![face]), |report| report.element = Some(element.into()));
            report::meta::attach(buffer.get_mut().unwrap(), &report, 640, 480).unwrap();
        }
        let out = harness.push_and_pull(buffer).unwrap();
        let changed = changed(&out, &info);
        (changed.iter().any(|(x, _)| *x < 320), changed.iter().any(|(x, _)| *x >= 320))
    };
    assert_eq!(area(None), (true, true));
    assert_eq!(area(Some("a")), (true, false));
    assert_eq!(area(Some("b")), (false, true));
    assert_eq!(area(Some("c")), (false, false));
}

#[test]
fn errors_are_posted_without_a_lock() {
    let (sender, receiver) = std::sync::mpsc::channel();
    // In a thread of its own, so that a deadlock fails the test instead of never ending it.
    std::thread::spawn(move || {
        let info = info(VideoFormat::Rgb, 320, 240);
        let mut harness = blending(&info);
        let element = harness.element().unwrap();
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        bus.set_sync_handler(move |_, message| {
            if message.type_() == gst::MessageType::Error {
                // Takes the lock that drawing takes.
                element.static_pad("sink").unwrap().send_event(gst::event::FlushStop::new(true));
            }
            gst::BusSyncReply::Drop
        });
        let mut buffer = gst::Buffer::from_mut_slice(vec![GREY; 100]);
        report::meta::attach(buffer.get_mut().unwrap(), &report(0, vec![face(State::Fake)]), 320, 240).unwrap();
        let _ = sender.send(harness.push(buffer));
    });
    let flow = receiver.recv_timeout(std::time::Duration::from_secs(20)).expect("no lock is held while posting");
    assert_eq!(flow, Err(gst::FlowError::Error));
}
