//! Pictures that are stored otherwise than they are shown: pixels that are not square, cameras held sideways, ten bits, black bars.

#[path = "common/video.rs"]
mod video;

use deepfake_engine::analysis::cropper::{Alignment, CropSpec, Cropper};
use deepfake_engine::analysis::detector::FaceDetector;
use deepfake_engine::analysis::follower::{FaceFollower, FollowerSettings, ShotWatch};
use deepfake_engine::analysis::frame::{ColorMatrix, ColorRange, FrameView, PixelFormat, Plane, Primaries, Transfer};
use deepfake_engine::analysis::geometry::Rect;
use deepfake_engine::analysis::sampler::{ChannelOrder, Sampler};
use deepfake_engine::analysis::tracker::cut::Shot;
use deepfake_engine::inference::{DeviceRequest, SessionOptions, places};
use gst_video::{VideoFormat, VideoInfo};
use gstdeepfake::elements::frame;
use video::{frames, samples};

const CLIP: &str = "WolfgangLanger_Pexels.mp4";
const SPEC: CropSpec =
    CropSpec { width: 128, height: 128, alignment: Alignment::Box, margin: 1.4, order: ChannelOrder::Rgb };

fn source(elements: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/clips").join(CLIP);
    assert!(path.is_file(), "{} is missing: run `make deps`", path.display());
    format!(
        "filesrc location=\"{}\" ! decodebin ! videorate ! video/x-raw,framerate=5/1 ! videoscale ! \
         video/x-raw,width=960,height=540,pixel-aspect-ratio=1/1 ! {elements}",
        path.display()
    )
}

/// The face's crops, and where it is in the stored frame.
fn crops(samples: &[gst::Sample], tag: &str) -> Vec<(Vec<u8>, Rect)> {
    let options = SessionOptions { device: DeviceRequest::Cpu, require_device: true, threads: 1 };
    let detector = FaceDetector::load(&places::find_detector("centerface.onnx").unwrap(), &options).unwrap();
    let mut follower = FaceFollower::new(Some(detector), FollowerSettings::default());
    let mut orientations = frame::Orientations::default();
    if !tag.is_empty() {
        assert!(orientations.add(&orientation(tag)));
    }
    let mut cropper = Cropper::default();
    let crop = |(index, sample): (usize, &gst::Sample)| {
        let video = video::frame(sample);
        let video = video.as_video_frame_ref();
        let view = frame::view_turned(&video, orientations.current(), index as u64 * 200_000_000).unwrap();
        let tracks = follower.follow(&view).unwrap();
        let [track] = tracks else { panic!("frame {index} {tag} shows one face: {tracks:?}") };
        let crop = cropper.crop(&view, &track.rect, None, &SPEC).unwrap().to_vec();
        let share = view.to_stored(&track.rect);
        let part = [share.x, share.y, share.width, share.height].map(|value| value as f32);
        (crop, Rect::new(part[0], part[1], part[2], part[3]))
    };
    samples.iter().enumerate().map(crop).collect()
}

/// The tags of a stream that is to be turned so.
fn orientation(value: &str) -> gst::TagList {
    let mut tags = gst::TagList::new();
    tags.get_mut().unwrap().add::<gst::tags::ImageOrientation>(&value, gst::TagMergeMode::Append);
    tags
}

fn correlation(a: &[u8], b: &[u8]) -> f64 {
    let mean = |values: &[u8]| values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (f64::from(*a) - mean_a, f64::from(*b) - mean_b);
        (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
    }
    ab / (aa * bb).sqrt()
}

#[track_caller]
fn assert_alike(found: &[(Vec<u8>, Rect)], expected: &[(Vec<u8>, Rect)], what: &str) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let alike = correlation(&found.0, &expected.0);
        assert!(alike >= 0.98, "{what}: frame {index}'s crops correlate by {alike:.3}");
    }
}

