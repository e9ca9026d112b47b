//! Glue to GStreamer: properties, states, events, queries and buffers. Who analyses is in `engine`, what the world is told in
//! `publisher`.

use std::sync::{LazyLock, Mutex, MutexGuard, Once};
use std::time::{Duration, Instant};

use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use gst_video::VideoInfo;

use super::engine::{Engine, State};
use super::loading::Loading;
use super::outlet::{Outbox, Outlet};
use super::publisher::{Live, Readiness};
use super::settings::Settings;
use super::stats::Stage;
use super::timeline::Timeline;
use super::{Mode, properties};
use crate::elements::frame;
use deepfake_engine::analysis::window::Grid;
use deepfake_engine::inference::runtime::{self, Severity};

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("deepfakedetect", gst::DebugColorFlags::empty(), Some("Live deepfake detection"))
});

/// ONNX Runtime's own log.
static ONNX_CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("onnxruntime", gst::DebugColorFlags::empty(), Some("ONNX Runtime, used by deepfakedetect"))
});

#[derive(Default)]
pub struct DeepfakeDetect {
    settings: Mutex<Settings>,
    /// Of the streaming thread; `None` while stopped, or when the model could not be loaded.
    state: Mutex<Option<State>>,
    /// What both the streaming thread and the analysis thread write, and properties read. Held for a few instructions only.
    live: Mutex<Live>,
    pub(super) outbox: Outbox,
}

#[glib::object_subclass]
impl ObjectSubclass for DeepfakeDetect {
    const NAME: &'static str = "GstDeepfakeDetect";
    type Type = super::DeepfakeDetect;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for DeepfakeDetect {
    fn constructed(&self) {
        self.parent_constructed();
        let obj = self.obj();
        obj.set_in_place(true);
        // QoS would drop programme frames when something downstream is late.
        obj.set_property("qos", false);
    }

    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(properties::specs);
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        properties::set(&mut self.settings(), pspec.name(), value);
        if pspec.name() == "model" {
            self.change_model();
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "active-device" => self.live().active_device.to_value(),
            "stats" => self.stats().to_value(),
            name => properties::get(&self.settings(), name),
        }
    }
}

impl GstObjectImpl for DeepfakeDetect {}

impl ElementImpl for DeepfakeDetect {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Deepfake detector",
                "Filter/Analyzer/Video",
                "Follows the faces in a video and attaches to every buffer how likely each one is fake",
                env!("CARGO_PKG_NAME"),
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let template = |name, direction| {
                gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &frame::caps())
                    .expect("the caps are fixed at build time")
            };
            vec![template("sink", gst::PadDirection::Sink), template("src", gst::PadDirection::Src)]
        });
        &TEMPLATES
    }
}

