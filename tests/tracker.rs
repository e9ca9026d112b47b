//! Following faces: simulated faces, whose true identity is known, and everything that may come from a bad detector.

use deepfake_engine::analysis::{
    detector::Detection,
    geometry::{Point, Rect},
    tracker::{Track, Tracker, TrackerSettings},
};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{RngSeed, TestRunner},
};

const SECOND: u64 = 1_000_000_000;

/// A face at (`x`, `y`) of side `side`, with the landmarks that such a face has.
fn face(x: f32, y: f32, side: f32) -> Detection {
    let place = [(-0.2, -0.15), (0.2, -0.15), (0.0, 0.05), (-0.15, 0.25), (0.15, 0.25)];
    Detection {
        rect: Rect::from_center(Point { x, y }, side, side),
        landmarks: Some(place.map(|(dx, dy)| Point { x: x + dx * side, y: y + dy * side })),
        confidence: 0.9,
    }
}

fn doubtful(detection: Detection) -> Detection {
    Detection { confidence: 0.3, ..detection }
}

/// A face that moves straight on: the middle of its way, pixels per second, side.
#[derive(Clone, Copy, Debug)]
struct Walker {
    x: f32,
    y: f32,
    dx: f32,
    dy: f32,
    side: f32,
}

impl Walker {
    /// The face `t` seconds from the middle of its way.
    fn at(&self, t: f32) -> Detection {
        face(self.x + self.dx * t, self.y + self.dy * t, self.side)
    }
}

/// A detector's trembling: the box moved and resized by up to `share` of its side; the same for the same seed.
struct Tremble {
    state: u64,
    share: f32,
}

impl Tremble {
    fn new(seed: u64, share: f32) -> Self {
        Self { state: seed, share }
    }

    /// -share..share
    fn next(&mut self) -> f32 {
        // SplitMix64 (Steele, Lea and Flood, 2014).
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u32 << 23) as f32 * self.share - self.share
    }

    fn shake(&mut self, detection: Detection) -> Detection {
        let (center, side) = (detection.rect.center(), detection.rect.width);
        let x = center.x + self.next() * side;
        let y = center.y + self.next() * side;
        face(x, y, side * (1.0 + self.next()))
    }
}

/// The track whose box is nearest to the detection's.
fn nearest<'a>(tracks: &'a [Track], detection: &Detection) -> &'a Track {
    let distance = |track: &Track| {
        let (a, b) = (track.rect.center(), detection.rect.center());
        (a.x - b.x).hypot(a.y - b.y)
    };
    tracks.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).expect("a track")
}

fn ids(tracks: &[Track]) -> Vec<u32> {
    tracks.iter().map(|track| track.id).collect()
}

/// Feeds frames at `fps` from `from` to `to` seconds; `see` gives what the detector finds at each.
fn play(tracker: &mut Tracker, fps: f32, from: f32, to: f32, mut see: impl FnMut(f32) -> Vec<Detection>) -> Vec<Track> {
    let mut tracks = vec![];
    for frame in 0.. {
        let t = from + frame as f32 / fps;
        if t >= to {
            break;
        }
        let pts = (f64::from(t + 100.0) * 1e9) as u64;
        tracks = tracker.update(pts, &see(t)).to_vec();
    }
    tracks
}

/// What a detector sees of two faces of which the first is in front: of two boxes that overlap, one.
fn see_two(front: Detection, back: Detection) -> Vec<Detection> {
    if front.rect.iou(&back.rect) > 0.3 { vec![front] } else { vec![front, back] }
}

/// Two walkers whose ways cross in one point at time 0, the second hidden behind the first for at most 0.8 s.
fn crossing() -> impl Strategy<Value = (Walker, Walker)> {
    let side = 40.0..200.0f32;
    (side, 0.8..1.25f32, 0.0..360.0f32, 0.0..360.0f32, 0.0..3.0f32, 0.3..3.0f32)
        .prop_map(|(side, ratio, angle_a, angle_b, speed_a, speed_b)| {
            let walker = |side: f32, angle: f32, speed: f32| {
                let (sin, cos) = angle.to_radians().sin_cos();
                Walker { x: 640.0, y: 360.0, dx: cos * speed * side, dy: sin * speed * side, side }
            };
            (walker(side, angle_a, speed_a), walker(side * ratio, angle_b, speed_b))
        })
        .prop_filter("hidden for no longer than a track lives", |(a, b)| {
            let relative = (a.dx - b.dx).hypot(a.dy - b.dy);
            // Boxes overlap by IoU 0.3 for about 1.1 sides of way.
            1.1 * a.side.max(b.side) / relative < 0.8
        })
}

