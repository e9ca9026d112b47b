//! Decoded frames as the analysis sees them: the same view, times and jumps as in `deepfakedetect`.

use anyhow::{Context, Result};
use deepfake_engine::analysis::frame::{FrameView, Orientation};
use gst_video::VideoFrameExt;
use gstdeepfake::elements::{
    detect::timeline::{Moment, Timeline},
    frame,
};

/// Gives the samples of one clip their times and views.
#[derive(Default)]
pub struct Frames {
    timeline: Timeline,
    caps: Option<(gst::Caps, gst_video::VideoInfo)>,
}

impl Frames {
    /// The frame in `sample`, which is to be turned so when shown, and its moment; `None` for filler that is no picture, and for a stray frame.
    ///
    /// # Errors
    /// If the sample is not one of [`frame::caps`].
    pub fn next(&mut self, sample: &gst::Sample, orientation: Orientation) -> Result<Option<(Moment, Frame)>> {
        let (Some(buffer), Some(caps)) = (sample.buffer_owned(), sample.caps()) else { return Ok(None) };
        if buffer.flags().contains(gst::BufferFlags::GAP) {
            if let Some(time) = running_time(sample, &buffer) {
                self.timeline.skip(time, buffer.duration().map(gst::ClockTime::nseconds));
            }
            return Ok(None);
        }
        let mut resized = false;
        if self.caps.as_ref().is_none_or(|(known, _)| known.as_ref() != caps) {
            let info =
                gst_video::VideoInfo::from_caps(caps).with_context(|| format!("frames of unknown form: {caps}"))?;
            let fps = info.fps();
            let duration = (fps.numer() > 0)
                .then(|| (fps.denom() as u64 * 1_000_000_000).checked_div(fps.numer() as u64))
                .flatten();
            self.timeline.set_frame_duration(duration);
            resized = self.caps.replace((caps.to_owned(), info)).is_some();
            if resized {
                self.timeline.reset();
            }
        }
        let (_, info) = self.caps.as_ref().expect("set right above");
        let duration = buffer.duration().map(gst::ClockTime::nseconds);
        let Some(mut moment) = self.timeline.next(running_time(sample, &buffer), duration) else {
            return Ok(None);
        };
        let pts = buffer.pts().map_or(moment.pts, gst::ClockTime::nseconds);
        moment.jump |= resized;
        let mapped = gst_video::VideoFrame::from_buffer_readable(buffer, info)
            .map_err(|_| anyhow::anyhow!("a frame's memory cannot be read as {}", info.format()))?;
        Ok(Some((moment, Frame { mapped, orientation, pts })))
    }
}

/// When the frame is shown, in nanoseconds since its segment began: what windows count in, here as live.
pub fn running_time(sample: &gst::Sample, buffer: &gst::BufferRef) -> Option<u64> {
    let pts = buffer.pts()?;
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    segment.to_running_time(pts).map(gst::ClockTime::nseconds)
}

/// One mapped frame.
pub struct Frame {
    mapped: gst_video::VideoFrame<gst_video::video_frame::Readable>,
    orientation: Orientation,
    pts: u64,
}

impl Frame {
    pub fn info(&self) -> &gst_video::VideoInfo {
        self.mapped.info()
    }

    /// Hands `use_it` the frame as the analysis takes it.
    pub fn view<T>(&self, use_it: impl FnOnce(&FrameView) -> Result<T>) -> Result<T> {
        let frame = self.mapped.as_video_frame_ref();
        use_it(&frame::view_turned(&frame, self.orientation, self.pts)?)
    }
}
