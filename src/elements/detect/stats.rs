//! Counters and times behind the property `stats` and the message of the same form.

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
    /// Frames whose time was elsewhere than the stream; they passed unanalysed.
    pub strays: u64,
    /// How often the stream went on elsewhere.
    pub jumps: u64,
    /// Faces reported, a face in a frame counted once.
    pub faces: u64,
    /// Faces followed in the newest analysed frame.
    pub tracks: u32,
    /// Alerts raised.
    pub alerts: u64,
    /// Time that analyses took, all together and the longest.
    pub busy: Duration,
    pub longest: Duration,
    times: [Recent; Stage::ALL.len()],
}

/// What time is spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The element's own work in the streaming thread, for each frame; waiting for an analysis (`mode=sync`) is none of it.
    Stream,
    /// From a frame's arrival to the start of its analysis.
    Wait,
    /// Looking for faces and following them.
    Find,
    /// Cutting out crops and looking at their quality.
    Crop,
    /// From crops to features.
    Encode,
    /// From windows to verdicts.
    Judge,
    /// A whole analysis: the last four and what lies between.
    Analysis,
}

impl Stage {
    pub const ALL: [Self; 7] =
        [Self::Stream, Self::Wait, Self::Find, Self::Crop, Self::Encode, Self::Judge, Self::Analysis];

    fn as_str(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Wait => "wait",
            Self::Find => "find",
            Self::Crop => "crop",
            Self::Encode => "encode",
            Self::Judge => "judge",
            Self::Analysis => "analysis",
        }
    }
}

impl Stats {
    /// A frame with `faces` faces was analysed within `took`.
    pub fn analysed(&mut self, faces: usize, took: Duration) {
        self.analysed += 1;
        self.faces += faces as u64;
        self.tracks = faces as u32;
        self.busy += took;
        self.longest = self.longest.max(took);
        self.record(Stage::Analysis, took);
    }

    pub fn record(&mut self, stage: Stage, time: Duration) {
        self.times[stage as usize].push(time);
    }

    /// The streaming thread's own.
    pub fn set_stream_times(&mut self, times: Recent) {
        self.times[Stage::Stream as usize] = times;
    }

    /// Everything as fields of a structure. Times are in nanoseconds; those of stages are of the newest [`Recent::SIZE`] frames.
    pub fn structure(&self) -> gst::Structure {
        let mean = self.busy.checked_div(self.analysed as u32).unwrap_or_default();
        let mut structure = gst::Structure::builder("deepfakedetect-stats")
            .field("frames", self.frames)
            .field("analysed", self.analysed)
            .field("shed", self.shed)
            .field("failed", self.failed)
            .field("strays", self.strays)
            .field("jumps", self.jumps)
            .field("faces", self.faces)
            .field("tracks", self.tracks)
            .field("alerts", self.alerts)
            .field("analysis-time-mean", mean.as_nanos() as u64)
            .field("analysis-time-max", self.longest.as_nanos() as u64)
            .build();
        for stage in Stage::ALL {
            let [p50, p95, p99] = self.times[stage as usize].percentiles([50, 95, 99]);
            for (name, time) in [("p50", p50), ("p95", p95), ("p99", p99)] {
                structure.set(format!("{}-time-{name}", stage.as_str()), time);
            }
        }
        structure
    }
}

/// The newest times of one kind.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    /// Nanoseconds, at most four seconds.
    times: Vec<u32>,
    next: usize,
}

impl Recent {
    const SIZE: usize = 512;

    pub fn push(&mut self, time: Duration) {
        let time = u32::try_from(time.as_nanos()).unwrap_or(u32::MAX);
        if self.times.len() < Self::SIZE {
            self.times.push(time);
        } else {
            self.times[self.next] = time;
        }
        self.next = (self.next + 1) % Self::SIZE;
    }

    /// The times that this many per cent do not exceed, in nanoseconds; 0 where there are none.
    fn percentiles(&self, percents: [usize; 3]) -> [u64; 3] {
        let mut sorted = self.times.clone();
        sorted.sort_unstable();
        percents.map(|percent| {
            let rank = (sorted.len() * percent).div_ceil(100);
            rank.checked_sub(1).map_or(0, |index| u64::from(sorted[index]))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_newest_times() {
        let mut recent = Recent::default();
        assert_eq!(recent.percentiles([50, 95, 99]), [0, 0, 0]);
        recent.push(Duration::from_nanos(7));
        assert_eq!(recent.percentiles([50, 95, 99]), [7, 7, 7]);
        // More than are kept: the first hundred are forgotten.
        (0..Recent::SIZE as u64 + 100).for_each(|ns| recent.push(Duration::from_nanos(ns)));
        let at = |percent: u64| 100 + (Recent::SIZE as u64 * percent).div_ceil(100) - 1;
        assert_eq!(recent.percentiles([50, 95, 99]), [at(50), at(95), at(99)]);
        recent.push(Duration::from_secs(3600));
        assert_eq!(recent.percentiles([50, 95, 100])[2], u64::from(u32::MAX));
    }

    #[test]
    fn each_stage_has_its_times() {
        gst::init().unwrap();
        let mut stats = Stats::default();
        for (index, stage) in Stage::ALL.into_iter().enumerate() {
            stats.record(stage, Duration::from_nanos(index as u64 + 1));
        }
        let structure = stats.structure();
        assert_eq!(structure.get::<u64>("stream-time-p50"), Ok(1));
        assert_eq!(structure.get::<u64>("analysis-time-p99"), Ok(7));
    }
}
