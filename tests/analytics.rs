//! The report as `GstAnalyticsRelationMeta`, and faces taken from one.
#![cfg(feature = "v1_24")]

mod common;

use common::{Package, init};
use deepfake_report::State;
use deepfake_report::testing::with;
use deepfake_report::{FaceReport, FrameReport, meta};
use gst::glib::Quark;
use gst_analytics::{
    AnalyticsClassificationMtd, AnalyticsODMtd, AnalyticsRelationMeta, AnalyticsTrackingMtd, RelTypes, prelude::*,
};
use gst_video::{VideoFormat, VideoRegionOfInterestMeta};

const WIDTH: u32 = 320;
const HEIGHT: u32 = 240;

fn face(track_id: u32, x: f64, score: Option<f64>) -> FaceReport {
    with(FaceReport::new(track_id), |face| {
        face.x = x;
        face.y = 0.5;
        face.width = 0.25;
        face.height = 0.375;
        face.detection = 0.75;
        face.state = if score.is_some() { State::Fake } else { State::Warming };
        face.score = score;
        face.certainty = 0.5;
        face.window_fill = 4;
        face.window_size = 40;
        face.window_start = score.map(|_| 1_000_000_000);
        face.window_end = score.map(|_| 3_000_000_000);
    })
}

fn report(faces: Vec<FaceReport>) -> FrameReport {
    FrameReport::new(3_000_000_040, "test@1.0.0", "cpu", faces)
}

/// One face with a score and one without.
fn two_faces() -> FrameReport {
    report(vec![face(3, 0.125, Some(0.9375)), face(8, 0.5, None)])
}

fn attach(buffer: &mut gst::Buffer, report: &FrameReport) {
    meta::attach(buffer.make_mut(), report, WIDTH, HEIGHT).unwrap();
}

/// What a reader sees of an object and of what it is related to, by relations of type `by`.
#[derive(Debug, PartialEq)]
struct Seen {
    kind: String,
    rect: (i32, i32, i32, i32),
    confidence: f32,
    /// Id, first and last seen in milliseconds.
    tracking: Option<(u64, u64, u64)>,
    classes: Vec<(String, f32)>,
}

fn objects(buffer: &gst::BufferRef, by: RelTypes) -> Vec<Seen> {
    let Some(relations) = buffer.meta::<AnalyticsRelationMeta>() else { return Vec::new() };
    let seen = relations.iter::<AnalyticsODMtd>().map(|object| {
        let location = object.location().unwrap();
        let tracking = relations.iter_direct_related::<AnalyticsTrackingMtd>(object.id(), by).next().map(|tracking| {
            let (id, first, last, lost) = tracking.info();
            assert!(!lost);
            (id, first.mseconds(), last.mseconds())
        });
        let classes = relations.iter_direct_related::<AnalyticsClassificationMtd>(object.id(), by).next();
        Seen {
            kind: object.obj_type().unwrap().as_str().to_string(),
            rect: (location.x, location.y, location.w, location.h),
            confidence: location.loc_conf_lvl,
            tracking,
            classes: classes
                .map(|classes| classes.iterate().map(|(name, level)| (name.as_str().to_string(), level)).collect())
                .unwrap_or_default(),
        }
    });
    seen.collect()
}

fn kinds(buffer: &gst::BufferRef) -> Vec<String> {
    objects(buffer, RelTypes::ANY).into_iter().map(|object| object.kind).collect()
}

#[test]
fn a_face_is_an_object_with_its_track_and_its_classes() {
    init();
    let mut buffer = gst::Buffer::new();
    attach(&mut buffer, &two_faces());
    // Some stock readers follow the one type of relation, some the other.
    for by in [RelTypes::RELATE_TO, RelTypes::CONTAIN] {
        assert_eq!(
            objects(&buffer, by),
            [
                Seen {
                    kind: "face".into(),
                    rect: (40, 120, 80, 90),
                    confidence: 0.75,
                    tracking: Some((3, 1_000, 3_000)),
                    classes: vec![("fake".into(), 0.9375), ("real".into(), 0.0625)],
                },
                Seen {
                    kind: "face".into(),
                    rect: (160, 120, 80, 90),
                    confidence: 0.75,
                    tracking: Some((8, 3_000, 3_000)),
                    classes: vec![],
                },
            ]
        );
    }
    assert_eq!(meta::read(&buffer), Some(two_faces()), "the report itself is read as ever");
}