#[test]
fn faces_of_pixels_that_are_not_square_are_not_squeezed() {
    let square = crops(&samples(&source("videoconvert ! video/x-raw,format=I420"), 6), "");
    let anamorphic = source(
        "videoscale add-borders=false ! video/x-raw,width=720,height=540,pixel-aspect-ratio=4/3 ! videoconvert ! \
         video/x-raw,format=I420",
    );
    let found = crops(&samples(&anamorphic, 6), "");
    assert_alike(&found, &square, "anamorphic");
    for ((_, found), (_, expected)) in found.iter().zip(&square) {
        assert!(found.iou(expected) > 0.9, "boxes are parts of the stored frame: {found:?}, not {expected:?}");
    }
}

#[test]
fn a_camera_that_was_held_sideways_gives_the_crops_of_an_upright_one() {
    let upright = crops(&samples(&source("videoconvert ! video/x-raw,format=I420"), 3), "");
    for (flip, tag) in [("90r", "rotate-270"), ("90l", "rotate-90"), ("180", "rotate-180")] {
        let lying = source(&format!("videoflip video-direction={flip} ! videoconvert ! video/x-raw,format=I420"));
        let found = crops(&samples(&lying, 3), tag);
        assert_alike(&found, &upright, tag);
        let (lying, standing) = (found[0].1, upright[0].1);
        let expected = match flip {
            "90r" => Rect::new(1.0 - standing.bottom(), standing.x, standing.height, standing.width),
            "90l" => Rect::new(standing.y, 1.0 - standing.right(), standing.height, standing.width),
            _ => Rect { x: 1.0 - standing.right(), y: 1.0 - standing.bottom(), ..standing },
        };
        assert!(lying.iou(&expected) > 0.9, "{tag}: {lying:?} is not {expected:?}");
    }
}

/// All eight, as GStreamer's own element turns them.
#[test]
fn orientation_tags_mean_what_videoflip_takes_them_for() {
    for flip in ["", "flip-"] {
        for angle in [0, 90, 180, 270] {
            let tag = format!("{flip}rotate-{angle}");
            let turned = source(&format!(
                "videoconvert ! video/x-raw,format=RGB ! taginject tags=\"image-orientation={tag}\" ! \
                 videoflip video-direction=auto"
            ));
            let turned = video::frame(&samples(&turned, 1)[0]);
            let stored = video::frame(&samples(&source("videoconvert ! video/x-raw,format=RGB"), 1)[0]);
            let (turned, stored) = (turned.as_video_frame_ref(), stored.as_video_frame_ref());
            let orientation = frame::orientation(&orientation(&tag)).unwrap();
            let (expected, found) =
                (frame::view(&turned, 0).unwrap(), frame::view_turned(&stored, orientation, 0).unwrap());
            assert_eq!((found.width, found.height), (expected.width, expected.height), "{tag}");
            let picture = |view: &FrameView| {
                Sampler::default().sample(view, &view.bounds(), 60, 60, ChannelOrder::Rgb).unwrap().to_vec()
            };
            let worst = picture(&found).iter().zip(picture(&expected)).map(|(a, b)| a.abs_diff(b)).max().unwrap();
            assert!(worst <= 1, "{tag}: off by {worst}");
        }
    }
}

#[test]
fn ten_bits_show_what_eight_show() {
    // By way of the other format, so that chroma is brought to the pixels by the same arithmetic.
    let picture = |first: &str, format: &str| {
        let elements = format!(
            "videoconvert ! video/x-raw,format={first} ! videoconvert dither=none ! video/x-raw,format={format}"
        );
        let video = video::frame(&samples(&source(&elements), 1)[0]);
        let video = video.as_video_frame_ref();
        let view = frame::view(&video, 0).unwrap();
        let part = Rect::new(300.5, 100.25, 320.0, 320.0);
        Sampler::default().sample(&view, &part, 128, 128, ChannelOrder::Rgb).unwrap().to_vec()
    };
    for (ten, eight) in [
        ("I420_10LE", "I420"),
        ("P010_10LE", "I420"),
        ("I422_10LE", "Y42B"),
        ("RGB10A2_LE", "RGB"),
        ("BGR10A2_LE", "RGB"),
    ] {
        let (ten_bits, eight_bits) = (picture(eight, ten), picture(eight, eight));
        let off: u32 = ten_bits.iter().zip(&eight_bits).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        let mean = f64::from(off) / ten_bits.len() as f64;
        assert!(mean < 1.5, "{ten}: {mean:.2} levels from {eight}");
    }
}

