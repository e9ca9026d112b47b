//! What the world is told: the newest report, alerts, latency, statistics, where models run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gst::subclass::prelude::*;
use gst_base::prelude::*;

use super::OnError;
use super::engine::Engine;
use super::imp::{CAT, DeepfakeDetect};
use super::outlet::{Arrival, Outlet, Post};
use super::settings::Settings;
use super::stats::{Stage, Stats};
use deepfake_engine::analysis::AnalysisError;
use deepfake_engine::analysis::analyzer::{Analyzer, Timings};
use deepfake_engine::inference::{InferenceError, Model, Placement};
use deepfake_report::FrameReport;
use deepfake_report::alert::{Action, Alert};
use deepfake_report::{message, meta};

/// Due frames in a row that must be in time for the analysis to have caught up.
const CAUGHT_UP: u32 = 100;
/// The latency that `mode=sync` reports is a multiple of this.
const LATENCY_STEP: gst::ClockTime = gst::ClockTime::from_mseconds(5);

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

#[derive(Default)]
pub(super) struct Live {
    pub(super) outlet: Outlet,
    pub(super) stats: Stats,
    pub(super) readiness: Readiness,
    pub(super) active_device: Option<&'static str>,
    /// Where each [`Part`] runs, as far as it has been told.
    pub(super) placements: [Option<Placement>; Part::COUNT],
    /// `name@version`
    pub(super) model: Option<String>,
    /// Above zero while frames are being shed, which has been logged: frames in time until the analysis has caught up.
    pub(super) behind: u32,
    /// What `mode=sync` adds to the stream's latency.
    pub(super) latency: gst::ClockTime,
    /// The last analysis failed: the warning has been posted.
    pub(super) failing: bool,
    /// An error has been posted: the stream ends.
    pub(super) failed: bool,
}

impl DeepfakeDetect {
    /// Makes known which model runs from now on, and on what.
    pub(super) fn announce(&self, model: &Model) {
        {
            let mut live = self.live();
            live.readiness = Readiness::Running;
            live.model = Some(model.package().full_name());
        }
        self.place(Part::Model, model.placement());
    }

    /// Tells of devices that were lost or have come back.
    pub(super) fn watch_devices(&self, analyzer: &Analyzer) {
        // Another model may have been announced while this one was still at work.
        if self.live().model.as_deref() == Some(&analyzer.model().package().full_name()) {
            self.place(Part::Model, analyzer.model().placement());
        }
        if let Some(placement) = analyzer.detector_placement() {
            self.place(Part::Detector, placement);
        }
    }