#[test]
fn a_report_without_faces_adds_no_metadata() {
    init();
    let mut buffer = gst::Buffer::new();
    attach(&mut buffer, &report(vec![]));
    assert!(buffer.meta::<AnalyticsRelationMeta>().is_none());
}

/// Adds an object of somebody else, with a class, and returns the ids of both.
fn add_other(buffer: &mut gst::Buffer, kind: &str, confidence: f32) -> (u32, u32) {
    let mut relations = AnalyticsRelationMeta::add(buffer.make_mut());
    let object = relations.add_od_mtd(Quark::from_str(kind), 1, 2, 30, 40, confidence).unwrap().id();
    let class = relations.add_one_cls_mtd(0.25, Quark::from_str("smiling")).unwrap().id();
    relations.set_relation(RelTypes::CONTAIN, object, class).unwrap();
    (object, class)
}

#[track_caller]
fn assert_is_other(buffer: &gst::BufferRef, (object, class): (u32, u32), kind: &str) {
    let relations = buffer.meta::<AnalyticsRelationMeta>().unwrap();
    let found = relations.mtd::<AnalyticsODMtd>(object).expect("the object keeps its id");
    assert_eq!(found.obj_type(), Some(Quark::from_str(kind)));
    assert_eq!(found.location().unwrap().h, 40);
    assert_eq!(relations.relation(object, class), RelTypes::CONTAIN);
    assert_eq!(relations.mtd::<AnalyticsClassificationMtd>(class).unwrap().quark(0), Quark::from_str("smiling"));
}

#[test]
fn entries_of_others_stay_where_they_are() {
    init();
    let mut buffer = gst::Buffer::new();
    let before = add_other(&mut buffer, "car", 0.5);
    attach(&mut buffer, &two_faces());
    let after = add_other(&mut buffer, "dog", 0.5);
    assert_eq!(kinds(&buffer), ["car", "face", "face", "dog"]);
    attach(&mut buffer, &two_faces());
    assert_eq!(kinds(&buffer), ["car", "face", "face", "dog", "face", "face"]);
    assert_is_other(&buffer, before, "car");
    assert_is_other(&buffer, after, "dog");
}

#[test]
fn entries_survive_conversion_and_scaling() {
    init();
    let mut harness = gst_check::Harness::new_parse(&format!(
        "videoconvert ! videoscale ! capsfilter caps=video/x-raw,format=RGB,width={},height={}",
        WIDTH / 2,
        HEIGHT / 2
    ));
    harness.set_src_caps(caps(VideoFormat::I420, WIDTH, HEIGHT));
    let mut buffer = gst::Buffer::with_size((WIDTH * HEIGHT * 3 / 2) as usize).unwrap();
    attach(&mut buffer, &two_faces());
    let mut scaled = harness.push_and_pull(buffer).unwrap();
    let rects: Vec<_> = objects(&scaled, RelTypes::CONTAIN).into_iter().map(|object| object.rect).collect();
    assert_eq!(rects, [(20, 60, 40, 45), (80, 60, 40, 45)]);

    // They are still known as ours.
    let others = deepfake_report::analytics::faces_of_others;
    assert_eq!(others(&scaled).len(), 0);
    add_other(&mut scaled, "face", 0.5);
    assert_eq!(others(&scaled).len(), 1);
}

fn caps(format: VideoFormat, width: u32, height: u32) -> gst::Caps {
    gst_video::VideoCapsBuilder::new()
        .format(format)
        .width(width as i32)
        .height(height as i32)
        .framerate(gst::Fraction::new(25, 1))
        .build()
}

/// A grey frame.
fn frame(format: VideoFormat) -> gst::Buffer {
    let info = gst_video::VideoInfo::builder(format, WIDTH, HEIGHT).build().unwrap();
    let mut buffer = gst::Buffer::from_slice(vec![128; info.size()]);
    buffer.get_mut().unwrap().set_pts(gst::ClockTime::ZERO);
    buffer
}

/// What GStreamer's own overlay paints on a grey frame that `prepare` has attached something to.
fn painted(prepare: impl FnOnce(&mut gst::Buffer)) -> Vec<u8> {
    let mut harness = gst_check::Harness::new("objectdetectionoverlay");
    harness.set_src_caps(caps(VideoFormat::Bgra, WIDTH, HEIGHT));
    let mut buffer = frame(VideoFormat::Bgra);
    prepare(&mut buffer);
    let painted = harness.push_and_pull(buffer).unwrap();
    painted.map_readable().unwrap().to_vec()
}