#[test]
fn the_first_faces_have_ids_from_left_to_right_at_once() {
    let mut tracker = Tracker::new(TrackerSettings::default());
    let tracks = tracker.update(0, &[face(500.0, 100.0, 80.0), face(100.0, 100.0, 80.0)]);
    assert_eq!(ids(tracks), [1, 2]);
    assert!(tracks[0].rect.x < tracks[1].rect.x);
    assert!(tracks.iter().all(|track| track.seen && track.landmarks.is_some()));
}

#[test]
fn a_later_face_is_reported_when_seen_twice_in_a_row() {
    let mut tracker = Tracker::new(TrackerSettings::default());
    let first = face(100.0, 100.0, 80.0);
    let blunder = face(900.0, 300.0, 60.0);
    let newcomer = face(500.0, 100.0, 80.0);
    assert_eq!(ids(tracker.update(0, std::slice::from_ref(&first))), [1]);
    assert_eq!(ids(tracker.update(40_000_000, &[first.clone(), blunder])), [1]);
    assert_eq!(ids(tracker.update(80_000_000, &[first.clone(), newcomer.clone()])), [1]);
    assert_eq!(ids(tracker.update(120_000_000, &[first.clone(), newcomer.clone()])), [1, 2]);
    let tracks = tracker.update(160_000_000, &[first, newcomer]);
    assert_eq!((tracks[1].hits, tracks[1].born), (3, 80_000_000));
}

#[test]
fn doubtful_detections_continue_tracks_but_begin_none() {
    let mut tracker = Tracker::new(TrackerSettings::default());
    let (known, unknown) = (face(100.0, 100.0, 80.0), doubtful(face(500.0, 100.0, 80.0)));
    tracker.update(0, std::slice::from_ref(&known));
    for frame in 1..100 {
        let tracks = tracker.update(frame * 40_000_000, &[doubtful(known.clone()), unknown.clone()]);
        assert_eq!(ids(tracks), [1]);
        assert!(tracks[0].seen);
        assert_eq!(tracks[0].confidence, 0.3);
    }
}

#[test]
fn a_hidden_face_keeps_its_id_for_a_second_and_no_longer() {
    for (gap, same) in [(1.0, true), (1.4, false)] {
        for fps in [5, 10, 25, 60] {
            let mut tracker = Tracker::new(TrackerSettings::default());
            let still = [face(300.0, 300.0, 100.0)];
            let back = 2 * fps + (gap * fps as f32) as u64;
            for frame in 0..back {
                let hidden = frame > 2 * fps;
                let tracks = tracker.update(frame * SECOND / fps, if hidden { &[] } else { &still });
                assert!(tracks.iter().all(|track| track.id == 1 && track.seen != hidden));
            }
            assert_eq!(tracker.tracks().len(), usize::from(same), "{fps} fps, {gap} s");
            tracker.update(back * SECOND / fps, &still);
            let tracks = tracker.update((back + 1) * SECOND / fps, &still);
            assert_eq!(ids(tracks), [if same { 1 } else { 2 }], "{fps} fps, {gap} s");
        }
    }
}

#[test]
fn coasting_is_no_miss() {
    let mut tracker = Tracker::new(TrackerSettings::default());
    let moving = |t: f32| face(100.0 + 200.0 * t, 100.0, 100.0);
    for frame in 0..50u64 {
        let t = frame as f32 / 25.0;
        let pts = frame * 40_000_000;
        // The detector runs once in 5 frames.
        let tracks = if frame % 5 == 0 { tracker.update(pts, &[moving(t)]) } else { tracker.coast(pts) };
        assert_eq!(ids(tracks), [1]);
        assert!(tracks[0].seen);
        if frame > 20 {
            let lag = moving(t).rect.center().x - tracks[0].rect.center().x;
            assert!(lag.abs() < 2.0, "frame {frame}: {lag} px behind");
        }
    }
}

#[test]
fn a_reset_drops_tracks_and_goes_on_counting() {
    let mut tracker = Tracker::new(TrackerSettings::default());
    let still = face(300.0, 300.0, 100.0);
    tracker.update(0, std::slice::from_ref(&still));
    tracker.reset();
    assert!(tracker.tracks().is_empty());
    assert_eq!(ids(tracker.update(0, &[still])), [2]);
}

