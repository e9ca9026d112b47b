//! Where a face will be: a constant-velocity Kalman filter on the box's centre.
//!
//! The model is the discretised continuous white-noise acceleration of Bar-Shalom, Li and Kirubarajan, *Estimation
//! with Applications to Tracking and Navigation* (2001), 6.2. Time is in seconds and noise in box sides, so the same
//! constants serve 5 and 60 fps, and small and large faces.

use crate::analysis::geometry::Point;

/// How far the detector's centre is off, in box sides (standard deviation).
const MEASUREMENT_NOISE: f64 = 0.02;
/// The same for a detection of low confidence: mostly half-hidden faces, whose box covers what is left of them.
const DOUBTFUL_MEASUREMENT_NOISE: f64 = 0.08;
/// How a face's velocity wanders: density of white acceleration, in box sides² per s³. Low, because a velocity that is
/// averaged over several frames is what tells two crossing faces apart; a face that starts or stops abruptly is
/// caught by the association's gate instead.
const ACCELERATION_NOISE: f64 = 0.4;
/// What a new face's velocity may be, in box sides per second (standard deviation).
const FIRST_VELOCITY: f64 = 1.5;
/// A hidden face's velocity falls to 1/e in this many seconds: long enough to carry it past what hides it, short
/// enough that it does not leave the picture where the person has stopped.
const OCCLUSION_DAMPING_S: f64 = 0.8;

/// Position and velocity of a box's centre, in pixels and seconds.
#[derive(Clone, Debug)]
pub(super) struct Motion {
    x: Axis,
    y: Axis,
}

/// One coordinate: position, velocity and the covariance of both.
#[derive(Clone, Debug)]
struct Axis {
    position: f64,
    velocity: f64,
    position_variance: f64,
    covariance: f64,
    velocity_variance: f64,
}

impl Motion {
    /// A face first seen at `center`, of side `size`.
    pub fn new(center: Point, size: f64) -> Self {
        let axis = |position| Axis {
            position: f64::from(position),
            velocity: 0.0,
            position_variance: (MEASUREMENT_NOISE * size).powi(2),
            covariance: 0.0,
            velocity_variance: (FIRST_VELOCITY * size).powi(2),
        };
        Self { x: axis(center.x), y: axis(center.y) }
    }

    /// Goes on by `dt` seconds; returns how far the centre moved. `hidden` damps the velocity.
    pub fn predict(&mut self, dt: f64, size: f64, hidden: bool) -> (f64, f64) {
        let decay = if hidden { (-dt / OCCLUSION_DAMPING_S).exp() } else { 1.0 };
        let reach = if hidden { OCCLUSION_DAMPING_S * (1.0 - decay) } else { dt };
        let noise = ACCELERATION_NOISE * size * size;
        (self.x.predict(dt, reach, decay, noise), self.y.predict(dt, reach, decay, noise))
    }

    /// Takes in a detection centred at `center`.
    pub fn correct(&mut self, center: Point, size: f64, sure: bool) {
        let noise = if sure { MEASUREMENT_NOISE } else { DOUBTFUL_MEASUREMENT_NOISE };
        let variance = (noise * size).powi(2);
        self.x.correct(f64::from(center.x), variance);
        self.y.correct(f64::from(center.y), variance);
    }

    /// The centre, in pixels.
    pub fn center(&self) -> Point {
        Point { x: self.x.position as f32, y: self.y.position as f32 }
    }

    /// Pixels per second.
    pub fn speed(&self) -> f64 {
        self.x.velocity.hypot(self.y.velocity)
    }
}

impl Axis {
    /// The velocity carries the position `reach` seconds far and is then multiplied by `decay`.
    fn predict(&mut self, dt: f64, reach: f64, decay: f64, noise: f64) -> f64 {
        let moved = self.velocity * reach;
        self.position += moved;
        self.velocity *= decay;
        self.position_variance += 2.0 * reach * self.covariance + reach * reach * self.velocity_variance;
        self.covariance = decay * (self.covariance + reach * self.velocity_variance);
        self.velocity_variance *= decay * decay;
        self.position_variance += noise * dt.powi(3) / 3.0;
        self.covariance += noise * dt.powi(2) / 2.0;
        self.velocity_variance += noise * dt;
        moved
    }

    fn correct(&mut self, measured: f64, variance: f64) {
        let total = self.position_variance + variance;
        let (position_gain, velocity_gain) = (self.position_variance / total, self.covariance / total);
        let surprise = measured - self.position;
        self.position += position_gain * surprise;
        self.velocity += velocity_gain * surprise;
        self.velocity_variance -= velocity_gain * self.covariance;
        self.covariance *= 1.0 - position_gain;
        self.position_variance *= 1.0 - position_gain;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: f64 = 100.0;

    fn at(x: f64) -> Point {
        Point { x: x as f32, y: 0.0 }
    }

    /// A face that moves at `velocity` px/s, seen `fps` times a second for a second.
    fn moving(velocity: f64, fps: f64) -> Motion {
        let mut motion = Motion::new(Point::default(), SIZE);
        for frame in 1..=fps as u32 {
            motion.predict(1.0 / fps, SIZE, false);
            motion.correct(at(velocity * f64::from(frame) / fps), SIZE, true);
        }
        motion
    }

    #[test]
    fn a_constant_velocity_is_learnt_at_any_frame_rate() {
        for fps in [5.0, 15.0, 25.0, 60.0] {
            let motion = moving(200.0, fps);
            assert!((motion.x.velocity - 200.0).abs() < 4.0, "{fps} fps: {motion:?}");
            assert!((motion.x.position - 200.0).abs() < 1.0, "{fps} fps: {motion:?}");
        }
    }

    #[test]
    fn a_hidden_face_goes_on_and_comes_to_rest() {
        let mut motion = moving(200.0, 25.0);
        let start = motion.x.position;
        let (after_200_ms, _) = motion.predict(0.2, SIZE, true);
        assert!((30.0..40.0).contains(&after_200_ms), "{after_200_ms}");
        motion.predict(60.0, SIZE, true);
        assert!(motion.x.position - start < 200.0 * OCCLUSION_DAMPING_S * 1.05);
        assert!(motion.speed() < 1e-3);
    }

    #[test]
    fn damping_does_not_depend_on_the_steps() {
        let (mut once, mut often) = (moving(200.0, 25.0), moving(200.0, 25.0));
        once.predict(0.8, SIZE, true);
        for _ in 0..8 {
            often.predict(0.1, SIZE, true);
        }
        assert!((once.x.position - often.x.position).abs() < 1e-9);
        assert!((once.x.velocity - often.x.velocity).abs() < 1e-9);
    }

    #[test]
    fn two_detections_at_the_same_time_do_no_harm() {
        let mut motion = Motion::new(Point::default(), SIZE);
        for _ in 0..1000 {
            motion.predict(0.0, SIZE, false);
            motion.correct(at(10.0), SIZE, true);
        }
        assert!(motion.center().x.is_finite() && motion.speed().is_finite());
    }
}