#[test]
fn the_stock_overlay_draws_the_box_and_the_fake_score() {
    init();
    if gst::ElementFactory::find("objectdetectionoverlay").is_none() {
        eprintln!("SKIPPED: no element objectdetectionoverlay");
        return;
    }
    let by_hand = |class: Option<(&'static str, f32)>| {
        painted(move |buffer| {
            let mut relations = AnalyticsRelationMeta::add(buffer.make_mut());
            let object = relations.add_od_mtd(Quark::from_str("face"), 40, 120, 80, 90, 0.75).unwrap().id();
            if let Some((class, level)) = class {
                let class = relations.add_one_cls_mtd(level, Quark::from_str(class)).unwrap().id();
                relations.set_relation(RelTypes::RELATE_TO, object, class).unwrap();
            }
        })
    };
    let ours = |score| painted(move |buffer| attach(buffer, &report(vec![face(3, 0.125, score)])));
    let plain = painted(|_| ());
    assert_ne!(by_hand(None), plain);
    assert!(ours(None) == by_hand(None), "without a score: the face and the detector's confidence");
    assert!(ours(Some(0.9375)) == by_hand(Some(("fake", 0.9375))), "with one: \"fake\" and the score");
    assert!(ours(Some(0.9375)) != by_hand(Some(("real", 0.9375))), "and the picture tells one class from another");
}

/// `deepfakedetect` with the tiny model and faces from upstream.
struct Rig {
    harness: gst_check::Harness,
    /// Kept for its folder.
    _package: Package,
}

impl Rig {
    fn new() -> Self {
        init();
        let package = Package::sequence();
        package.read().unwrap();
        let mut harness = gst_check::Harness::new_parse(&format!(
            "deepfakedetect model={} face-source=upstream device=cpu threads=1 mode=sync on-error=fail",
            package.dir.path().display()
        ));
        harness.set_src_caps(caps(VideoFormat::Rgb, WIDTH, HEIGHT));
        Self { harness, _package: package }
    }

    /// The faces reported for a frame that `prepare` has attached something to: box in pixels, and confidence.
    fn faces(&mut self, prepare: impl FnOnce(&mut gst::Buffer)) -> Vec<((u32, u32, u32, u32), f64)> {
        let mut buffer = frame(VideoFormat::Rgb);
        prepare(&mut buffer);
        let buffer = self.harness.push_and_pull(buffer).unwrap();
        let faces = meta::read(&buffer).expect("the buffer carries a report").faces;
        let pixels = |part: f64, size: u32| (part * f64::from(size)).round() as u32;
        let faces = faces.iter().map(|face| {
            let (x, y) = (pixels(face.x, WIDTH), pixels(face.y, HEIGHT));
            ((x, y, pixels(face.width, WIDTH), pixels(face.height, HEIGHT)), face.detection)
        });
        faces.collect()
    }
}

#[test]
fn upstream_faces_are_read_from_analytics_metadata() {
    let faces = Rig::new().faces(|buffer| {
        let mut relations = AnalyticsRelationMeta::add(buffer.make_mut());
        relations.add_od_mtd(Quark::from_str("car"), 0, 0, 100, 100, 0.9).unwrap();
        relations.add_od_mtd(Quark::from_str("face"), 160, 60, 80, 100, 0.875).unwrap();
        relations.add_od_mtd(Quark::from_str("face"), 20, 20, 0, 100, 0.9).unwrap();
        // The same face again, in the other form.
        VideoRegionOfInterestMeta::add(buffer.make_mut(), "face", (158, 62, 80, 100));
    });
    assert_eq!(faces, [((160, 60, 80, 100), 0.875)]);
}

#[test]
fn a_detector_that_tells_no_confidence_is_believed() {
    let faces = Rig::new().faces(|buffer| {
        add_other(buffer, "face", 0.0);
    });
    assert_eq!(faces, [((1, 2, 30, 40), 1.0)]);
}

#[test]
fn own_entries_are_no_upstream_faces() {
    assert_eq!(Rig::new().faces(|buffer| attach(buffer, &two_faces())), []);
    let faces = Rig::new().faces(|buffer| {
        attach(buffer, &two_faces());
        add_other(buffer, "face", 0.75);
    });
    assert_eq!(faces, [((1, 2, 30, 40), 0.75)]);
}
