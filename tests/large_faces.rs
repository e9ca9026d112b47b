//! Faces that fill a good part of the frame: looked for in a smaller picture than others, and seen there as well as in a larger one.

#[path = "common/video.rs"]
mod video;

use deepfake_engine::analysis::detector::{FaceDetector, Picture};
use deepfake_engine::analysis::follower::{FOLLOWING_SIZE, FaceFollower, FollowerSettings};
use deepfake_engine::analysis::frame::{ColorMatrix, ColorRange, FrameView, PixelFormat, Plane};
use deepfake_engine::analysis::geometry::Rect;
use deepfake_engine::analysis::sampler::{ChannelOrder, Sampler};
use deepfake_engine::inference::{DeviceRequest, SessionOptions, places};
use gstdeepfake::elements::frame;
use video::frames;

const WOMAN: &str = "WolfgangLanger_Pexels.mp4";
const SECOND: u64 = 1_000_000_000;
/// 15 frames a second.
const STEP: u64 = SECOND / 15;

fn detector() -> FaceDetector {
    let options = SessionOptions { device: DeviceRequest::Cpu, require_device: true, threads: 1 };
    FaceDetector::load(&places::find_detector("centerface.onnx").unwrap(), &options).unwrap()
}

/// The box of the only face in a picture of the whole frame with [`FOLLOWING_SIZE`] pixels at its longer side; in pixels of the frame.
#[track_caller]
fn box_in_whole(detector: &mut FaceDetector, frame: &FrameView) -> Rect {
    let scale = FOLLOWING_SIZE as f32 / frame.width as f32;
    let (width, height) = (FOLLOWING_SIZE, (frame.height as f32 * scale).round() as u32);
    let mut sampler = Sampler::default();
    let pixels = sampler.sample(frame, &frame.bounds(), width, height, ChannelOrder::Rgb).unwrap();
    let faces = detector.detect(Picture { pixels, width: width as usize, height: height as usize }, 0.5).unwrap();
    let [face] = &faces[..] else { panic!("the clip shows one face: {faces:?}") };
    let Rect { x, y, width, height } = face.rect;
    Rect::new(x / scale, y / scale, width / scale, height / scale)
}

#[test]
fn a_large_face_is_followed_where_a_larger_picture_shows_it() {
    let mut whole = detector();
    let mut follower = FaceFollower::new(Some(detector()), FollowerSettings::default());
    let (mut farthest, mut sizes) = (0.0f32, vec![]);
    for (index, video) in frames(WOMAN, 60).iter().enumerate() {
        let video = video.as_video_frame_ref();
        let view = frame::view(&video, index as u64 * STEP).unwrap();
        let truth = box_in_whole(&mut whole, &view);
        let side = truth.area().sqrt();
        let [track] = follower.follow(&view).unwrap() else { panic!("frame {index}") };
        assert!(track.seen, "frame {index}: lost from sight");
        let (center, expected) = (track.rect.center(), truth.center());
        farthest = farthest.max((center.x - expected.x).hypot(center.y - expected.y) / side);
        sizes.push(track.rect.area().sqrt() / side);
    }
    let mean = sizes.iter().sum::<f32>() / sizes.len() as f32;
    println!("{farthest:.3} sides off at most, {mean:.3} as large");
    assert!(farthest < 0.08 && (mean - 1.0).abs() < 0.04);
}

/// Rows of both, beside each other. RGB.
fn beside(left: &[u8], right: &[u8], rows: usize) -> Vec<u8> {
    let (left, right) = (left.chunks_exact(left.len() / rows), right.chunks_exact(right.len() / rows));
    left.zip(right).flat_map(|(left, right)| left.iter().chain(right)).copied().collect()
}

#[test]
fn a_second_large_face_that_comes_beside_the_first_is_found_within_a_second() {
    let videos = frames(WOMAN, 40);
    let (mut whole, mut sampler) = (detector(), Sampler::default());
    // The woman, with no more around her than makes both faces large in a frame of two.
    let mut half = |video: &gst_video::VideoFrame<gst_video::video_frame::Readable>| {
        let video = video.as_video_frame_ref();
        let view = frame::view(&video, 0).unwrap();
        let face = box_in_whole(&mut whole, &view);
        let width = face.width * 1.7;
        let part = Rect::new(face.center().x - width / 2.0, 0.0, width, view.height as f32);
        sampler.sample(&view, &part, 320, 360, ChannelOrder::Rgb).unwrap().to_vec()
    };
    let halves: Vec<_> = videos.iter().map(&mut half).collect();
    let empty = vec![96; halves[0].len()];
    let row = 320 * 3;

    let mut follower = FaceFollower::new(Some(detector()), FollowerSettings::default());
    let (mut first, mut found) = (None, None);
    // The second woman comes in from the right, and is all there in so many frames.
    let comes = 12;
    for (index, woman) in halves.iter().enumerate() {
        let shown = row / 3 * index.min(comes) / comes * 3;
        let right = empty.chunks_exact(row).zip(woman.chunks_exact(row));
        let right: Vec<u8> =
            right.flat_map(|(empty, woman)| empty[shown..].iter().chain(&woman[..shown])).copied().collect();
        let pixels = beside(woman, &right, 360);
        let planes = [Plane { data: &pixels, stride: 2 * row }];
        let pts = index as u64 * STEP;
        let view =
            FrameView::new(PixelFormat::Rgb, 640, 360, &planes, ColorMatrix::Bt709, ColorRange::Full, pts).unwrap();
        let tracks = follower.follow(&view).unwrap();
        let [left, others @ ..] = tracks else { panic!("frame {index}: {tracks:?}") };
        assert_eq!(*first.get_or_insert(left.id), left.id, "frame {index}");
        assert!(left.seen && left.rect.center().x < 320.0, "frame {index}: the first face is lost from sight");
        let is_large = |face: &Rect| face.area().sqrt() > 160.0;
        assert!(is_large(&left.rect), "frame {index}: the clip's face is too small for this test");
        if others.iter().any(|track| track.seen && track.rect.x > 320.0) {
            found.get_or_insert(index);
        }
    }
    println!("found in frame {found:?}; it is all there from {comes} on");
    assert!(found.is_some_and(|found| found <= comes + 15));
}
