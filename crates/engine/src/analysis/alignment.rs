//! Where a face lies in a crop that is turned and scaled so that eyes, nose and mouth are always at the same places.

use super::geometry::{Landmarks, Point};

/// Where the five landmarks shall be, in pixels of a crop of [`TEMPLATE_SIDE`]: eyes, nose tip, mouth corners, of each pair the
/// one on the picture's left first. The places at which dlib's 150-pixel face chips have them on average.
const TEMPLATE: Landmarks = [
    Point { x: 46.4, y: 46.6 },
    Point { x: 104.0, y: 46.5 },
    Point { x: 74.8, y: 78.8 },
    Point { x: 50.4, y: 104.1 },
    Point { x: 99.9, y: 103.3 },
];
const TEMPLATE_SIDE: f32 = 150.0;
/// Landmarks nearer to each other than this (root of their mean squared distance from their middle, in pixels of the
/// frame) are no face.
const MIN_SPREAD: f64 = 1.0;

/// Turns, scales and moves: (x, y) becomes (a·x − b·y + x₀, b·x + a·y + y₀).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Similarity {
    pub a: f64,
    pub b: f64,
    pub x0: f64,
    pub y0: f64,
}

impl Similarity {
    /// The one that takes `landmarks` of the frame nearest, in the sense of least squares, to their places in a crop of
    /// `width` × `height` pixels. `None` if they are all at one place, or not finite.
    ///
    /// Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991; in the plane and
    /// without mirroring it has this closed form.
    pub fn to_template(landmarks: &Landmarks, width: u32, height: u32) -> Option<Self> {
        let (scale_x, scale_y) = (width as f32 / TEMPLATE_SIDE, height as f32 / TEMPLATE_SIDE);
        let places = TEMPLATE.map(|place| Point { x: place.x * scale_x, y: place.y * scale_y });
        let (from, to) = (middle(landmarks), middle(&places));
        let (mut spread, mut along, mut across) = (0.0, 0.0, 0.0);
        for (landmark, place) in landmarks.iter().zip(&places) {
            let (px, py) = (f64::from(landmark.x) - from.0, f64::from(landmark.y) - from.1);
            let (qx, qy) = (f64::from(place.x) - to.0, f64::from(place.y) - to.1);
            spread += px * px + py * py;
            along += px * qx + py * qy;
            across += px * qy - py * qx;
        }
        let (a, b) = (along / spread, across / spread);
        let similarity = Self { a, b, x0: to.0 - a * from.0 + b * from.1, y0: to.1 - b * from.0 - a * from.1 };
        // Written so that NaN is refused too.
        let good = (spread / landmarks.len() as f64).sqrt() >= MIN_SPREAD && similarity.scale() > 1e-3;
        (good && [a, b, similarity.x0, similarity.y0].iter().all(|value| value.is_finite())).then_some(similarity)
    }

    /// Pixels of the crop for each pixel of the frame.
    pub fn scale(&self) -> f64 {
        self.a.hypot(self.b)
    }

    pub fn apply(&self, point: Point) -> Point {
        let (x, y) = (f64::from(point.x), f64::from(point.y));
        Point { x: (self.a * x - self.b * y + self.x0) as f32, y: (self.b * x + self.a * y + self.y0) as f32 }
    }

    /// The way back.
    pub fn inverse(&self) -> Self {
        let square = self.a * self.a + self.b * self.b;
        let (a, b) = (self.a / square, -self.b / square);
        Self { a, b, x0: -(a * self.x0 - b * self.y0), y0: -(b * self.x0 + a * self.y0) }
    }
}

fn middle(points: &Landmarks) -> (f64, f64) {
    let mean = |of: fn(&Point) -> f32| points.iter().map(|point| f64::from(of(point))).sum::<f64>() / 5.0;
    (mean(|point| point.x), mean(|point| point.y))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn near(a: Point, b: Point, tolerance: f32) {
        assert!((a.x - b.x).hypot(a.y - b.y) < tolerance, "{a:?} is not {b:?}");
    }

    proptest! {
        #[test]
        fn a_face_turned_scaled_and_moved_is_taken_to_the_template(
            degrees in -180.0..180.0f64, scale in 0.2..8.0f64, x in -500.0..4000.0f64, y in -500.0..2000.0f64,
            side in 16u32..512,
        ) {
            let (sin, cos) = degrees.to_radians().sin_cos();
            let face = Similarity { a: scale * cos, b: scale * sin, x0: x, y0: y };
            let found = Similarity::to_template(&TEMPLATE.map(|point| face.apply(point)), side, side).unwrap();
            let factor = side as f32 / TEMPLATE_SIDE;
            for place in TEMPLATE {
                near(found.apply(face.apply(place)), Point { x: place.x * factor, y: place.y * factor }, 0.05);
                near(found.inverse().apply(found.apply(face.apply(place))), face.apply(place), 0.05);
            }
        }

        #[test]
        fn no_other_similarity_comes_nearer(
            shifts in proptest::array::uniform10(-6.0..6.0f32), turn in -0.05..0.05f64, grow in -0.05..0.05f64,
            x in -2.0..2.0f64, y in -2.0..2.0f64,
        ) {
            let landmarks: Landmarks = std::array::from_fn(|i| Point {
                x: TEMPLATE[i].x + shifts[2 * i], y: TEMPLATE[i].y + shifts[2 * i + 1],
            });
            let error = |of: &Similarity| -> f64 {
                let miss = |(point, place): (&Point, &Point)| {
                    let point = of.apply(*point);
                    f64::from((point.x - place.x).powi(2) + (point.y - place.y).powi(2))
                };
                landmarks.iter().zip(&TEMPLATE).map(miss).sum()
            };
            let best = Similarity::to_template(&landmarks, 150, 150).unwrap();
            let other = Similarity { a: best.a + grow, b: best.b + turn, x0: best.x0 + x, y0: best.y0 + y };
            prop_assert!(error(&best) <= error(&other) + 1e-2);
        }
    }

    #[test]
    fn landmarks_that_are_no_face_are_refused() {
        let one_place = [Point { x: 10.0, y: 10.0 }; 5];
        assert_eq!(Similarity::to_template(&one_place, 150, 150), None);
        let mut broken = TEMPLATE;
        broken[3].x = f32::NAN;
        assert_eq!(Similarity::to_template(&broken, 150, 150), None);
        broken[3].x = f32::INFINITY;
        assert_eq!(Similarity::to_template(&broken, 150, 150), None);
    }
}
