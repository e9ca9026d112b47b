//! What is shown and cropped: a box and landmarks that neither tremble nor lag.
//!
//! Each coordinate goes through a One-Euro filter (Casiez, Roussel and Vogel, *1€ Filter*, CHI 2012): a low-pass whose
//! cutoff rises with speed. Two things differ from the paper. The centre is first carried along by the motion
//! model's velocity, so that a steady movement has no lag at all, and frames without a detection no staircase. And
//! everything is measured in box sides: size as its logarithm, landmarks relative to the box, so that the filter
//! does the same to small and large faces, and landmarks go where the box goes.

use crate::analysis::{
    detector::Detection,
    geometry::{Landmarks, Point, Rect},
};

// Set on CenterFace's boxes of 12 real clips. At 24 to 30 fps the tremble (second difference, RMS) of the centre falls to a
// quarter, from 2.2 to 0.6 % of the box's side, that of the size from 1.1 to 0.2 %, that of the nose from 1.3 to 0.5 %. The centre
// stays within 1.4 % (RMS) of where the detector sees it on average over five frames; the farthest in any frame is 8 %.

/// Cutoff at rest, in Hz, and how much a speed of one box side per second adds to it.
struct Tuning {
    cutoff: f64,
    slope: f64,
}

/// The centre follows at once when a face moves.
const CENTER: Tuning = Tuning { cutoff: 1.2, slope: 3.0 };
/// A face's size changes slowly, and a trembling size is the ugliest of all in a crop.
const SIZE: Tuning = Tuning { cutoff: 0.6, slope: 2.0 };
/// Landmarks within the box move when the head turns.
const LANDMARK: Tuning = Tuning { cutoff: 1.5, slope: 6.0 };
/// Cutoff of the speed itself, in Hz; the paper's value.
const SPEED_CUTOFF: f64 = 1.0;
/// Frames closer than this count as this far apart, in seconds: without it a stream with equal time stamps would stand still.
const SHORTEST_STEP: f64 = 1.0 / 240.0;

#[derive(Clone, Debug)]
pub(super) struct Smoother {
    x: f64,
    y: f64,
    /// Logarithms, so that a change is relative and a side never falls to zero.
    width: OneEuro,
    height: OneEuro,
    /// Relative to the box's centre, in box sides.
    landmarks: Option<[[OneEuro; 2]; 5]>,
}

#[derive(Clone, Copy, Debug)]
struct OneEuro {
    value: f64,
    /// Per second.
    speed: f64,
}

/// Weight of a new value after `dt` seconds, for a low-pass of `cutoff` Hz.
fn weight(cutoff: f64, dt: f64) -> f64 {
    let tau = 1.0 / (std::f64::consts::TAU * cutoff);
    dt / (dt + tau)
}

impl OneEuro {
    fn new(value: f64) -> Self {
        Self { value, speed: 0.0 }
    }

    fn step(&mut self, measured: f64, dt: f64, tuning: &Tuning) {
        let speed = (measured - self.value) / dt;
        self.speed += weight(SPEED_CUTOFF, dt) * (speed - self.speed);
        self.value += weight(tuning.cutoff + tuning.slope * self.speed.abs(), dt) * (measured - self.value);
    }
}

impl Smoother {
    pub fn new(detection: &Detection) -> Self {
        let Measured { x, y, width, height } = Measured::from(&detection.rect);
        Self {
            x,
            y,
            width: OneEuro::new(width.ln()),
            height: OneEuro::new(height.ln()),
            landmarks: detection.landmarks.as_ref().map(|landmarks| {
                relative(landmarks, &Measured { x, y, width, height }).map(|point| point.map(OneEuro::new))
            }),
        }
    }

    /// The motion model says that the centre went this far, in pixels.
    pub fn carry(&mut self, (dx, dy): (f64, f64)) {
        self.x += dx;
        self.y += dy;
    }

