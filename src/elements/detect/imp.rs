//! Glue to GStreamer: properties, states, events, queries and buffers. Who analyses is in `engine`, what the world is told in
//! `publisher`.

use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, Once};
use std::time::{Duration, Instant};

use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use gst_video::VideoInfo;

use super::engine::{Due, State};
use super::outlet::{Outbox, Outlet};
use super::publisher::{Flow, Live, Readiness, Seen};
use super::settings::Settings;
use super::{Mode, properties};
use crate::elements::frame;
use deepfake_engine::analysis::window::Grid;
use deepfake_engine::executor::{Channel, Executor};
use deepfake_engine::inference::runtime::{self, Severity};

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("deepfakedetect", gst::DebugColorFlags::empty(), Some("Live deepfake detection"))
});

/// ONNX Runtime's own log.
static ONNX_CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("onnxruntime", gst::DebugColorFlags::empty(), Some("ONNX Runtime, used by deepfakedetect"))
});

/// How long the end of a stream waits for messages that another thread is about to post.
const MAX_SETTLING: Duration = Duration::from_millis(500);

#[derive(Default)]
pub struct DeepfakeDetect {
    settings: Mutex<Arc<Settings>>,
    /// `None` while stopped.
    state: Mutex<Option<State>>,
    /// What threads of lower priority write, and properties read. Not for the streaming thread on a frame's way.
    live: Mutex<Live>,
    /// What the streaming thread and those threads have in common.
    pub(super) flow: Flow,
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
        let before = self.settings().video_direction;
        self.change_settings(|settings| properties::set(settings, pspec.name(), value));
        match pspec.name() {
            "model" => self.change_model(),
            // Where faces were is not where they are now.
            "video-direction" if self.settings().video_direction != before => self.forget(),
            _ => {}
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

    fn change_state(&self, transition: gst::StateChange) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if transition == gst::StateChange::PausedToReady {
            // The streaming thread is about to be waited for.
            self.interrupt(true);
        }
        self.parent_change_state(transition)
    }
}

impl BaseTransformImpl for DeepfakeDetect {
    const MODE: gst_base::subclass::BaseTransformMode = gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = self.settings();
        *self.live() = Live { readiness: Readiness::Warming, outlet: Outlet::new(), ..Live::default() };
        self.flow.clear();
        bridge_log();
        let no_thread = |error| gst::error_msg!(gst::ResourceError::Failed, ("No thread for the analysis: {error}"));
        let channel = Channel::open(Executor::background()).map_err(no_thread)?;
        let mut state = State::new(channel, settings.model.clone());
        let ticket = state.ticket;
        // What is not there can be told at once.
        let found = match settings.find() {
            Ok(found) => Some(found),
            Err(error) => self.post_load_error(&error, &settings).map(|()| None)?,
        };
        if let Some(found) = &found {
            state.grid = Some(Grid::new(found.package.window.rate_hz));
            state.loading = Some(settings.model.clone());
        }
        *self.state() = Some(state);
        if found.is_some() {
            self.load(settings, found, ticket).map_err(no_thread)?;
        }
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        // What is being loaded or analysed goes on by itself, and nobody hears of it.
        let state = self.state().take();
        drop(state);
        self.clear();
        self.outbox.settle(MAX_SETTLING);
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
            gst::EventView::FlushStart(_) => self.interrupt(true),
            gst::EventView::FlushStop(_) => {
                self.interrupt(false);
                self.reset();
            }
            gst::EventView::StreamStart(_) => {
                if let Some(state) = self.state().as_mut() {
                    state.orientations = Default::default();
                }
                self.reset();
                self.live().seen = Seen::default();
            }
            gst::EventView::Tag(event) => {
                let turned = self.state().as_mut().is_some_and(|state| state.orientations.add(event.tag()));
                if turned {
                    self.reset();
                }
            }
            gst::EventView::Segment(event) => self.set_segment(event.segment()),
            gst::EventView::Gap(event) => {
                let (pts, duration) = event.get();
                self.skip(Some(pts), duration);
            }
            gst::EventView::Eos(_) => {
                self.drain();
                self.reset();
                self.outbox.settle(MAX_SETTLING);
                self.tell_what_was_not_judged();
            }
            _ => {}
        }
        self.parent_sink_event(event)
    }

    fn query(&self, direction: gst::PadDirection, query: &mut gst::QueryRef) -> bool {
        if direction == gst::PadDirection::Sink {
            if let gst::QueryViewMut::AcceptCaps(query) = query.view_mut() {
                self.explain_refusal(query.caps());
            }
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
        let own = if self.is_async(is_live) { gst::ClockTime::ZERO } else { self.own_latency() };
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
        let due = if buffer.flags().contains(gst::BufferFlags::GAP) {
            Due::No { time: self.skip(buffer.pts(), buffer.duration()) }
        } else {
            self.place(buffer)?
        };
        let mut waited = Duration::ZERO;
        if let Due::Yes { time, waits: true } = due {
            let from = Instant::now();
            self.submit(buffer, time, arrived, true);
            waited = from.elapsed();
        }
        if self.flow.failed.load(Ordering::SeqCst) {
            return Err(gst::FlowError::Error);
        }
        match due {
            Due::Stray => drop(self.flow.strays.fetch_add(1, Ordering::Relaxed)),
            Due::No { time } => self.attach_latest(buffer, time),
            Due::Yes { time, .. } => self.attach_latest(buffer, Some(time)),
        }
        if let Due::Yes { time, waits: false } = due {
            // After its metadata was attached: who shares a buffer may not change it.
            self.submit(buffer, time, arrived, false);
        }
        self.flow.frames.fetch_add(1, Ordering::Relaxed);
        if let Some(state) = self.state().as_mut() {
            state.stream_times.push(arrived.elapsed().saturating_sub(waited));
        }
        self.post_stats();
        Ok(gst::FlowSuccess::Ok)
    }
}