#[test]
fn caps_say_what_light_and_which_lines_a_frame_is_made_of() {
    gst::init().unwrap();
    let view = |more: &str| {
        let caps = format!("video/x-raw,format=P010_10LE,width=64,height=48,framerate=25/1{more}");
        let info = VideoInfo::from_caps(&caps.parse::<gst::Caps>().unwrap()).unwrap();
        let buffer = gst::Buffer::from_mut_slice(vec![0u8; info.size()]);
        let video = gst_video::VideoFrame::from_buffer_readable(buffer, &info).unwrap();
        let video = video.as_video_frame_ref();
        let view = frame::view(&video, 0).unwrap();
        (view.transfer, view.primaries, view.stored_size(), (view.width, view.height))
    };
    let whole = (64, 48);
    assert_eq!(view(",colorimetry=bt709"), (Transfer::Sdr, Primaries::Bt709, whole, whole));
    assert_eq!(view(",colorimetry=bt2100-pq"), (Transfer::Pq, Primaries::Bt2020, whole, whole));
    assert_eq!(view(",colorimetry=bt2100-hlg"), (Transfer::Hlg, Primaries::Bt2020, whole, whole));
    let interlaced = view(",colorimetry=bt709,interlace-mode=interleaved,field-order=top-field-first");
    assert_eq!(interlaced, (Transfer::Sdr, Primaries::Bt709, (64, 24), whole));
    let tiny = VideoInfo::builder(VideoFormat::I420, 14, 8).build().unwrap();
    let error = frame::check(&tiny).unwrap_err().to_string();
    assert!(error.contains("14x8") && error.contains("16x16 to 8192x8192"), "{error}");
}

const CANVAS: (usize, usize) = (640, 360);

/// The picture at its place in a black frame.
fn boxed(view: &FrameView, (left, top, width, height): (usize, usize, usize, usize), gain: f32) -> Vec<u8> {
    let part = Rect::from_center(
        view.bounds().center(),
        (view.height as f32 * width as f32 / height as f32).min(view.width as f32),
        view.height as f32,
    );
    let mut sampler = Sampler::default();
    let pixels = sampler.sample(view, &part, width as u32, height as u32, ChannelOrder::Rgb).unwrap();
    let mut canvas = vec![0; CANVAS.0 * CANVAS.1 * 3];
    for (row, line) in pixels.chunks_exact(width * 3).enumerate() {
        let target = &mut canvas[((top + row) * CANVAS.0 + left) * 3..][..width * 3];
        for (to, from) in target.iter_mut().zip(line) {
            *to = (f32::from(*from) * gain) as u8;
        }
    }
    canvas
}

#[test]
fn no_cut_between_two_people_is_missed_behind_black_bars() {
    let clips = [CLIP, "single_face.mp4"].map(|name| frames(name, 40));
    let shapes = [
        ("full", (0, 0, 640, 360)),
        ("letterbox", (0, 46, 640, 268)),
        ("pillarbox", (80, 0, 480, 360)),
        ("vertical", (218, 0, 204, 360)),
        ("windowbox", (80, 46, 480, 268)),
    ];
    for (shape, place) in shapes {
        let mut watch = ShotWatch::default();
        let mut missed = vec![];
        for cut in 0..24 {
            // Darker, as it is, brighter.
            let gain = [0.6, 1.0, 0.8, 1.0][cut % 4];
            for index in 0..3 {
                let video = clips[cut % 2][(cut * 2 + index) % 30].as_video_frame_ref();
                let canvas = boxed(&frame::view(&video, 0).unwrap(), place, gain);
                let planes = [Plane { data: &canvas, stride: CANVAS.0 * 3 }];
                let (width, height) = (CANVAS.0 as u32, CANVAS.1 as u32);
                let (matrix, range) = (ColorMatrix::Bt709, ColorRange::Full);
                let view = FrameView::new(PixelFormat::Rgb, width, height, &planes, matrix, range, 0).unwrap();
                let shot = watch.look(&view).unwrap();
                if cut > 0 && index == 0 && shot == Shot::Same {
                    missed.push(cut);
                }
            }
        }
        assert_eq!(missed, [0; 0], "{shape}: missed of 23 cuts");
    }
}
