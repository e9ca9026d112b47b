//! Finding faces on a small picture of the frame.

use super::geometry::{Landmarks, Rect};

/// One face as the detector sees it, in pixels of the frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    pub rect: Rect,
    /// `None` where faces come from upstream without landmarks.
    pub landmarks: Option<Landmarks>,
    /// 0..1
    pub confidence: f32,
}
