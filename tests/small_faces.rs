//! Faces that are small in a large frame: found soon, and followed wherever they go.

#[path = "common/video.rs"]
mod video;

use deepfake_engine::analysis::detector::{Detection, FaceDetector, Picture};
use deepfake_engine::analysis::follower::{FaceFollower, FollowerSettings};
use deepfake_engine::analysis::frame::{ColorMatrix, ColorRange, FrameView, PixelFormat, Plane};
use deepfake_engine::analysis::geometry::{Point, Rect};
use deepfake_engine::analysis::sampler::{ChannelOrder, Sampler};
use deepfake_engine::inference::{DeviceRequest, SessionOptions, places};
use gst_video::video_frame::{Readable, VideoFrame};
use gstdeepfake::elements::frame;
use video::frames;

const WIDTH: u32 = 1920;
const HEIGHT: u32 = 1080;
/// Height of the face's box, in pixels of that frame.
const FACE: f32 = 64.0;
const SECOND: u64 = 1_000_000_000;
/// 15 frames a second.
const STEP: u64 = SECOND / 15;

fn detector() -> FaceDetector {
    let options = SessionOptions { device: DeviceRequest::Cpu, require_device: true, threads: 1 };
    FaceDetector::load(&places::find_detector("centerface.onnx").unwrap(), &options).unwrap()
}

/// What the detector finds in a picture of the whole frame with `longest` pixels at its longer side; in pixels of the frame.
fn detect(detector: &mut FaceDetector, frame: &FrameView, longest: u32) -> Vec<Detection> {
    let scale = longest as f32 / frame.width as f32;
    let (width, height) = (longest, (frame.height as f32 * scale).round() as u32);
    let mut sampler = Sampler::default();
    let pixels = sampler.sample(frame, &frame.bounds(), width, height, ChannelOrder::Rgb).unwrap();
    let picture = Picture { pixels, width: width as usize, height: height as usize };
    let mut faces = detector.detect(picture, 0.25).unwrap();
    for Detection { rect: Rect { x, y, width, height }, .. } in &mut faces {
        [x, y, width, height].into_iter().for_each(|value| *value /= scale);
    }
    faces
}

/// A head, cut out of a frame with what is around it, so large that its face's box is [`FACE`] high.
struct Head {
    pixels: Vec<u8>,
    side: usize,
    /// Of the face's box within it.
    center: Point,
}

/// The clip's heads, one for each frame.
fn heads(detector: &mut FaceDetector) -> Vec<Head> {
    let cut_out = |video: &VideoFrame<Readable>| {
        let video = video.as_video_frame_ref();
        let view = frame::view(&video, 0).unwrap();
        let [face] = &detect(detector, &view, 320)[..] else { panic!("the clip shows one face") };
        let (center, reach) = (face.rect.center(), face.rect.height);
        let part = Rect::from_center(center, 2.0 * reach, 2.0 * reach);
        let side = (2.0 * FACE) as u32;
        let pixels = Sampler::default().sample(&view, &part, side, side, ChannelOrder::Rgb).unwrap().to_vec();
        let to_head = side as f32 / part.width;
        let center = Point { x: (center.x - part.x) * to_head, y: (center.y - part.y) * to_head };
        Head { pixels, side: side as usize, center }
    };
    frames("WolfgangLanger_Pexels.mp4", 60).iter().map(cut_out).collect()
}

/// A room without people, 1920 × 1080.
fn room() -> Vec<u8> {
    let frames = frames("no_face.mp4", 1);
    let video = frames[0].as_video_frame_ref();
    let view = frame::view(&video, 0).unwrap();
    Sampler::default().sample(&view, &view.bounds(), WIDTH, HEIGHT, ChannelOrder::Rgb).unwrap().to_vec()
}

/// The room with the head in it, its face centred at `at`; fades into the room around.
fn shot(room: &[u8], head: &Head, at: Point) -> Vec<u8> {
    let mut pixels = room.to_vec();
    let (left, top) = ((at.x - head.center.x) as usize, (at.y - head.center.y) as usize);
    let half = head.side as f32 / 2.0;
    for (row, line) in head.pixels.chunks_exact(head.side * 3).enumerate() {
        for (column, pixel) in line.as_chunks::<3>().0.iter().enumerate() {
            let from_middle = ((column as f32 - half).powi(2) + (row as f32 - half).powi(2)).sqrt() / half;
            let share = ((1.0 - from_middle) * 5.0).clamp(0.0, 1.0);
            let target = ((top + row) * WIDTH as usize + left + column) * 3;
            for (to, from) in pixels[target..target + 3].iter_mut().zip(pixel) {
                *to = (f32::from(*from) * share + f32::from(*to) * (1.0 - share)) as u8;
            }
        }
    }
    pixels
}

