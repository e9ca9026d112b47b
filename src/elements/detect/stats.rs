//! Counters behind the property `stats`.

use std::time::Duration;

/// What happened since the element started.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Frames that went through.
    pub frames: u64,
    /// Frames that were analysed.
    pub analysed: u64,
    /// Frames that were due but not analysed, because the analysis was behind (`mode=async` only).
    pub shed: u64,
    /// Frames whose analysis failed.
    pub failed: u64,
    /// Faces reported, a face in a frame counted once.
    pub faces: u64,
    /// Alerts raised.
    pub alerts: u64,
    /// Time that analyses took, all together and the longest.
    pub busy: Duration,
    pub longest: Duration,
}

impl Stats {
    /// A frame with `faces` faces was analysed within `took`.
    pub fn analysed(&mut self, faces: usize, took: Duration) {
        self.analysed += 1;
        self.faces += faces as u64;
        self.busy += took;
        self.longest = self.longest.max(took);
    }

    pub fn structure(&self) -> gst::Structure {
        let mean = self.busy.checked_div(self.analysed as u32).unwrap_or_default();
        gst::Structure::builder("deepfakedetect-stats")
            .field("frames", self.frames)
            .field("analysed", self.analysed)
            .field("shed", self.shed)
            .field("failed", self.failed)
            .field("faces", self.faces)
            .field("alerts", self.alerts)
            .field("analysis-time-mean", mean.as_nanos() as u64)
            .field("analysis-time-max", self.longest.as_nanos() as u64)
            .build()
    }
}