impl BaseTransformImpl for DeepfakeDetect {
    const MODE: gst_base::subclass::BaseTransformMode = gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = self.settings().clone();
        *self.live() = Live { readiness: Readiness::Warming, outlet: Outlet::new(), ..Live::default() };
        bridge_log();
        // What is not there can be told at once.
        let found = settings.find().map(|found| (Grid::new(found.package.window.rate_hz), found));
        let (grid, engine) = match found {
            Ok((grid, found)) if settings.mode == Mode::Sync => match self.load(&settings, found) {
                Ok(analyzer) => (Some(grid), Engine::Idle(Loading::ready(Box::new(analyzer)))),
                Err(error) => (None, self.complain(&error, &settings).map(|()| Engine::Away)?),
            },
            Ok((grid, found)) => (Some(grid), Engine::Idle(self.load_beside(settings.clone(), found)?)),
            Err(error) => (None, self.complain(&error, &settings).map(|()| Engine::Away)?),
        };
        *self.state() = Some(State {
            info: None,
            timeline: Timeline::default(),
            segment: None,
            grid,
            engine,
            model: settings.model,
            next_model: None,
            superseded: vec![],
            revival: None,
            told: Instant::now(),
        });
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        let state = self.state().take();
        // Ends the threads, which take `live`.
        drop(state);
        self.clear();
        {
            let mut live = self.live();
            live.readiness = Readiness::Stopped;
            live.active_device = None;
            live.model = None;
        }
        self.obj().notify("active-device");
        Ok(())
    }

    fn set_caps(&self, incaps: &gst::Caps, _outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let info = VideoInfo::from_caps(incaps).map_err(|_| gst::loggable_error!(CAT, "{incaps} is no raw video"))?;
        let mut guard = self.state();
        let Some(state) = guard.as_mut() else { return Ok(()) };
        let fps = info.fps();
        let duration = (fps.numer() > 0)
            .then(|| gst::ClockTime::SECOND.nseconds().saturating_mul(fps.denom() as u64) / fps.numer() as u64);
        state.timeline.set_frame_duration(duration);
        let changed = state.info.replace(info.clone()).is_some_and(|old| old != info);
        drop(guard);
        if changed {
            gst::debug!(CAT, imp = self, "new caps {incaps}");
            self.reset();
        }
        Ok(())
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        match event.view() {
            gst::EventView::FlushStop(_) | gst::EventView::StreamStart(_) => self.reset(),
            gst::EventView::Segment(event) => self.set_segment(event.segment()),
            gst::EventView::Gap(event) => {
                let (pts, duration) = event.get();
                self.skip(Some(pts), duration);
            }
            gst::EventView::Eos(_) => {
                self.drain();
                self.reset();
            }
            _ => {}
        }
        self.parent_sink_event(event)
    }

    fn query(&self, direction: gst::PadDirection, query: &mut gst::QueryRef) -> bool {
        if direction != gst::PadDirection::Src {
            return BaseTransformImplExt::parent_query(self, direction, query);
        }
        let gst::QueryViewMut::Latency(query) = query.view_mut() else {
            return BaseTransformImplExt::parent_query(self, direction, query);
        };
        let mut upstream = gst::query::Latency::new();
        if !self.obj().sink_pad().peer_query(&mut upstream) {
            return false;
        }
        let (is_live, min, max) = upstream.result();
        let own = if self.is_async(is_live) { gst::ClockTime::ZERO } else { self.live().latency };
        gst::debug!(CAT, imp = self, "latency: live {is_live}, upstream {min}..{max:?}, own {own}");
        query.set(is_live, min + own, max.map(|max| max.saturating_add(own)));
        true
    }

    fn propose_allocation(
        &self,
        _decide_query: Option<&gst::query::Allocation>,
        query: &mut gst::query::Allocation,
    ) -> Result<(), gst::LoggableError> {
        // Frames go on in the memory they came in: what downstream can take, upstream may give, and nothing else.
        if !self.obj().src_pad().peer_query(query) {
            gst::debug!(CAT, imp = self, "downstream has no wishes for the frames' memory");
        }
        Ok(())
    }

    fn transform_ip(&self, buffer: &mut gst::BufferRef) -> Result<gst::FlowSuccess, gst::FlowError> {
        let arrived = Instant::now();
        let is_gap = buffer.flags().contains(gst::BufferFlags::GAP);
        let waited = if is_gap {
            self.skip(buffer.pts(), buffer.duration());
            Duration::ZERO
        } else if let Some(waited) = self.take(buffer, arrived)? {
            waited
        } else {
            let mut live = self.live();
            live.stats.frames += 1;
            live.stats.strays += 1;
            return if live.failed { Err(gst::FlowError::Error) } else { Ok(gst::FlowSuccess::Ok) };
        };
        let (time, expire) = (self.running_time(buffer.pts()), self.settings().expire);
        let latest = {
            let live = self.live();
            if live.failed {
                return Err(gst::FlowError::Error);
            }
            live.outlet.latest(time, expire)
        };
        if let (Some(report), Some((width, height))) = (latest, self.frame_size()) {
            report.attach(buffer, width, height).expect("the plugin has registered its meta");
        }
        {
            let mut live = self.live();
            live.stats.frames += 1;
            live.stats.took(Stage::Stream, arrived.elapsed().saturating_sub(waited));
        }
        self.tell_stats();
        Ok(gst::FlowSuccess::Ok)
    }
}

impl DeepfakeDetect {
    pub(super) fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().expect("nothing panics while it holds the settings")
    }

    pub(super) fn state(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().expect("nothing panics while it holds the state")
    }

    pub(super) fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().expect("nothing panics while it holds the live part")
    }

    pub(super) fn frame_size(&self) -> Option<(u32, u32)> {
        let state = self.state();
        let info = state.as_ref()?.info.as_ref()?;
        Some((info.width(), info.height()))
    }

    /// In nanoseconds; `None` where the PTS lies outside of the segment.
    fn running_time(&self, pts: Option<gst::ClockTime>) -> Option<u64> {
        let time = match self.state().as_ref().and_then(|state| state.segment.as_ref()) {
            Some(segment) => segment.to_running_time(pts?),
            None => pts,
        };
        time.map(gst::ClockTime::nseconds)
    }

    /// Whether frames are analysed beside the stream, given whether upstream is live.
    pub(super) fn is_async(&self, is_live: bool) -> bool {
        match self.settings().mode {
            Mode::Auto => is_live,
            Mode::Sync => false,
            Mode::Async => true,
        }
    }
}

/// Sends ONNX Runtime's log to the category `onnxruntime`, a level lower than it thinks: it warns of much that is harmless.
fn bridge_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let least = match ONNX_CAT.threshold() {
            gst::DebugLevel::None | gst::DebugLevel::Error => Severity::Error,
            gst::DebugLevel::Warning | gst::DebugLevel::Fixme | gst::DebugLevel::Info => Severity::Warning,
            _ => Severity::Info,
        };
        runtime::set_log_hook(least, |severity, line| match severity {
            Severity::Error => gst::warning!(ONNX_CAT, "{line}"),
            Severity::Warning => gst::info!(ONNX_CAT, "{line}"),
            Severity::Info | Severity::Debug => gst::debug!(ONNX_CAT, "{line}"),
        });
    });
}