fn view(pixels: &[u8], pts: u64) -> FrameView<'_> {
    let planes = [Plane { data: pixels, stride: WIDTH as usize * 3 }];
    FrameView::new(PixelFormat::Rgb, WIDTH, HEIGHT, &planes, ColorMatrix::Bt709, ColorRange::Full, pts).unwrap()
}

/// Where the face is in the frame with this number: to and fro, up to three of its own heights a second.
fn place(index: usize) -> Point {
    let t = index as f32 / 15.0;
    Point { x: 900.0 + 400.0 * (t * 0.5).sin(), y: 500.0 + 150.0 * (t * 0.8).sin() }
}

#[test]
fn a_face_64_pixels_high_in_full_hd_is_found_within_a_second_and_followed_while_it_moves() {
    let mut detector = detector();
    let (room, heads) = (room(), heads(&mut detector));
    let shots: Vec<_> = heads.iter().enumerate().map(|(index, head)| shot(&room, head, place(index))).collect();

    // One picture of the whole frame, as large as large faces need, does not show it.
    for pixels in &shots {
        let sure = detect(&mut detector, &view(pixels, 0), 320).into_iter().filter(|face| face.confidence > 0.5);
        assert_eq!(sure.count(), 0, "it is found anyway: the test proves nothing");
    }

    let mut follower = FaceFollower::new(Some(detector), FollowerSettings::default());
    let (mut id, mut farthest, mut sizes) = (None, 0.0f32, vec![]);
    for (index, pixels) in shots.iter().enumerate() {
        let pts = index as u64 * STEP;
        let tracks = follower.follow(&view(pixels, pts)).unwrap();
        if tracks.is_empty() && id.is_none() {
            assert!(pts < SECOND, "it is not found within a second");
            continue;
        }
        let [track] = tracks else { panic!("frame {index}: {tracks:?}") };
        assert_eq!(*id.get_or_insert(track.id), track.id, "frame {index}");
        assert!(track.seen, "frame {index}: lost from sight");
        let (center, truth) = (track.rect.center(), place(index));
        farthest = farthest.max((center.x - truth.x).hypot(center.y - truth.y) / FACE);
        sizes.push(track.rect.height / FACE);
    }
    let (least, most) = (sizes.iter().copied().fold(9.0, f32::min), sizes.iter().copied().fold(0.0, f32::max));
    println!(
        "seen in {} of {} frames, {farthest:.3} off at most, {least:.3} to {most:.3} as high",
        sizes.len(),
        shots.len()
    );
    assert!(farthest < 0.15 && least > 0.8 && most < 1.25);
}

#[test]
fn a_face_that_comes_later_is_found_within_a_second() {
    let mut detector = detector();
    let (room, heads) = (room(), heads(&mut detector));
    let mut follower = FaceFollower::new(Some(detector), FollowerSettings::default());
    // Right after the room was searched, which is the longest wait.
    assert!(follower.follow(&view(&room, 0)).unwrap().is_empty(), "somebody is in the room");
    let came = STEP;
    let found = heads.iter().enumerate().take(15).position(|(index, head)| {
        let pixels = shot(&room, head, place(index));
        follower.follow(&view(&pixels, came + index as u64 * STEP)).unwrap().iter().any(|track| track.seen)
    });
    println!("found after {found:?} frames");
    assert!(found.is_some());
}

#[test]
fn the_whole_frame_is_searched_as_often_as_is_asked() {
    let mut detector = detector();
    let (room, heads) = (room(), heads(&mut detector));
    for (interval, expected) in [(0, 1), (SECOND / 2, 8), (60 * SECOND, usize::MAX)] {
        let settings = FollowerSettings { discovery_interval: interval, ..FollowerSettings::default() };
        let mut follower = FaceFollower::new(Some(detector), settings);
        follower.follow(&view(&room, 0)).unwrap();
        // A second sight confirms a face, unless it is the shot's first.
        let found = (1..30).find(|index| {
            let pixels = shot(&room, &heads[*index], place(*index));
            follower.follow(&view(&pixels, *index as u64 * STEP)).unwrap().iter().any(|track| track.seen)
        });
        assert_eq!(found.unwrap_or(usize::MAX), expected, "every {interval} ns");
        detector = self::detector();
    }
}
