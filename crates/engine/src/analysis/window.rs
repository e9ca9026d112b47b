//! The rolling window: the features of a face's newest crops, taken on a grid of presentation times.

use std::collections::VecDeque;

use ndarray::ArrayView2;

use crate::inference::Encoded;

/// Frames so far back are out of order, not of another time.
const MAX_BACK_SECONDS: f64 = 0.5;

/// Says which frames are due, so that feeds of 25, 30, 50 and 60 fps mean the same to a model.
///
/// Time is cut into slots of 1/rate seconds; the first frame of each slot is due.
#[derive(Clone, Debug)]
pub struct Grid {
    rate_hz: f64,
    /// PTS at which slot 0 begins, and the last slot a frame was taken for.
    position: Option<(u64, u64)>,
}

impl Grid {
    /// # Panics
    /// If `rate_hz` is not above zero.
    pub fn new(rate_hz: f64) -> Self {
        assert!(rate_hz > 0.0, "a grid of {rate_hz} Hz has no slots");
        Self { rate_hz, position: None }
    }

    pub fn has_rate(&self, rate_hz: f64) -> bool {
        self.rate_hz == rate_hz
    }

    /// Whether the frame at `pts` (ns) is due, and if so takes its slot. A frame up to half a second back is not; time that runs
    /// further back begins a new grid.
    pub fn take(&mut self, pts: u64) -> bool {
        let Some((origin, taken)) = self.position else {
            self.position = Some((pts, 0));
            return true;
        };
        // Half a microsecond of grace: PTS are rounded to whole nanoseconds, or to 90 kHz ticks before that.
        let passed = if pts >= origin { (pts - origin) as f64 } else { -((origin - pts) as f64) };
        let slot = ((passed + 500.0) * self.rate_hz / 1e9).floor();
        let ahead = slot - taken as f64;
        if ahead < -(MAX_BACK_SECONDS * self.rate_hz).ceil() {
            self.position = Some((pts, 0));
            return true;
        }
        if ahead <= 0.0 {
            return false;
        }
        self.position = Some((origin, slot as u64));
        true
    }

    pub fn reset(&mut self) {
        self.position = None;
    }
}

/// Fewer crops than this say too little, however much time lies between them.
const MIN_CROPS: usize = 4;

/// Features of the newest crops of one face, oldest first.
#[derive(Clone, Debug)]
pub struct Window {
    size: usize,
    rate_hz: f64,
    longest_ns: u64,
    crops: VecDeque<Crop>,
    /// Features one after the other, room for two windows: those of the window lie in one piece, at its end, and only when it is
    /// full is the window moved to the start.
    features: Vec<f32>,
    feature_length: usize,
}

/// One crop's share of a window, but for its feature.
#[derive(Clone, Debug)]
struct Crop {
    pts: u64,
    logit: Option<f32>,
}

impl Window {
    /// A window of `size` crops at `rate_hz`. Crops older than twice the time that a full window
    /// takes are dropped, so that a face seen now and then is not judged by its past.
    pub fn new(size: usize, rate_hz: f64) -> Self {
        let longest_ns = (2.0 * size as f64 / rate_hz * 1e9) as u64;
        Self { size, rate_hz, longest_ns, crops: VecDeque::with_capacity(size), features: vec![], feature_length: 0 }
    }

    /// Adds the newest crop.
    ///
    /// # Panics
    /// If the feature has another length than the ones before.
    pub fn push(&mut self, pts: u64, crop: &Encoded) {
        let feature = &crop.feature;
        if self.features.is_empty() {
            self.feature_length = feature.len();
            self.features.reserve_exact(2 * self.size * feature.len());
        }
        assert_eq!(feature.len(), self.feature_length, "features of one model have one length");
        if self.crops.len() == self.size {
            self.crops.pop_front();
        }
        if self.features.len() == 2 * self.size * self.feature_length {
            let start = self.start();
            self.features.copy_within(start.., 0);
            self.features.truncate(self.features.len() - start);
        }
        self.features.extend_from_slice(feature);
        self.crops.push_back(Crop { pts, logit: crop.frame_logit });
        while self.crops.front().is_some_and(|oldest| pts.saturating_sub(oldest.pts) > self.longest_ns) {
            self.crops.pop_front();
        }
    }

    /// Where the oldest crop's feature begins.
    fn start(&self) -> usize {
        self.features.len() - self.crops.len() * self.feature_length
    }

    /// Number of crops held.
    pub fn fill(&self) -> usize {
        self.crops.len()
    }

    /// Number of crops when full.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether it holds enough for a score: as much time as `min_frames` crops take at the window's rate. Where frames come less
    /// often than that, fewer crops do; but a model that asks for a full window gets one.
    pub fn is_ready(&self, min_frames: usize) -> bool {
        if self.fill() >= min_frames || min_frames == self.size {
            return self.fill() >= min_frames;
        }
        let min_ns = (min_frames as f64 - 1.0) / self.rate_hz * 1e9;
        self.fill() >= MIN_CROPS && self.span().is_some_and(|(start, end)| (end - start) as f64 >= min_ns)
    }

    /// Whether frames have come for longer than crops are kept, since `start`.
    pub fn is_overdue(&self, start: u64, now: u64) -> bool {
        now.saturating_sub(start) > self.longest_ns
    }

    /// PTS in nanoseconds of the oldest and the newest crop.
    pub fn span(&self) -> Option<(u64, u64)> {
        Some((self.crops.front()?.pts, self.crops.back()?.pts))
    }