impl DeepfakeDetect {
    pub(super) fn settings(&self) -> Arc<Settings> {
        self.settings.lock().expect("nothing panics while it holds the settings").clone()
    }

    pub(super) fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        change(Arc::make_mut(&mut self.settings.lock().expect("nothing panics while it holds the settings")));
    }

    pub(super) fn state(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().expect("nothing panics while it holds the state")
    }

    pub(super) fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().expect("nothing panics while it holds the live part")
    }

    /// Whether frames are analysed beside the stream, given whether upstream is live.
    pub(super) fn is_async(&self, is_live: bool) -> bool {
        match self.settings().mode {
            Mode::Auto => is_live,
            Mode::Sync => false,
            Mode::Async => true,
        }
    }

    /// Says what to do about caps that cannot be taken because the pictures lie in another memory.
    fn explain_refusal(&self, caps: &gst::CapsRef) {
        const CONVERTERS: [(&str, &str); 5] = [
            ("memory:VAMemory", "vapostproc"),
            ("memory:DMABuf", "vapostproc, or glupload ! gldownload"),
            ("memory:CUDAMemory", "cudadownload"),
            ("memory:GLMemory", "gldownload"),
            ("memory:D3D11Memory", "d3d11download"),
        ];
        let Some(features) = caps.features(0).filter(|_| caps.is_fixed()) else { return };
        if let Some((memory, converter)) = CONVERTERS.iter().find(|(memory, _)| features.contains(*memory)) {
            // No error: whoever asks may have something else to offer.
            gst::element_imp_warning!(
                self,
                gst::StreamError::Format,
                ("Pictures in {memory} cannot be analysed. Put {converter} before this element.")
            );
        }
        if let Ok(info) = VideoInfo::from_caps(caps)
            && let Err(error) = frame::check(&info)
        {
            gst::element_imp_warning!(self, gst::StreamError::Format, ("{error}"));
        }
    }
}

/// Sends ONNX Runtime's log to the category `onnxruntime`, a level lower than it thinks: it warns of much that is harmless.
fn bridge_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let min = match ONNX_CAT.threshold() {
            gst::DebugLevel::None | gst::DebugLevel::Error => Severity::Error,
            gst::DebugLevel::Warning | gst::DebugLevel::Fixme | gst::DebugLevel::Info => Severity::Warning,
            _ => Severity::Info,
        };
        runtime::set_log_hook(min, |severity, line| match severity {
            Severity::Error => gst::warning!(ONNX_CAT, "{line}"),
            Severity::Warning => gst::info!(ONNX_CAT, "{line}"),
            Severity::Info | Severity::Debug => gst::debug!(ONNX_CAT, "{line}"),
        });
    });
}