#[test]
fn a_still_face_does_not_tremble() {
    let mut tracker = Tracker::new(TrackerSettings::default());
    let mut tremble = Tremble::new(1, 0.03);
    let still = face(300.0, 300.0, 100.0);
    let (mut raw, mut smooth): (Vec<Rect>, Vec<Rect>) = (vec![], vec![]);
    play(&mut tracker, 25.0, 0.0, 1.0, |_| vec![tremble.shake(still.clone())]);
    for frame in 0..250u64 {
        let seen = tremble.shake(still.clone());
        raw.push(seen.rect);
        smooth.push(tracker.update((frame + 101 * 25) * 40_000_000, &[seen])[0].rect);
    }
    let tremble = |rects: &[Rect], of: fn(&Rect) -> f32| {
        let steps = rects.windows(2).map(|pair| (of(&pair[1]) - of(&pair[0])).powi(2));
        (steps.sum::<f32>() / (rects.len() - 1) as f32).sqrt()
    };
    let (x, width) = (|rect: &Rect| rect.center().x, |rect: &Rect| rect.width);
    assert!(tremble(&smooth, x) < 0.4 * tremble(&raw, x), "{} of {}", tremble(&smooth, x), tremble(&raw, x));
    assert!(tremble(&smooth, width) < 0.25 * tremble(&raw, width));
}

#[test]
fn a_box_follows_a_face_that_starts_and_stops() {
    // At rest for a second, 2 sides a second for a second, at rest again.
    let way = |t: f32| face(100.0 + 200.0 * (t - 1.0).clamp(0.0, 1.0), 100.0, 100.0);
    let mut tracker = Tracker::new(TrackerSettings::default());
    for frame in 0..75u64 {
        let seen = way(frame as f32 / 25.0);
        let tracks = tracker.update(frame * 40_000_000, std::slice::from_ref(&seen));
        assert_eq!(ids(tracks), [1]);
        let off = (tracks[0].rect.center().x - seen.rect.center().x).abs();
        assert!(off < 12.0, "frame {frame}: {off} px off");
        // A third of a second after each change it is where the face is.
        if !(25..33).contains(&frame) && !(50..58).contains(&frame) {
            assert!(off < 3.0, "frame {frame}: {off} px off");
        }
    }
}

#[test]
fn two_hundred_faces_keep_their_ids_in_a_crowd() {
    let mut tracker = Tracker::new(TrackerSettings::default());
    let mut tremble = Tremble::new(7, 0.03);
    // 20 × 10 faces, a tenth of a side apart, all moving the same way.
    let crowd: Vec<_> = (0..200)
        .map(|n| Walker { x: (n % 20) as f32 * 44.0, y: (n / 20) as f32 * 44.0, dx: 30.0, dy: 10.0, side: 40.0 })
        .collect();
    let first = play(&mut tracker, 25.0, 0.0, 0.01, |t| crowd.iter().map(|walker| walker.at(t)).collect());
    assert_eq!(first.len(), 200);
    let owner: Vec<_> = crowd.iter().map(|walker| nearest(&first, &walker.at(0.0)).id).collect();
    let last = play(&mut tracker, 25.0, 0.04, 2.0, |t| crowd.iter().map(|w| tremble.shake(w.at(t))).collect());
    assert_eq!(last.len(), 200);
    for (walker, id) in crowd.iter().zip(owner) {
        assert_eq!(nearest(&last, &walker.at(1.96)).id, id);
    }
}

/// Two hundred faces of which a detector sees others each time.
#[test]
fn no_more_faces_are_followed_than_allowed() {
    let mut tracker = Tracker::new(TrackerSettings { max_tracks: 16, min_hits: 1, ..TrackerSettings::default() });
    for frame in 0..30 {
        let seen: Vec<_> = (0..16)
            .map(|index| (frame * 16 + index) % 200)
            .map(|n| face((n % 20 * 60 + 30) as f32, (n / 20 * 60 + 30) as f32, 40.0))
            .collect();
        let tracks = tracker.update(frame * SECOND / 15, &seen);
        assert_eq!(tracks.len(), 16, "frame {frame}");
        assert!(tracks.iter().all(|track| track.seen), "those that are seen now are kept");
        assert!(tracks.is_sorted_by_key(|track| track.id));
    }
}