    /// Logit of the newest crop alone.
    pub fn newest_logit(&self) -> Option<f32> {
        self.crops.back()?.logit
    }

    /// All features, [crops, feature length], oldest first.
    pub fn features(&self) -> ArrayView2<'_, f32> {
        let shape = (self.crops.len(), self.feature_length);
        ArrayView2::from_shape(shape, &self.features[self.start()..]).expect("one feature for each crop")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn taken(grid: &mut Grid, fps: f64, seconds: f64) -> Vec<u64> {
        (0..(fps * seconds) as u64)
            .map(|frame| (frame as f64 * 1e9 / fps) as u64)
            .filter(|pts| grid.take(*pts))
            .collect()
    }

    #[test]
    fn common_frame_rates_give_the_grid_rate() {
        for fps in [15.0, 23.976, 24.0, 25.0, 29.97, 30.0, 50.0, 59.94, 60.0, 120.0] {
            let count = taken(&mut Grid::new(15.0), fps, 10.0).len();
            assert!((149..=150).contains(&count), "{fps} fps gave {count}");
        }
    }

    #[test]
    fn slower_feeds_give_every_frame() {
        assert_eq!(taken(&mut Grid::new(15.0), 10.0, 10.0).len(), 100);
    }

    #[test]
    fn time_that_runs_backwards_begins_anew() {
        let mut grid = Grid::new(10.0);
        assert!(grid.take(5 * SECOND));
        assert!(!grid.take(5 * SECOND + 1_000_000));
        assert!(grid.take(SECOND));
        assert!(grid.take(SECOND + SECOND / 10));
    }

    #[test]
    fn frames_out_of_order_take_no_slot_twice() {
        let mut grid = Grid::new(10.0);
        assert!(grid.take(5 * SECOND));
        assert!(!grid.take(5 * SECOND - 1));
        assert!(grid.take(5 * SECOND + SECOND / 10));
        assert!(!grid.take(5 * SECOND - SECOND / 3));
        assert!(!grid.take(5 * SECOND + SECOND / 10));
        assert!(grid.take(5 * SECOND + SECOND / 5));
    }

    /// Crops of a feed of this rate until a window of 40 at 15 Hz that asks for 20 has enough; `None` if it never does.
    fn crops_until_ready(fps: f64, min_frames: usize) -> Option<usize> {
        let (mut grid, mut window) = (Grid::new(15.0), Window::new(40, 15.0));
        for pts in taken(&mut grid, fps, 30.0) {
            window.push(pts, &Encoded { feature: vec![0.0], frame_logit: None, where_map: None });
            if window.is_ready(min_frames) {
                return Some(window.fill());
            }
        }
        None
    }

    #[test]
    fn rare_frames_make_a_window_ready_by_their_time() {
        for fps in [15.0, 25.0, 30.0, 59.94] {
            assert_eq!(crops_until_ready(fps, 20), Some(20), "{fps} fps");
        }
        assert_eq!([10.0, 3.0, 2.0, 1.0].map(|fps| crops_until_ready(fps, 20)), [Some(14), Some(5), Some(4), Some(4)]);
        assert_eq!(crops_until_ready(0.5, 20), None, "crops are not kept that long");
        assert_eq!(crops_until_ready(10.0, 40), Some(40), "a full window is a full window");
        assert_eq!(crops_until_ready(3.0, 40), None);
    }

    proptest! {
        #[test]
        fn a_slot_is_never_taken_twice(
            rate in 1.0f64..60.0, steps in prop::collection::vec(1u64..200_000_000, 1..200)
        ) {
            let mut grid = Grid::new(rate);
            let mut pts = 0;
            let mut taken = Vec::new();
            for step in steps {
                pts += step;
                if grid.take(pts) {
                    taken.push(pts);
                }
                prop_assert!(!grid.take(pts));
            }
            // n + 1 frames of different slots cannot lie closer together than n - 1 whole slots.
            for (first, earlier) in taken.iter().enumerate() {
                for (last, later) in taken.iter().enumerate().skip(first + 1) {
                    let slots = (later - earlier) as f64 * rate / 1e9;
                    prop_assert!(slots > (last - first) as f64 - 1.0 - 1e-3, "{slots} slots from {earlier} to {later}");
                }
            }
        }

        #[test]
        fn the_window_holds_the_newest_crops_in_order(
            size in 1usize..50, steps in prop::collection::vec(1u64..300_000_000, 1..150)
        ) {
            let rate = 15.0;
            let longest = (2.0 * size as f64 / rate * 1e9) as u64;
            let mut window = Window::new(size, rate);
            let mut all = Vec::new();
            let mut pts = 0;
            for step in steps {
                pts += step;
                all.push(pts);
                let crop = Encoded { feature: vec![pts as f32, 1.0], frame_logit: Some(pts as f32), where_map: None };
                window.push(pts, &crop);
                let expected: Vec<u64> =
                    all.iter().rev().take(size).rev().copied().filter(|old| pts - old <= longest).collect();
                prop_assert_eq!(window.fill(), expected.len());
                prop_assert_eq!(window.span(), Some((expected[0], pts)));
                prop_assert_eq!(window.newest_logit(), Some(pts as f32));
                let features = window.features();
                prop_assert_eq!(features.dim(), (expected.len(), 2));
                for (row, pts) in features.outer_iter().zip(expected) {
                    prop_assert_eq!(row[0], pts as f32);
                }
            }
        }
    }
}