    /// Takes in a detection, `dt` seconds after the one before. `speed` is that of the motion model, in box sides
    /// per second.
    pub fn correct(&mut self, detection: &Detection, dt: f64, speed: f64) {
        let dt = dt.max(SHORTEST_STEP);
        let measured = Measured::from(&detection.rect);
        let pull = weight(CENTER.cutoff + CENTER.slope * speed, dt);
        self.x += pull * (measured.x - self.x);
        self.y += pull * (measured.y - self.y);
        self.width.step(measured.width.ln(), dt, &SIZE);
        self.height.step(measured.height.ln(), dt, &SIZE);
        // A detector that gives no landmarks for one frame leaves the old ones in their place within the box.
        let Some(landmarks) = &detection.landmarks else { return };
        let measured = relative(landmarks, &measured);
        match &mut self.landmarks {
            Some(filters) => {
                for (filter, value) in filters.as_flattened_mut().iter_mut().zip(measured.as_flattened()) {
                    filter.step(*value, dt, &LANDMARK);
                }
            }
            None => self.landmarks = Some(measured.map(|point| point.map(OneEuro::new))),
        }
    }

    pub fn rect(&self) -> Rect {
        let center = Point { x: self.x as f32, y: self.y as f32 };
        Rect::from_center(center, self.width.value.exp() as f32, self.height.value.exp() as f32)
    }

    pub fn landmarks(&self) -> Option<Landmarks> {
        let (width, height) = (self.width.value.exp(), self.height.value.exp());
        self.landmarks.map(|landmarks| {
            landmarks
                .map(|[x, y]| Point { x: (self.x + x.value * width) as f32, y: (self.y + y.value * height) as f32 })
        })
    }
}

struct Measured {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

impl From<&Rect> for Measured {
    fn from(rect: &Rect) -> Self {
        let (width, height) = (f64::from(rect.width), f64::from(rect.height));
        Self { x: f64::from(rect.x) + width / 2.0, y: f64::from(rect.y) + height / 2.0, width, height }
    }
}

fn relative(landmarks: &Landmarks, face: &Measured) -> [[f64; 2]; 5] {
    landmarks.map(|point| [(f64::from(point.x) - face.x) / face.width, (f64::from(point.y) - face.y) / face.height])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detection(x: f32, side: f32) -> Detection {
        let rect = Rect::from_center(Point { x, y: 100.0 }, side, side);
        let landmarks = [-0.2, 0.2, 0.0, -0.15, 0.15].map(|dx| Point { x: x + dx * side, y: 100.0 });
        Detection { rect, landmarks: Some(landmarks), confidence: 0.9 }
    }

    #[test]
    fn a_trembling_size_is_calmed() {
        let mut smoother = Smoother::new(&detection(100.0, 80.0));
        let mut widths = vec![];
        for frame in 0..100 {
            smoother.correct(&detection(100.0, if frame % 2 == 0 { 78.0 } else { 82.0 }), 0.04, 0.0);
            widths.push(smoother.rect().width);
        }
        let tremble = widths[20..].windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
        assert!(tremble < 1.0, "{tremble} px of 4");
    }

    #[test]
    fn a_growing_face_is_followed() {
        let mut smoother = Smoother::new(&detection(100.0, 50.0));
        let mut side = 50.0;
        for _ in 0..50 {
            side *= 1.012; // a third larger each second
            smoother.correct(&detection(100.0, side), 0.04, 0.0);
        }
        assert!(smoother.rect().width > 0.93 * side, "{} of {side}", smoother.rect().width);
    }

    #[test]
    fn landmarks_go_where_the_box_goes() {
        let mut smoother = Smoother::new(&detection(100.0, 50.0));
        smoother.carry((30.0, 0.0));
        let without = Detection { landmarks: None, ..detection(130.0, 50.0) };
        smoother.correct(&without, 0.04, 0.0);
        let nose = smoother.landmarks().unwrap()[2];
        assert!((nose.x - 130.0).abs() < 1e-3, "{nose:?}");
    }
}