#[test]
fn the_same_face_found_twice_is_one_track() {
    let mut tracker = Tracker::new(TrackerSettings::default());
    let (one, other) = (face(300.0, 300.0, 100.0), Detection { confidence: 0.6, ..face(315.0, 300.0, 100.0) });
    for frame in 0..20 {
        let tracks = tracker.update(frame * 40_000_000, &[one.clone(), other.clone(), one.clone()]);
        assert_eq!(ids(tracks), [1], "frame {frame}");
    }
}

/// The same cases in every run: these hold for nearly all worlds, not for all that can be thought of.
fn fixed(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(2), failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_detections_does_not_matter(
        frames in proptest::collection::vec(proptest::collection::vec((0..8i32, 0..5i32, 60..90i32, 0..=10i32), 0..12), 1..12),
        seed in any::<u64>(),
    ) {
        let (mut straight, mut shuffled) = (Tracker::new(TrackerSettings::default()), Tracker::new(TrackerSettings::default()));
        let mut dice = Tremble::new(seed, 1.0);
        for (index, frame) in frames.iter().enumerate() {
            let pts = index as u64 * 40_000_000;
            let mut faces: Vec<_> = frame.iter().map(|&(x, y, side, confidence)| Detection {
                confidence: confidence as f32 / 10.0,
                ..face((x * 40) as f32, (y * 40) as f32, side as f32)
            }).collect();
            let expected = straight.update(pts, &faces).to_vec();
            for last in (1..faces.len()).rev() {
                faces.swap(last, ((dice.next() + 1.0) / 2.0 * last as f32) as usize);
            }
            let tracks = shuffled.update(pts, &faces);
            prop_assert_eq!(ids(tracks), ids(&expected));
            for (a, b) in tracks.iter().zip(&expected) {
                prop_assert_eq!((a.rect, a.landmarks, a.seen), (b.rect, b.landmarks, b.seen));
            }
        }
    }

    /// The same faces in a picture of another size, or elsewhere in it, are followed in the same way.
    #[test]
    fn tracks_move_and_grow_with_the_picture(
        (a, b) in crossing(), seed in any::<u64>(),
        scale in prop_oneof![Just(0.25f32), Just(0.5), Just(2.0), Just(4.0)], shift in -4000..4000i32,
    ) {
        let shift = shift as f32;
        let place = |detection: &Detection| {
            let point = |p: Point| Point { x: p.x * scale + shift, y: p.y * scale - shift };
            let Rect { x, y, width, height } = detection.rect;
            let corner = point(Point { x, y });
            Detection {
                rect: Rect::new(corner.x, corner.y, width * scale, height * scale),
                landmarks: detection.landmarks.map(|points| points.map(point)),
                ..*detection
            }
        };
        let (mut here, mut there) = (Tracker::new(TrackerSettings::default()), Tracker::new(TrackerSettings::default()));
        let mut tremble = Tremble::new(seed, 0.02);
        for frame in 0..50u64 {
            let t = frame as f32 / 25.0 - 1.0;
            let seen = see_two(tremble.shake(a.at(t)), tremble.shake(b.at(t)));
            let moved: Vec<_> = seen.iter().map(place).collect();
            let tracks = here.update(frame * 40_000_000, &seen).to_vec();
            let moved = there.update(frame * 40_000_000, &moved);
            prop_assert_eq!(moved.len(), tracks.len());
            for track in &tracks {
                let expected = place(&Detection { rect: track.rect, landmarks: track.landmarks, confidence: 0.0 }).rect;
                // Ids are given from left to right, which rounding may turn round for two faces one above the other.
                let found = moved.iter().any(|other| {
                    let Rect { x, y, width, height } = other.rect;
                    [(x, expected.x), (y, expected.y), (width, expected.width), (height, expected.height)]
                        .iter().all(|(a, b)| (a - b).abs() < 0.05)
                });
                prop_assert!(found, "{expected:?} not in {moved:?}");
            }
        }
    }

    /// A box never moves further in a frame than the detection does, plus what it had to make up for.
    #[test]
    fn boxes_never_leap(way in proptest::collection::vec((-0.15..0.15f32, -0.15..0.15f32, -0.1..0.1f32), 10..80)) {
        let mut tracker = Tracker::new(TrackerSettings::default());
        let (mut x, mut y, mut side) = (500.0, 500.0, 100.0f32);
        let mut before: Option<Rect> = None;
        for (frame, (dx, dy, growth)) in way.into_iter().enumerate() {
            x += dx * side;
            y += dy * side;
            side = (side * (1.0 + growth)).clamp(50.0, 200.0);
            let tracks = tracker.update(frame as u64 * 40_000_000, &[face(x, y, side)]);
            prop_assert_eq!(ids(tracks), [1]);
            let rect = tracks[0].rect;
            let center = rect.center();
            prop_assert!((center.x - x).hypot(center.y - y) < 0.45 * side, "{rect:?} for {x} {y} {side}");
            if let Some(before) = before {
                let step = (center.x - before.center().x).hypot(center.y - before.center().y);
                prop_assert!(step < 0.35 * side, "{step} px in a frame, face of {side}");
                // The detection itself changes by up to ln(1 / 0.9) = 0.105; 30,000 ways gave no step above 0.123.
                prop_assert!((rect.width / before.width).ln().abs() < 0.15);
            }
            before = Some(rect);
        }
    }
}

