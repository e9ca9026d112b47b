//! What the world is told: the newest report, alerts, latency, statistics, where models run.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gst::subclass::prelude::*;
use gst_base::prelude::*;

use super::OnError;
use super::engine::Job;
use super::imp::{CAT, DeepfakeDetect};
use super::outlet::{Outlet, Post};
use super::settings::Settings;
use super::stats::{Stage, Stats};
use deepfake_engine::analysis::AnalysisError;
use deepfake_engine::analysis::analyzer::{Analyzer, Timings};
use deepfake_engine::executor::Mailbox;
use deepfake_engine::inference::{InferenceError, Model, Placement};
use deepfake_report::alert::{Action, Alert};
use deepfake_report::{FaceReport, FrameReport, Reason, State};
use deepfake_report::{message, meta};

/// The latency that `mode=sync` reports is a multiple of this.
const LATENCY_STEP: Duration = Duration::from_millis(5);
/// It is never more than this: a stream that is later drops frames, or stands still.
const MAX_LATENCY: Duration = Duration::from_secs(1);

/// What runs on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Model,
    Detector,
}

impl Part {
    const COUNT: usize = 2;

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Detector => "face detector",
        }
    }
}

/// How far the element is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Readiness {
    #[default]
    Stopped,
    /// The model is being loaded.
    Warming,
    Running,
    /// It could not be loaded: frames pass.
    Failed,
}

impl Readiness {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Warming => "warming",
            Self::Running => "running",
            Self::Failed => "failed",
        }
    }
}

fn is_judged(face: &FaceReport) -> bool {
    face.score.is_some() && !matches!(face.state, State::Warming | State::Rejected)
}

/// What came of the stream that is flowing.
#[derive(Debug, Default)]
pub(super) struct Seen {
    analysed: u64,
    /// A face in a frame counted once, as in [`Stats::faces`].
    faces: u64,
    judged: u64,
}

#[derive(Default)]
pub(super) struct Live {
    pub(super) outlet: Outlet,
    pub(super) stats: Stats,
    pub(super) seen: Seen,
    pub(super) readiness: Readiness,
    pub(super) active_device: Option<&'static str>,
    /// Where each [`Part`] runs, as far as it has been told.
    pub(super) placements: [Option<Placement>; Part::COUNT],
    /// `name@version`
    pub(super) model: Option<String>,
    /// What `mode=sync` adds to the stream's latency.
    pub(super) latency: Latency,
    /// A face came into too few analyses to be judged, which has been told.
    pub(super) too_few_frames: bool,
    /// The last analysis failed: the warning has been posted.
    pub(super) failing: bool,
}

impl Live {
    /// A model is ready, and a frame takes so long.
    pub(super) fn loaded(&mut self, model: &Model, frame: Duration) {
        self.readiness = Readiness::Running;
        self.model = Some(model.package().full_name());
        self.latency = Latency::starting_with(frame);
    }
}

/// What the streaming thread shares with threads of lower priority, without a lock that it could wait for.
#[derive(Default)]
pub(super) struct Flow {
    /// The newest report on its way to the streaming thread.
    pub(super) news: Mailbox<News>,
    /// An error has been posted: the stream ends.
    pub(super) failed: AtomicBool,
    pub(super) frames: AtomicU64,
    pub(super) shed: AtomicU64,
    pub(super) strays: AtomicU64,
    pub(super) jumps: AtomicU64,
}

