//! What a bad detector and a bad clock may say of faces.

use std::collections::HashSet;

use deepfake_engine::analysis::{
    detector::Detection,
    geometry::{Point, Rect},
    tracker::{Tracker, TrackerSettings},
};
use proptest::prelude::*;

use crate::fuzz;

const SECOND: u64 = 1_000_000_000;

fn any_coordinate() -> impl Strategy<Value = f32> {
    prop_oneof![6 => -50.0..2000.0f32, 1 => any::<f32>(), 1 => Just(f32::NAN), 1 => Just(f32::INFINITY), 1 => Just(f32::NEG_INFINITY), 1 => Just(0.0f32)]
}

fn any_detection() -> impl Strategy<Value = Detection> {
    let rect = (any_coordinate(), any_coordinate(), any_coordinate(), any_coordinate());
    let landmarks = proptest::option::of(proptest::array::uniform10(any_coordinate()));
    let confidence = prop_oneof![4 => 0.0..1.0f32, 1 => any::<f32>(), 1 => Just(f32::NAN)];
    (rect, landmarks, confidence).prop_map(|((x, y, width, height), landmarks, confidence)| Detection {
        rect: Rect::new(x, y, width, height),
        landmarks: landmarks.map(|v| std::array::from_fn(|i| Point { x: v[2 * i], y: v[2 * i + 1] })),
        confidence,
    })
}

#[derive(Clone, Debug)]
enum Step {
    Update(Vec<Detection>),
    Coast,
    Reset,
}

fn any_steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let pts = prop_oneof![6 => 0..3 * SECOND, 1 => any::<u64>()];
    let step = prop_oneof![
        8 => proptest::collection::vec(any_detection(), 0..12).prop_map(Step::Update),
        2 => Just(Step::Coast),
        1 => Just(Step::Reset),
    ];
    proptest::collection::vec((pts, step), 0..40)
}

/// Whatever comes: no panic, ids in order and never given again once gone, and boxes that can be cropped.
#[test]
fn fuzz_detections_and_times() {
    fuzz::check(256, any_steps(), |steps| {
        let mut tracker = Tracker::new(TrackerSettings::default());
        let mut gone = HashSet::new();
        let mut alive = HashSet::new();
        for (pts, step) in steps {
            for (rect, reach) in tracker.expected(pts) {
                prop_assert!(rect.is_valid() && reach.is_finite() && reach >= 0.0, "{rect:?} {reach}");
            }
            let tracks = match step {
                Step::Update(detections) => tracker.update(pts, &detections).to_vec(),
                Step::Coast => tracker.coast(pts).to_vec(),
                Step::Reset => {
                    tracker.reset();
                    vec![]
                }
            };
            prop_assert!(tracks.windows(2).all(|pair| pair[0].id < pair[1].id));
            let now: HashSet<_> = tracks.iter().map(|track| track.id).collect();
            prop_assert!(now.is_disjoint(&gone) && !now.contains(&0));
            gone.extend(alive.difference(&now).copied());
            alive = now;
            for track in &tracks {
                prop_assert!(track.rect.is_valid(), "{track:?}");
                prop_assert!((0.0..=f32::MAX).contains(&track.confidence));
                prop_assert!(track.born <= track.last_seen && track.last_seen <= pts);
                let mut points = track.landmarks.iter().flatten();
                prop_assert!(points.all(|point| point.x.is_finite() && point.y.is_finite()));
            }
        }
        Ok(())
    });
}