/// Whether each of two crossing faces has the id after the crossing that it had before.
fn keep_ids(a: &Walker, b: &Walker, fps: f32, a_in_front: bool, seed: u64) -> bool {
    let mut tracker = Tracker::new(TrackerSettings::default());
    let mut tremble = Tremble::new(seed, 0.015);
    let mut see = |t| {
        let (a, b) = (tremble.shake(a.at(t)), tremble.shake(b.at(t)));
        if a_in_front { see_two(a, b) } else { see_two(b, a) }
    };
    let before = play(&mut tracker, fps, -1.5, -1.0, &mut see);
    let end_of_before = -1.5 + ((0.5 * fps).ceil() - 1.0) / fps;
    let owner = [a, b].map(|walker| nearest(&before, &walker.at(end_of_before)).id);
    assert_eq!(before.len(), 2);
    let after = play(&mut tracker, fps, -1.0, 1.5, &mut see);
    let end = -1.0 + ((2.5 * fps).ceil() - 1.0) / fps;
    ids(&after) == ids(&before) && owner == [a, b].map(|walker| nearest(&after, &walker.at(end)).id)
}

/// 4,000 crossings at all angles and speeds, one face hidden behind the other for up to 0.8 s. Measured on 20,000: 0.13 % swap,
/// all of them among the slowest, where the hidden time is longest.
#[test]
fn ids_survive_the_crossing_of_two_faces() {
    let rates = prop_oneof![Just(10.0f32), Just(15.0), Just(25.0), Just(30.0), Just(60.0)];
    let cases = (crossing(), rates, any::<bool>(), any::<u64>());
    let mut runner = TestRunner::new(fixed(1));
    let (mut slow, mut swapped) = (0, 0);
    for _ in 0..4000 {
        let ((a, b), fps, a_in_front, seed) = cases.new_tree(&mut runner).unwrap().current();
        let kept = keep_ids(&a, &b, fps, a_in_front, seed);
        if (a.dx - b.dx).hypot(a.dy - b.dy) < 2.0 * a.side {
            slow += 1;
            swapped += u32::from(!kept);
        } else {
            assert!(kept, "{a:?} {b:?} {fps} {a_in_front} {seed}");
        }
    }
    assert!(swapped * 50 < slow, "{swapped} of {slow} slow crossings");
}

proptest! {
    #![proptest_config(fixed(1000))]

    /// A face walks behind a pillar for up to a second, and comes out at the other side, or has stopped there.
    #[test]
    fn ids_survive_occlusion(
        speed in 0.0..2.0f32, angle in 0.0..360.0f32, gap in 0.1..0.9f32, stops: bool, seed in any::<u64>(),
        fps in prop_oneof![Just(10.0f32), Just(15.0), Just(25.0), Just(30.0), Just(60.0)],
    ) {
        let (sin, cos) = angle.to_radians().sin_cos();
        let side = 90.0;
        let walker = Walker { x: 640.0, y: 360.0, dx: cos * speed * side, dy: sin * speed * side, side };
        let mut tracker = Tracker::new(TrackerSettings::default());
        let mut tremble = Tremble::new(seed, 0.015);
        let tracks = play(&mut tracker, fps, -1.0, 2.0, |t| {
            let hidden = (0.0..gap).contains(&t);
            let t = if stops { t.min(gap / 2.0) } else { t };
            if hidden { vec![] } else { vec![tremble.shake(walker.at(t))] }
        });
        prop_assert_eq!(ids(&tracks), [1]);
    }
}