    /// Makes known where a part runs from now on, if that is news.
    pub(super) fn place(&self, part: Part, placement: Placement) {
        let before = {
            let mut live = self.live();
            if live.placements[part as usize].as_ref() == Some(&placement) {
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
    pub(super) fn complain(&self, error: &AnalysisError, settings: &Settings) -> Result<(), gst::ErrorMessage> {
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

    /// Counts frames that were due but are not analysed. Says so once, until the analysis has caught up.
    pub(super) fn count_shed(&self, dropped: u64) {
        let mut live = self.live();
        // While the model is being loaded nothing is behind.
        if live.readiness != Readiness::Running {
            return;
        }
        live.stats.shed += dropped;
        if dropped == 0 {
            live.behind = live.behind.saturating_sub(1);
        } else if std::mem::replace(&mut live.behind, CAUGHT_UP) == 0 {
            drop(live);
            gst::warning!(CAT, imp = self, "the analysis is behind: frames pass without their own, see stats");
        }
    }

    /// What the property `stats` holds.
    pub(super) fn stats(&self) -> gst::Structure {
        let queue_depth = match self.state().as_ref().map(|state| &state.engine) {
            Some(Engine::Async(background)) => background.depth(),
            _ => 0,
        };
        let live = self.live();
        let (mut structure, readiness) = (live.stats.structure(), live.readiness);
        structure.set("state", readiness.as_str());
        structure.set("queue-depth", queue_depth as u32);
        structure.set_if_some("model", live.model.as_deref());
        structure.set_if_some("device", live.active_device);
        structure
    }

    /// Posts `stats` if it is time to.
    pub(super) fn tell_stats(&self) {
        let interval = Duration::from_millis(self.settings().stats_interval.into());
        if interval.is_zero() {
            return;
        }
        {
            let mut guard = self.state();
            let Some(state) = guard.as_mut().filter(|state| state.told.elapsed() >= interval) else { return };
            state.told = Instant::now();
        }
        let message = gst::message::Element::builder(self.stats()).src(&*self.obj()).build();
        let _ = self.obj().post_message(message);
    }

    /// Tells the world what an analysis has come to. `is_stale` says whether the stream was reset meanwhile.
    pub(super) fn publish(
        &self,
        analyzer: &Analyzer,
        result: Result<FrameReport, AnalysisError>,
        arrival: Arrival,
        took: Duration,
        settings: &Settings,
        is_stale: &dyn Fn() -> bool,
    ) -> Result<(), gst::FlowError> {
        let threshold = analyzer.fake_threshold();
        let element = self.obj().name();
        let result = result.map(|mut report| {
            let stream = settings.stream.as_deref();
            self.live().outlet.complete(&mut report, &element, stream, arrival.at, threshold);
            meta::Attachable::new(Arc::new(report))
        });

        let mut live = self.live();
        if is_stale() {
            return Ok(());
        }
        match result {
            Ok(attachable) => {
                let report = attachable.report().clone();
                live.stats.analysed(report.faces.len(), took);
                let Timings { find, crop, encode, judge } = analyzer.took();
                let stages = [(Stage::Find, find), (Stage::Crop, crop), (Stage::Encode, encode), (Stage::Judge, judge)];
                stages.into_iter().for_each(|(stage, time)| live.stats.took(stage, time));
                live.failing = false;
                if live.readiness == Readiness::Failed {
                    // It was the model before this one that failed, over a frame that it was still at.
                    live.readiness = Readiness::Running;
                }
                let alerts = live.outlet.accept(attachable, threshold, settings);
                live.stats.alerts += alerts.iter().filter(|alert| alert.action == Action::Raised).count() as u64;
                self.outbox.push(settings.post_messages.then(|| Post::Report(report.clone())));
                self.outbox.push(alerts.into_iter().map(Post::from));
                let slower = latency_for(took).max(live.latency);
                let slowed = std::mem::replace(&mut live.latency, slower) != slower;
                drop(live);
                self.tell(&report, took);
                self.post_outbox();
                if slowed && self.obj().current_state() == gst::State::Playing {
                    gst::debug!(CAT, imp = self, "analysis took {took:?}: the latency is {slower} now");
                    let _ = self.obj().post_message(gst::message::Latency::builder().src(&*self.obj()).build());
                }
                Ok(())
            }
            Err(error) => {
                live.stats.failed += 1;
                let mut alerts = live.outlet.fail(arrival.time);
                if matches!(error, AnalysisError::Inference(InferenceError::WorkerGone { .. })) {
                    alerts.extend(live.outlet.clear());
                    // It does not mend itself; a `model` that is set from now on is loaded with all else.
                    live.readiness = Readiness::Failed;
                }
                let first = !std::mem::replace(&mut live.failing, true);
                live.failed = settings.on_error == OnError::Fail;
                let failed = live.failed;
                self.outbox.push(alerts.into_iter().map(Post::from));
                drop(live);
                self.post_outbox();
                if failed {
                    gst::element_imp_error!(self, gst::StreamError::Failed, ("{error}"));
                    return Err(gst::FlowError::Error);
                }
                if first {
                    gst::element_imp_warning!(
                        self,
                        gst::StreamError::Failed,
                        [
                            "{error}\nFrames pass without analysis until this mends itself. Set on-error=fail to stop instead."
                        ]
                    );
                }
                Ok(())
            }
        }
    }

    /// Tells the log of a frame's way.
    pub(super) fn tell(&self, report: &FrameReport, took: Duration) {
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

/// The latency to report when an analysis took this long: a quarter more, in whole steps.
pub(super) fn latency_for(took: Duration) -> gst::ClockTime {
    let ns = took.as_nanos() as u64 / 4 * 5;
    LATENCY_STEP * ns.div_ceil(LATENCY_STEP.nseconds())
}