impl Flow {
    /// A new start.
    pub(super) fn clear(&self) {
        drop(self.news.take());
        self.failed.store(false, Ordering::SeqCst);
        for counter in [&self.frames, &self.shed, &self.strays, &self.jumps] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

/// What frames carry from now on.
pub(super) struct News {
    /// Of the channel, when the frame came.
    pub(super) epoch: u64,
    pub(super) report: Option<Arc<meta::Attachable>>,
}

/// The latency that `mode=sync` reports: what nearly all of the newest frames took, and a quarter more.
#[derive(Debug, Default)]
pub(super) struct Latency {
    reported: Duration,
    newest: VecDeque<Duration>,
    frames: usize,
}

impl Latency {
    /// Frames of which 19 in 20 were as fast.
    const SIZE: usize = 128;
    /// Frames from one look at them to the next.
    const INTERVAL: usize = 32;

    pub(super) fn starting_with(frame: Duration) -> Self {
        Self { reported: rounded(frame), ..Self::default() }
    }

    pub(super) fn reported(&self) -> Duration {
        self.reported
    }

    /// A frame took so long. Whether that changes what is to be reported: it rises at once, and falls when a good deal too large.
    pub(super) fn record(&mut self, took: Duration) -> bool {
        if self.newest.len() == Self::SIZE {
            self.newest.pop_front();
        }
        self.newest.push_back(took);
        self.frames += 1;
        if !self.frames.is_multiple_of(Self::INTERVAL) {
            return false;
        }
        let mut sorted: Vec<_> = self.newest.iter().copied().collect();
        sorted.sort_unstable();
        let wanted = rounded(sorted[(sorted.len() * 19).div_ceil(20) - 1]);
        let changes = wanted > self.reported || wanted * 4 < self.reported * 3;
        if changes {
            self.reported = wanted;
        }
        changes
    }
}

/// A quarter more, in whole steps.
fn rounded(took: Duration) -> Duration {
    let steps = (took.as_nanos() / 4 * 5).div_ceil(LATENCY_STEP.as_nanos());
    u32::try_from(steps).map_or(MAX_LATENCY, |steps| (LATENCY_STEP * steps).min(MAX_LATENCY))
}

impl DeepfakeDetect {
    /// Makes known which model runs from now on, and on what.
    pub(super) fn announce(&self, model: &Model) {
        self.live().model = Some(model.package().full_name());
        self.report_placement(Part::Model, model.placement());
    }

    /// Tells of devices that were lost or have come back.
    pub(super) fn watch_devices(&self, analyzer: &Analyzer) {
        // Another model may have been announced while this one was still at work.
        if self.live().model.as_deref() == Some(&analyzer.model().package().full_name()) {
            self.report_placement(Part::Model, analyzer.model().placement());
        }
        if let Some(placement) = analyzer.detector_placement() {
            self.report_placement(Part::Detector, placement);
        }
    }

    /// Makes known where a part runs from now on, if that is news.
    pub(super) fn report_placement(&self, part: Part, placement: Placement) {
        let before = {
            let mut live = self.live();
            let is_news = live.placements[part as usize].as_ref() != Some(&placement);
            if !is_news || live.readiness == Readiness::Stopped {
                return;
            }
            if part == Part::Model {
                live.active_device = placement.active.map(|device| device.as_str());
            }
            live.placements[part as usize].replace(placement.clone())
        };
        let was_lost = before.as_ref().is_some_and(|before| before.reason.is_some());
        match (placement.active, placement.reason) {
            (Some(_), Some(reason)) => {
                gst::element_imp_warning!(self, gst::LibraryError::Init, ("{}: {reason}", part.as_str()));
            }
            (Some(device), None) if was_lost => {
                gst::element_imp_info!(self, gst::LibraryError::Init, ("{}: {device} is back", part.as_str()));
            }
            // A required device that is lost is the failed analysis's matter.
            _ => {}
        }
        if part == Part::Model && before.is_none_or(|before| before.active != placement.active) {
            self.obj().notify("active-device");
        }
    }

    /// Says that nothing can be analysed: an error where the user wants one, else a warning.
    pub(super) fn post_load_error(&self, error: &AnalysisError, settings: &Settings) -> Result<(), gst::ErrorMessage> {
        self.live().readiness = Readiness::Failed;
        let required = matches!(error, AnalysisError::Inference(InferenceError::Device { .. }));
        if settings.on_error == OnError::Fail || required {
            return Err(gst::error_msg!(gst::LibraryError::Init, ("{error}")));
        }
        gst::element_imp_warning!(
            self,
            gst::LibraryError::Init,
            ("{error}\nFrames pass without analysis. Set on-error=fail to stop instead.")
        );
        Ok(())
    }

    /// What the property `stats` holds.
    pub(super) fn stats(&self) -> gst::Structure {
        let state = self.state().as_ref().map(|state| (state.channel.depth(), state.stream_times.clone()));
        let (depth, stream_times) = state.unwrap_or_default();
        let (mut stats, readiness, model, device) = {
            let live = self.live();
            (live.stats.clone(), live.readiness, live.model.clone(), live.active_device)
        };
        stats.set_stream_times(stream_times);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (stats.frames, stats.shed) = (count(&self.flow.frames), count(&self.flow.shed));
        (stats.strays, stats.jumps) = (count(&self.flow.strays), count(&self.flow.jumps));
        let mut structure = stats.structure();
        structure.set("state", readiness.as_str());
        structure.set("queue-depth", depth as u32);
        structure.set_if_some("model", model);
        structure.set_if_some("device", device);
        structure
    }

    /// Posts `stats` if it is time to.
    pub(super) fn post_stats(&self) {
        let interval = Duration::from_millis(self.settings().stats_interval.into());
        if interval.is_zero() {
            return;
        }
        {
            let mut guard = self.state();
            let Some(state) = guard.as_mut().filter(|state| state.posted_stats.elapsed() >= interval) else { return };
            state.posted_stats = Instant::now();
        }
        let message = gst::message::Element::builder(self.stats()).src(&*self.obj()).build();
        let _ = self.obj().post_message(message);
    }

    /// What `mode=sync` adds to the stream's latency.
    pub(super) fn own_latency(&self) -> gst::ClockTime {
        match self.settings().processing_deadline {
            0 => gst::ClockTime::try_from(self.live().latency.reported()).expect("a second at the most"),
            deadline => gst::ClockTime::from_mseconds(deadline.into()),
        }
    }

    /// Frames wait for another time from now on: the pipeline is to ask how long.
    pub(super) fn post_latency(&self) {
        gst::debug!(CAT, imp = self, "the latency is {} now", self.own_latency());
        let _ = self.obj().post_message(gst::message::Latency::builder().src(&*self.obj()).build());
    }

    /// Tells the world what an analysis has come to. `is_stale` says whether the stream was reset meanwhile.
    pub(super) fn publish(
        &self,
        analyzer: &Analyzer,
        job: &Job,
        result: Result<FrameReport, AnalysisError>,
        waited: Duration,
        took: Duration,
        is_stale: &dyn Fn() -> bool,
    ) {
        let settings = &job.settings;
        let threshold = analyzer.fake_threshold();
        let element = self.obj().name();
        let result = result.map(|mut report| {
            let stream = settings.stream.as_deref();
            self.live().outlet.complete(&mut report, &element, stream, job.arrived, threshold);
            meta::Attachable::new(Arc::new(report))
        });

        let mut live = self.live();
        if is_stale() {
            return;
        }
        match result {
            Ok(attachable) => {
                let report = attachable.report().clone();
                live.stats.analysed(report.faces.len(), took);
                live.stats.record(Stage::Wait, waited);
                live.seen.analysed += 1;
                live.seen.faces += report.faces.len() as u64;
                live.seen.judged += report.faces.iter().filter(|face| is_judged(face)).count() as u64;
                let Timings { find, crop, encode, judge } = analyzer.took();
                let stages = [(Stage::Find, find), (Stage::Crop, crop), (Stage::Encode, encode), (Stage::Judge, judge)];
                stages.into_iter().for_each(|(stage, time)| live.stats.record(stage, time));
                live.failing = false;
                let alerts = live.outlet.accept(&report, threshold, settings);
                live.stats.alerts += alerts.iter().filter(|alert| alert.action == Action::Raised).count() as u64;
                self.outbox.push(settings.post_messages.then(|| Post::Report(report.clone())));
                self.outbox.push(alerts.into_iter().map(Post::from));
                self.flow.news.put(News { epoch: job.epoch, report: Some(Arc::new(attachable)) });
                let changed = live.latency.record(waited + took);
                let is_starved = report.faces.iter().any(|face| face.reason == Some(Reason::TooFewFrames));
                let warns = is_starved && !std::mem::replace(&mut live.too_few_frames, true);
                drop(live);
                self.log_report(&report, took);
                self.post_outbox();
                if warns {
                    self.warn_of_too_few_frames();
                }
                if changed && job.waits && settings.processing_deadline == 0 {
                    self.post_latency();
                }
            }
            Err(error) => {
                live.stats.failed += 1;
                let alerts = live.outlet.fail(job.time);
                self.outbox.push(alerts.into_iter().map(Post::from));
                self.flow.news.put(News { epoch: job.epoch, report: None });
                let first = !std::mem::replace(&mut live.failing, true);
                let fails = settings.on_error == OnError::Fail;
                drop(live);
                self.post_outbox();
                if fails {
                    if !self.flow.failed.swap(true, Ordering::SeqCst) {
                        gst::element_imp_error!(self, gst::StreamError::Failed, ("{error}"));
                    }
                } else if first {
                    gst::element_imp_warning!(
                        self,
                        gst::StreamError::Failed,
                        [
                            "{error}\nFrames pass without analysis until this is over. Set on-error=fail to stop instead."
                        ]
                    );
                }
            }
        }
    }

    /// At the end of a stream: that nothing was called fake means little where nothing was judged.
    pub(super) fn tell_what_was_not_judged(&self) {
        let Seen { analysed, faces, judged } = std::mem::take(&mut self.live().seen);
        let what = match (analysed, faces, judged) {
            (0, ..) | (.., 1..) => return,
            (_, 0, _) => "No face was seen",
            _ => "No face could be judged (reports say why)",
        };
        gst::element_imp_info!(
            self,
            gst::StreamError::Failed,
            ("{what} in {analysed} analysed frames. That does not mean that they are authentic.")
        );
    }

    fn warn_of_too_few_frames(&self) {
        match self.flow.shed.load(Ordering::Relaxed) {
            0 => gst::element_imp_warning!(
                self,
                gst::StreamError::Failed,
                ("Faces are not judged: the stream has too few frames a second. Give it one or more.")
            ),
            // By its code an application knows overload from faults.
            shed => gst::element_imp_warning!(
                self,
                gst::ResourceError::Busy,
                ("Faces are not judged: this machine is too slow for all that it analyses ({shed} frames were shed so \
                     far). Analyse fewer streams, smaller pictures or fewer faces, or use a GPU.")
            ),
        }
    }

    /// Tells the log of a frame's way.
    pub(super) fn log_report(&self, report: &FrameReport, took: Duration) {
        gst::debug!(
            CAT,
            imp = self,
            "frame {}: {} face(s) in {took:?}",
            gst::ClockTime::from_nseconds(report.pts),
            report.faces.len()
        );
        for face in &report.faces {
            gst::debug!(
                CAT,
                imp = self,
                "  face {}: {}{} score {:?} frame {:?} window {}/{} at {:.3},{:.3} {:.3}x{:.3} detected {:.2}",
                face.track_id,
                face.state.as_str(),
                face.reason.map_or(String::new(), |reason| format!(" ({})", reason.as_str())),
                face.score,
                face.frame_score,
                face.window_fill,
                face.window_size,
                face.x,
                face.y,
                face.width,
                face.height,
                face.detection
            );
        }
    }

    /// Drops what is known of the last frame, and clears all alerts.
    pub(super) fn clear(&self) {
        {
            let mut live = self.live();
            let alerts = live.outlet.clear();
            self.outbox.push(alerts.into_iter().map(Post::from));
        }
        self.post_outbox();
    }

    /// Posts what has been decided on. Called without a lock.
    fn post_outbox(&self) {
        let element = self.obj();
        self.outbox.empty(|post| {
            let message = match post {
                Post::Report(report) => message::report(&*element, &report),
                Post::Alert(alert) => {
                    let Alert { id, action, kind, track_id, .. } = *alert;
                    let (action, kind) = (action.as_str(), kind.as_str());
                    gst::info!(CAT, imp = self, "alert {id} {action} ({kind}) for face {track_id}");
                    message::alert(&*element, &alert)
                }
            };
            let _ = element.post_message(message);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_latency_follows_what_nearly_all_frames_take() {
        let mut latency = Latency::starting_with(8 * MS);
        assert_eq!(latency.reported(), 10 * MS);
        // One frame that stood still is no reason to be late for ever.
        latency.record(3000 * MS);
        let changes = (0..200).filter(|_| latency.record(8 * MS)).count();
        assert_eq!((latency.reported(), changes), (10 * MS, 0));
        (0..200).for_each(|_| _ = latency.record(40 * MS));
        assert_eq!(latency.reported(), 50 * MS);
        (0..200).for_each(|_| _ = latency.record(36 * MS));
        assert_eq!(latency.reported(), 50 * MS, "not for a little");
        (0..200).for_each(|_| _ = latency.record(8 * MS));
        assert_eq!(latency.reported(), 10 * MS);
        (0..200).for_each(|_| _ = latency.record(3000 * MS));
        assert_eq!(latency.reported(), MAX_LATENCY);
    }
}
