//! Glue between GStreamer and the [`Analyzer`].

use std::sync::{Arc, LazyLock, Mutex, MutexGuard, Once};
use std::time::{Duration, Instant};

use glib::ParamSpecBuilderExt;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use gst_video::{VideoFrameRef, VideoInfo};

use super::background::{Background, Job};
use super::loading::Loading;
use super::settings::{Found, Settings};
use super::stats::{Stage, Stats};
use super::threads::{self, Priority};
use super::timeline::Timeline;
use super::{Device, FaceSource, Mode, OnError, upstream};
use crate::elements::frame;
use deepfake_engine::analysis::analyzer::{Analyzer, Timings};
use deepfake_engine::analysis::window::Grid;
use deepfake_engine::analysis::{AnalysisError, surviving};
use deepfake_engine::inference::runtime::{self, Severity};
use deepfake_engine::inference::{InferenceError, Model, Placement};
use deepfake_report::FrameReport;
use deepfake_report::alert::{Action, Alert, AlertWatch};
use deepfake_report::{message, meta};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("deepfakedetect", gst::DebugColorFlags::empty(), Some("Live deepfake detection"))
});

/// ONNX Runtime's own log.
static ONNX_CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("onnxruntime", gst::DebugColorFlags::empty(), Some("ONNX Runtime, used by deepfakedetect"))
});

/// How long EOS waits for the frames that are still being analysed beside the stream.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);
/// Due frames in a row that must be in time for the analysis to have caught up.
const CAUGHT_UP: u32 = 100;
/// The latency that `mode=sync` reports is a multiple of this.
const LATENCY_STEP: gst::ClockTime = gst::ClockTime::from_mseconds(5);

#[derive(Default)]
pub struct DeepfakeDetect {
    settings: Mutex<Settings>,
    /// Of the streaming thread; `None` while stopped, or when the model could not be loaded.
    state: Mutex<Option<State>>,
    /// What both the streaming thread and the analysis thread write, and properties read. Held for a few instructions only.
    live: Mutex<Live>,
}

struct State {
    info: Option<VideoInfo>,
    timeline: Timeline,
    /// Which frames are due; `None` while there is no model.
    grid: Option<Grid>,
    engine: Engine,
    /// The value of the property `model` that is in force.
    model: String,
    /// Another one that is to take its place.
    next_model: Option<NextModel>,
    /// Those that were to, until yet another one was asked for. They are let go once they are loaded.
    superseded: Vec<Loading<Box<Model>>>,
    /// Everything, loaded once more because it failed before.
    revival: Option<Revival>,
    /// When `stats` was last posted.
    told: Instant,
}

impl State {
    /// Nobody waits any more for the model that is being loaded. Returns those of its kind that are loaded, to be let go.
    fn supersede(&mut self) -> Vec<Loading<Box<Model>>> {
        self.superseded.extend(self.next_model.take().map(|next| next.loading));
        self.superseded.extract_if(.., |loading| loading.is_over()).collect()
    }
}

/// A model that is being loaded while another one is at work.
struct NextModel {
    name: String,
    loading: Loading<Box<Model>>,
}

/// See [`State::revival`].
struct Revival {
    name: String,
    loading: Loading<Box<Analyzer>>,
}

/// Who analyses.
enum Engine {
    /// Not decided: no frame has come yet.
    Idle(Loading<Box<Analyzer>>),
    /// The streaming thread.
    Sync(Box<Analyzer>),
    /// A thread of its own.
    Async(Background),
    /// The streaming thread is at it right now, or nobody: nothing could be loaded, or no thread be started.
    Away,
}

/// What runs on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Model,
    Detector,
}

impl Part {
    const COUNT: usize = 2;

    fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Detector => "face detector",
        }
    }
}

/// How far the element is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Readiness {
    #[default]
    Stopped,
    /// The model is being loaded.
    Warming,
    Running,
    /// It could not be loaded: frames pass.
    Failed,
}

impl Readiness {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Warming => "warming",
            Self::Running => "running",
            Self::Failed => "failed",
        }
    }
}

#[derive(Default)]
struct Live {
    latest: Option<Arc<meta::Attachable>>,
    alerts: AlertWatch,
    stats: Stats,
    readiness: Readiness,
    active_device: Option<&'static str>,
    /// Where each [`Part`] runs, as far as it has been told.
    placements: [Option<Placement>; Part::COUNT],
    /// `name@version`
    model: Option<String>,
    /// Above zero while frames are being shed, which has been logged: frames in time until the analysis has caught up.
    behind: u32,
    /// What `mode=sync` adds to the stream's latency.
    latency: gst::ClockTime,
    /// The last analysis failed: the warning has been posted.
    failing: bool,
    /// An error has been posted: the stream ends.
    failed: bool,
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
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let default = Settings::default();
            vec![
                glib::ParamSpecString::builder("model")
                    .nick("Model")
                    .blurb("Name of an installed model package, or path of a folder that holds one; while playing a new one is loaded beside the old, which stays if that fails")
                    .default_value(Some(default.model.as_str()))
                    .mutable_playing()
                    .build(),
                glib::ParamSpecEnum::builder_with_default("device", default.device)
                    .nick("Device")
                    .blurb("What to run the model on; see active-device for what it does run on. A device that is lost while playing is tried again")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecString::builder("active-device")
                    .nick("Active device")
                    .blurb("What the model runs on right now: cpu, cuda, tensorrt or openvino; unset while stopped, or while a required device is lost")
                    .read_only()
                    .build(),
                glib::ParamSpecBoolean::builder("require-device")
                    .nick("Require device")
                    .blurb("Fail to start if the device asked for does not work, and analyse nothing while it is lost, instead of falling back to the CPU")
                    .default_value(default.require_device)
                    .mutable_ready()
                    .build(),
                glib::ParamSpecUInt::builder("threads")
                    .nick("Threads")
                    .blurb("CPU threads for each run of a graph; 0 = one per core, shared by all, 1 = results repeat bit for bit")
                    .maximum(256)
                    .default_value(default.threads)
                    .mutable_ready()
                    .build(),
                glib::ParamSpecEnum::builder_with_default("mode", default.mode)
                    .nick("Mode")
                    .blurb("Whether frames wait for their own analysis")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecEnum::builder_with_default("on-error", default.on_error)
                    .nick("On error")
                    .blurb("What to do when the model cannot be loaded or a frame cannot be analysed")
                    .mutable_playing()
                    .build(),
                glib::ParamSpecEnum::builder_with_default("face-source", default.face_source)
                    .nick("Face source")
                    .blurb("Who finds the faces")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecString::builder("face-detector")
                    .nick("Face detector")
                    .blurb("ONNX file of the face detector, CenterFace or YuNet; unset = the installed CenterFace")
                    .default_value(default.face_detector.as_deref())
                    .mutable_ready()
                    .build(),
                glib::ParamSpecUInt::builder("detection-size")
                    .nick("Detection size")
                    .blurb("Longer side, in pixels, of the picture in which new faces are looked for: those of 20 pixels there are found; larger finds smaller ones and costs more")
                    .minimum(32)
                    .maximum(4096)
                    .default_value(default.detection_size)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecUInt::builder("discovery-interval")
                    .nick("Discovery interval")
                    .blurb("Look for new faces in the whole frame about this often, in milliseconds, and after each cut; in between, known faces are looked for where they are expected; 0 = always")
                    .maximum(60_000)
                    .default_value(default.discovery_interval)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecFloat::builder("detection-threshold")
                    .nick("Detection threshold")
                    .blurb("Least confidence, 0..1, at which the detector's find is a new face")
                    .minimum(0.0)
                    .maximum(1.0)
                    .default_value(default.detection_threshold)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecUInt::builder("detect-interval")
                    .nick("Detect interval")
                    .blurb("Run the face detector on every n-th analysed frame; in between, boxes move on as they moved before")
                    .minimum(1)
                    .maximum(1000)
                    .default_value(default.detect_interval)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecUInt::builder("max-faces")
                    .nick("Maximum faces")
                    .blurb("Follow no more than this many faces of a frame: the largest")
                    .minimum(1)
                    .maximum(1000)
                    .default_value(default.max_faces)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecUInt::builder("min-face-size")
                    .nick("Minimum face size")
                    .blurb("Faces whose longer side is shorter, in pixels of the frame, are rejected as too-small")
                    .maximum(4096)
                    .default_value(default.min_face_size)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecDouble::builder("min-sharpness")
                    .nick("Minimum sharpness")
                    .blurb("Crops whose Laplacian has a smaller variance are rejected as blurred")
                    .minimum(0.0)
                    .maximum(1e6)
                    .default_value(default.min_sharpness)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecDouble::builder("min-luma")
                    .nick("Minimum luma")
                    .blurb("Crops with a smaller mean luma, 0..255, are rejected as too-dark")
                    .minimum(0.0)
                    .maximum(255.0)
                    .default_value(default.min_luma)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecFloat::builder("max-turn")
                    .nick("Maximum turn")
                    .blurb("Heads turned further, 0 (frontal)..1 (nose over one eye), are rejected as profile; 1 = none")
                    .minimum(0.0)
                    .maximum(1.0)
                    .default_value(default.max_turn)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecDouble::builder("fake-threshold")
                    .nick("Fake threshold")
                    .blurb("Score, 0..1, from which a face is called fake; -1 = the model's own")
                    .minimum(-1.0)
                    .maximum(1.0)
                    .default_value(default.fake_threshold)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecDouble::builder("authentic-threshold")
                    .nick("Authentic threshold")
                    .blurb("Score, 0..1, up to which a face is called authentic; -1 = the model's own")
                    .minimum(-1.0)
                    .maximum(1.0)
                    .default_value(default.authentic_threshold)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecDouble::builder("hysteresis")
                    .nick("Hysteresis")
                    .blurb("How far, 0..1, a score must come back over its threshold before the verdict is taken back; -1 = the model's own")
                    .minimum(-1.0)
                    .maximum(1.0)
                    .default_value(default.hysteresis)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecBoolean::builder("post-messages")
                    .nick("Post messages")
                    .blurb("Post an element message deepfake-report for each analysed frame; alerts are posted in any case")
                    .default_value(default.post_messages)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecUInt::builder("stats-interval")
                    .nick("Statistics interval")
                    .blurb("Post the property stats as an element message about this often, in milliseconds; 0 = never")
                    .default_value(default.stats_interval)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                    .nick("Statistics")
                    .blurb("State, model and device; frames passed, analysed, shed, failed and waiting; faces, tracks, alerts; time per frame and stage in nanoseconds")
                    .read_only()
                    .build(),
            ]
        });
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        const CHECKED: &str = "GObject has checked the type";
        let mut settings = self.settings();
        match pspec.name() {
            "model" => {
                settings.model = value.get::<Option<String>>().expect(CHECKED).unwrap_or_default();
                drop(settings);
                self.change_model();
            }
            "device" => settings.device = value.get::<Device>().expect(CHECKED),
            "require-device" => settings.require_device = value.get().expect(CHECKED),
            "threads" => settings.threads = value.get().expect(CHECKED),
            "mode" => settings.mode = value.get::<Mode>().expect(CHECKED),
            "on-error" => settings.on_error = value.get::<OnError>().expect(CHECKED),
            "face-source" => settings.face_source = value.get::<FaceSource>().expect(CHECKED),
            "face-detector" => settings.face_detector = value.get().expect(CHECKED),
            "detection-size" => settings.detection_size = value.get().expect(CHECKED),
            "discovery-interval" => settings.discovery_interval = value.get().expect(CHECKED),
            "detection-threshold" => settings.detection_threshold = value.get().expect(CHECKED),
            "detect-interval" => settings.detect_interval = value.get().expect(CHECKED),
            "max-faces" => settings.max_faces = value.get().expect(CHECKED),
            "min-face-size" => settings.min_face_size = value.get().expect(CHECKED),
            "min-sharpness" => settings.min_sharpness = value.get().expect(CHECKED),
            "min-luma" => settings.min_luma = value.get().expect(CHECKED),
            "max-turn" => settings.max_turn = value.get().expect(CHECKED),
            "fake-threshold" => settings.fake_threshold = value.get().expect(CHECKED),
            "authentic-threshold" => settings.authentic_threshold = value.get().expect(CHECKED),
            "hysteresis" => settings.hysteresis = value.get().expect(CHECKED),
            "post-messages" => settings.post_messages = value.get().expect(CHECKED),
            "stats-interval" => settings.stats_interval = value.get().expect(CHECKED),
            name => unreachable!("no property {name} can be set"),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "active-device" => return self.live().active_device.to_value(),
            "stats" => return self.stats().to_value(),
            _ => {}
        }
        let settings = self.settings();
        match pspec.name() {
            "model" => settings.model.to_value(),
            "device" => settings.device.to_value(),
            "require-device" => settings.require_device.to_value(),
            "threads" => settings.threads.to_value(),
            "mode" => settings.mode.to_value(),
            "on-error" => settings.on_error.to_value(),
            "face-source" => settings.face_source.to_value(),
            "face-detector" => settings.face_detector.to_value(),
            "detection-size" => settings.detection_size.to_value(),
            "discovery-interval" => settings.discovery_interval.to_value(),
            "detection-threshold" => settings.detection_threshold.to_value(),
            "detect-interval" => settings.detect_interval.to_value(),
            "max-faces" => settings.max_faces.to_value(),
            "min-face-size" => settings.min_face_size.to_value(),
            "min-sharpness" => settings.min_sharpness.to_value(),
            "min-luma" => settings.min_luma.to_value(),
            "max-turn" => settings.max_turn.to_value(),
            "fake-threshold" => settings.fake_threshold.to_value(),
            "authentic-threshold" => settings.authentic_threshold.to_value(),
            "hysteresis" => settings.hysteresis.to_value(),
            "post-messages" => settings.post_messages.to_value(),
            "stats-interval" => settings.stats_interval.to_value(),
            name => unreachable!("no property {name} can be read"),
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
        *self.live() = Live { readiness: Readiness::Warming, ..Live::default() };
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
        self.post_alerts(&self.clear());
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
            gst::EventView::FlushStop(_) | gst::EventView::StreamStart(_) | gst::EventView::Segment(_) => self.reset(),
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
        let waited = if is_gap { Duration::ZERO } else { self.take(buffer, arrived)? };
        let latest = {
            let live = self.live();
            if live.failed {
                return Err(gst::FlowError::Error);
            }
            live.latest.clone()
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
    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().expect("nothing panics while it holds the settings")
    }

    fn state(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().expect("nothing panics while it holds the state")
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().expect("nothing panics while it holds the live part")
    }

    fn frame_size(&self) -> Option<(u32, u32)> {
        let state = self.state();
        let info = state.as_ref()?.info.as_ref()?;
        Some((info.width(), info.height()))
    }

    /// Whether frames are analysed beside the stream, given whether upstream is live.
    fn is_async(&self, is_live: bool) -> bool {
        match self.settings().mode {
            Mode::Auto => is_live,
            Mode::Sync => false,
            Mode::Async => true,
        }
    }

    /// Loads and tries everything, and makes it known.
    fn load(&self, settings: &Settings, found: Found) -> Result<Analyzer, AnalysisError> {
        let began = Instant::now();
        if settings.device == Device::TensorRt {
            gst::element_imp_info!(
                self,
                gst::LibraryError::Init,
                ("TensorRT builds an engine for this GPU unless it finds one from before, which takes minutes; in live \
                     streams frames pass without analysis meanwhile")
            );
        }
        let mut analyzer = settings.load(found)?;
        let warm_up = analyzer.warm_up()?;
        gst::info!(
            CAT,
            imp = self,
            "{} on {}: loaded in {:?}, a frame with one face takes up to {warm_up:?}",
            analyzer.model().package().full_name(),
            analyzer.model().device().as_str(),
            began.elapsed(),
        );
        self.live().latency = latency_for(warm_up);
        self.announce(analyzer.model());
        self.watch_devices(&analyzer);
        Ok(analyzer)
    }

    /// Has everything loaded beside the stream. What goes wrong is posted.
    fn load_beside(&self, settings: Settings, found: Found) -> Result<Loading<Box<Analyzer>>, gst::ErrorMessage> {
        let element = self.obj().downgrade();
        let load = move || {
            let element = element.upgrade()?;
            let this = element.imp();
            match this.load(&settings, found) {
                Ok(analyzer) => Some(Box::new(analyzer)),
                Err(error) => {
                    if let Err(message) = this.complain(&error, &settings) {
                        this.live().failed = true;
                        this.post_error_message(message);
                    }
                    None
                }
            }
        };
        Loading::start(load)
            .map_err(|error| gst::error_msg!(gst::ResourceError::Failed, ("No thread to load the model: {error}")))
    }

    /// Makes known which model runs from now on, and on what.
    fn announce(&self, model: &Model) {
        {
            let mut live = self.live();
            live.readiness = Readiness::Running;
            live.model = Some(model.package().full_name());
        }
        self.place(Part::Model, model.placement());
    }

    /// Tells of devices that were lost or have come back.
    fn watch_devices(&self, analyzer: &Analyzer) {
        // Another model may have been announced while this one was still at work.
        if self.live().model.as_deref() == Some(&analyzer.model().package().full_name()) {
            self.place(Part::Model, analyzer.model().placement());
        }
        if let Some(placement) = analyzer.detector_placement() {
            self.place(Part::Detector, placement);
        }
    }

    /// Makes known where a part runs from now on, if that is news.
    fn place(&self, part: Part, placement: Placement) {
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
    fn complain(&self, error: &AnalysisError, settings: &Settings) -> Result<(), gst::ErrorMessage> {
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

    /// The property `model` was set: where another one is at work already, the new one is loaded beside it; where none could be
    /// loaded, everything is.
    fn change_model(&self) {
        let settings = self.settings().clone();
        if self.live().readiness == Readiness::Failed {
            return self.revive(settings);
        }
        // Let go of after the lock.
        let _over = {
            let mut guard = self.state();
            let Some(state) = guard.as_mut() else { return };
            let over = state.supersede();
            if state.model != settings.model {
                let name = settings.model.clone();
                match self.load_model_beside(settings, state.model.clone()) {
                    Ok(loading) => state.next_model = Some(NextModel { name, loading }),
                    Err(error) => gst::error!(CAT, imp = self, "no thread to load the model: {error}"),
                }
            }
            over
        };
    }

    /// Loads everything once more, beside the stream.
    fn revive(&self, settings: Settings) {
        if self.state().is_none() {
            return;
        }
        self.live().readiness = Readiness::Warming;
        let name = settings.model.clone();
        let loading = match settings.find() {
            Ok(found) => self.load_beside(settings, found),
            Err(error) => match self.complain(&error, &settings) {
                Ok(()) => return,
                Err(message) => Err(message),
            },
        };
        match loading {
            Ok(loading) => {
                // Let go of after the lock.
                let _over = self
                    .state()
                    .as_mut()
                    .map(|state| (state.supersede(), state.revival.replace(Revival { name, loading })));
            }
            Err(message) => {
                self.live().failed = true;
                self.post_error_message(message);
            }
        }
    }

    /// Loads the model of `settings`. If that fails, and nobody has asked for yet another one, the property goes back to `current`.
    fn load_model_beside(&self, settings: Settings, current: String) -> std::io::Result<Loading<Box<Model>>> {
        let element = self.obj().downgrade();
        Loading::start(move || {
            let element = element.upgrade()?;
            let this = element.imp();
            let began = Instant::now();
            let error = match settings.load_model() {
                Ok(model) => {
                    let name = model.package().full_name();
                    gst::info!(CAT, imp = this, "{name} loaded beside the stream in {:?}", began.elapsed());
                    // Where another one is wanted by now, it is let go here, where nobody waits for that.
                    let is_wanted = this.settings().model == settings.model;
                    return is_wanted.then(|| Box::new(model));
                }
                Err(error) => error,
            };
            {
                let mut now = this.settings();
                if now.model != settings.model {
                    return None;
                }
                now.model.clone_from(&current);
            }
            this.obj().notify("model");
            gst::element_imp_warning!(
                this,
                gst::LibraryError::Settings,
                ("{error}\nThe model {current} stays at work.")
            );
            None
        })
    }

    /// If everything has been loaded once more, it analyses from the next frame on.
    fn take_revival(&self) {
        let revival = {
            let mut guard = self.state();
            let Some(state) = guard.as_mut() else { return };
            match state.revival.take_if(|revival| revival.loading.is_over()) {
                Some(revival) => revival,
                // The first model has failed while another one was being loaded beside it.
                None if state.next_model.is_some() && self.live().readiness == Readiness::Failed => {
                    drop(guard);
                    return self.change_model();
                }
                None => return,
            }
        };
        let Some(analyzer) = revival.loading.wait() else { return };
        // The engine that has failed is let go of after the lock.
        let _failed = self.state().as_mut().map(|state| {
            state.model = revival.name;
            state.grid = Some(analyzer.grid());
            std::mem::replace(&mut state.engine, Engine::Idle(Loading::ready(analyzer)))
        });
    }

    /// If another model is ready, it judges from the next frame on.
    fn swap_model(&self) {
        let (next, engine) = {
            let mut guard = self.state();
            let Some(state) = guard.as_mut() else { return };
            let decided = matches!(state.engine, Engine::Sync(_) | Engine::Async(_));
            let Some(next) = state.next_model.take_if(|next| decided && next.loading.is_over()) else { return };
            (next, std::mem::replace(&mut state.engine, Engine::Away))
        };
        let model = next.loading.wait();
        let rate_hz = model.as_ref().map(|model| model.package().window.rate_hz);
        if let Some(model) = &model {
            gst::info!(CAT, imp = self, "{} takes over", model.package().full_name());
            self.announce(model);
        }
        let engine = match (engine, model) {
            (Engine::Sync(mut analyzer), Some(model)) => {
                let old = analyzer.set_model(*model);
                // Letting go of weights takes milliseconds, for which no frame waits.
                if let Err(error) = threads::run(Priority::Usual, move || drop(old)) {
                    gst::warning!(CAT, imp = self, "no thread to let go of the old model: {error}");
                }
                Engine::Sync(analyzer)
            }
            (Engine::Async(background), Some(model)) => {
                background.set_model(model);
                Engine::Async(background)
            }
            (engine, _) => engine,
        };
        if let Some(state) = self.state().as_mut() {
            state.engine = engine;
            if let Some(rate_hz) = rate_hz {
                state.model = next.name;
                state.grid = Some(Grid::new(rate_hz));
            }
        }
    }

    /// Takes a frame in: analyses it if it is due, or has it analysed. Returns how long that was waited for.
    fn take(&self, buffer: &gst::BufferRef, arrived: Instant) -> Result<Duration, gst::FlowError> {
        let moment = {
            let mut guard = self.state();
            let Some(state) = guard.as_mut() else { return Ok(Duration::ZERO) };
            let pts = buffer.pts().map(gst::ClockTime::nseconds);
            state.timeline.next(pts, buffer.duration().map(gst::ClockTime::nseconds))
        };
        if moment.jump {
            gst::info!(CAT, imp = self, "the stream jumps to {}", gst::ClockTime::from_nseconds(moment.pts));
            self.forget();
        }
        self.take_revival();
        self.swap_model();
        // No lock is held during the analysis, since it posts messages.
        let (engine, info) = {
            let mut guard = self.state();
            let Some(state) = guard.as_mut() else { return Ok(Duration::ZERO) };
            let Some(info) = &state.info else { return Err(gst::FlowError::NotNegotiated) };
            if !state.grid.as_mut().is_some_and(|grid| grid.take(moment.pts)) {
                return Ok(Duration::ZERO);
            }
            (std::mem::replace(&mut state.engine, Engine::Away), info.clone())
        };
        let (engine, result) = self.run(engine, buffer, info, moment.pts, arrived);
        if let Some(state) = self.state().as_mut() {
            state.engine = engine;
        }
        result
    }

    /// Analyses a frame, or hands it to the analysis thread. Gives the engine back, and how long the analysis was waited for.
    fn run(
        &self,
        engine: Engine,
        buffer: &gst::BufferRef,
        info: VideoInfo,
        pts: u64,
        arrived: Instant,
    ) -> (Engine, Result<Duration, gst::FlowError>) {
        match engine {
            Engine::Idle(loading) => match self.decide(loading) {
                Ok(engine) => self.run(engine, buffer, info, pts, arrived),
                Err(error) => (Engine::Away, Err(error)),
            },
            Engine::Sync(mut analyzer) => {
                let result = self.analyze(&mut analyzer, buffer, &info, pts, &|| false);
                // The streaming thread's own work so far is nothing beside it.
                (Engine::Sync(analyzer), result.map(|()| arrived.elapsed()))
            }
            Engine::Async(background) => {
                let dropped = background.submit(Job { buffer: share(buffer), info, pts, arrived });
                self.count_shed(dropped);
                (Engine::Async(background), Ok(Duration::ZERO))
            }
            Engine::Away => (Engine::Away, Ok(Duration::ZERO)),
        }
    }

    /// Counts frames that were due but are not analysed. Says so once, until the analysis has caught up.
    fn count_shed(&self, dropped: u64) {
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

    /// Decides, at the first frame, who analyses.
    fn decide(&self, loading: Loading<Box<Analyzer>>) -> Result<Engine, gst::FlowError> {
        let mut query = gst::query::Latency::new();
        let is_live = self.obj().sink_pad().peer_query(&mut query) && query.result().0;
        if !self.is_async(is_live) {
            gst::info!(CAT, imp = self, "frames wait for their analysis");
            return Ok(loading.wait().map_or(Engine::Away, Engine::Sync));
        }
        gst::info!(CAT, imp = self, "frames are analysed beside the stream");
        let element = self.obj().downgrade();
        let work = move |analyzer: &mut Analyzer, job: &Job, is_stale: &dyn Fn() -> bool| {
            if let Some(element) = element.upgrade() {
                let this = element.imp();
                this.live().stats.took(Stage::Wait, job.arrived.elapsed());
                // An error has been posted; the streaming thread learns of it from `Live::failed`.
                let _ = this.analyze(analyzer, &job.buffer, &job.info, job.pts, is_stale);
            }
        };
        Background::start(loading, Box::new(work)).map(Engine::Async).map_err(|error| {
            gst::element_imp_error!(self, gst::ResourceError::Failed, ("No thread for the analysis: {error}"));
            gst::FlowError::Error
        })
    }

    /// What the property `stats` holds.
    fn stats(&self) -> gst::Structure {
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
    fn tell_stats(&self) {
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

    /// Analyses one frame and tells the world. `is_stale` says afterwards whether the stream was reset meanwhile.
    fn analyze(
        &self,
        analyzer: &mut Analyzer,
        buffer: &gst::BufferRef,
        info: &VideoInfo,
        pts: u64,
        is_stale: &dyn Fn() -> bool,
    ) -> Result<(), gst::FlowError> {
        let settings = self.settings().clone();
        analyzer.set_settings(settings.analyzer());
        let began = Instant::now();
        let result = surviving(|| analyze_buffer(analyzer, buffer, info, pts, settings.face_source));
        if let Err(AnalysisError::Panicked(_)) = result {
            analyzer.reset();
        }
        let took = began.elapsed();
        self.watch_devices(analyzer);
        let result = result.map(|report| meta::Attachable::new(Arc::new(report)));

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
                let alerts = live.alerts.update(&report, analyzer.fake_threshold());
                live.stats.alerts += alerts.iter().filter(|alert| alert.action == Action::Raised).count() as u64;
                live.latest = Some(Arc::new(attachable));
                let slower = latency_for(took).max(live.latency);
                let slowed = std::mem::replace(&mut live.latency, slower) != slower;
                drop(live);
                self.tell(&report, took);
                if settings.post_messages {
                    let _ = self.obj().post_message(message::report(&*self.obj(), &report));
                }
                self.post_alerts_with(&alerts, &report);
                if slowed && self.obj().current_state() == gst::State::Playing {
                    gst::debug!(CAT, imp = self, "analysis took {took:?}: the latency is {slower} now");
                    let _ = self.obj().post_message(gst::message::Latency::builder().src(&*self.obj()).build());
                }
                Ok(())
            }
            Err(error) => {
                live.stats.failed += 1;
                live.latest = None;
                if matches!(error, AnalysisError::Inference(InferenceError::WorkerGone { .. })) {
                    // It does not mend itself; a `model` that is set from now on is loaded with all else.
                    live.readiness = Readiness::Failed;
                }
                let first = !std::mem::replace(&mut live.failing, true);
                live.failed = settings.on_error == OnError::Fail;
                let failed = live.failed;
                drop(live);
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
    fn tell(&self, report: &FrameReport, took: Duration) {
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

    /// A new stream, segment or size: nothing seen before belongs to what comes.
    fn reset(&self) {
        if let Some(state) = self.state().as_mut() {
            state.timeline.reset();
        }
        self.forget();
    }

    /// Forgets all faces.
    fn forget(&self) {
        if let Some(state) = self.state().as_mut() {
            state.grid.iter_mut().for_each(Grid::reset);
            match &mut state.engine {
                Engine::Idle(_) | Engine::Away => {}
                Engine::Sync(analyzer) => analyzer.reset(),
                Engine::Async(background) => background.reset(),
            }
        }
        self.post_alerts(&self.clear());
    }

    /// Drops what is known of the last frame. Returns the alerts that this clears, with the report they belong to.
    fn clear(&self) -> (Vec<Alert>, Option<Arc<FrameReport>>) {
        let mut live = self.live();
        (live.alerts.reset(), live.latest.take().map(|latest| latest.report().clone()))
    }

    /// Waits for the frames that are still being analysed.
    fn drain(&self) {
        let drain = match self.state().as_ref().map(|state| &state.engine) {
            Some(Engine::Async(background)) => background.drain(),
            _ => return,
        };
        drain.wait(DRAIN_PATIENCE);
    }

    fn post_alerts(&self, (alerts, report): &(Vec<Alert>, Option<Arc<FrameReport>>)) {
        if let Some(report) = report {
            self.post_alerts_with(alerts, report);
        }
    }

    fn post_alerts_with(&self, alerts: &[Alert], report: &FrameReport) {
        for alert in alerts {
            gst::info!(
                CAT,
                imp = self,
                "alert {} ({}) for face {}",
                alert.action.as_str(),
                alert.kind.as_str(),
                alert.track_id
            );
            let face = report.faces.iter().find(|face| face.track_id == alert.track_id);
            let _ = self.obj().post_message(message::alert(&*self.obj(), alert, face, report));
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

/// A buffer with the same pixels and metadata: only the head is copied. Since GStreamer 1.26 such a copy of a pool's buffer also
/// holds on to the buffer itself, which then could take no metadata until the copy is gone; so that reference is dropped.
fn share(buffer: &gst::BufferRef) -> gst::Buffer {
    let mut copy = buffer.copy();
    copy.make_mut().foreach_meta_mut(|mut meta| {
        let parent = meta.downcast_ref::<gst::meta::ParentBufferMeta>().map(|parent| parent.parent().as_ptr());
        let action = if parent == Some(buffer.as_ptr()) {
            gst::buffer::BufferMetaForeachAction::Remove
        } else {
            gst::buffer::BufferMetaForeachAction::Keep
        };
        std::ops::ControlFlow::Continue(action)
    });
    copy
}

fn analyze_buffer(
    analyzer: &mut Analyzer,
    buffer: &gst::BufferRef,
    info: &VideoInfo,
    pts: u64,
    face_source: FaceSource,
) -> Result<FrameReport, AnalysisError> {
    let mapped = VideoFrameRef::from_buffer_ref_readable(buffer, info).map_err(|_| AnalysisError::Unreadable)?;
    let view = frame::view(&mapped, pts)?;
    let given = (face_source == FaceSource::Upstream).then(|| upstream::faces(buffer));
    analyzer.analyze(&view, given.as_deref())
}

/// The latency to report when an analysis took this long: a quarter more, in whole steps.
fn latency_for(took: Duration) -> gst::ClockTime {
    let ns = took.as_nanos() as u64 / 4 * 5;
    LATENCY_STEP * ns.div_ceil(LATENCY_STEP.nseconds())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::Ordering;

    use gst_check::Harness;

    use super::*;
    use deepfake_engine::inference::ModelPackage;
    use deepfake_engine::inference::graph::GraphFile;
    use deepfake_engine::inference::testing::Fragile;

    #[test]
    fn a_pools_buffer_can_take_metadata_while_its_pixels_are_analysed() {
        gst::init().unwrap();
        let pool = gst::BufferPool::new();
        let mut config = pool.config();
        config.set_params(None, 64, 1, 0);
        pool.set_config(config).unwrap();
        pool.set_active(true).unwrap();
        let mut buffer = pool.acquire_buffer(None).unwrap();
        gst_video::VideoRegionOfInterestMeta::add(buffer.get_mut().unwrap(), "face", (1, 2, 3, 4));

        let shared = share(&buffer);
        assert!(buffer.get_mut().is_some(), "somebody else holds the buffer");
        assert_eq!(shared.iter_meta::<gst_video::VideoRegionOfInterestMeta>().count(), 1);
        let (here, there) = (buffer.map_readable().unwrap(), shared.map_readable().unwrap());
        assert_eq!(here.as_slice().as_ptr(), there.as_slice().as_ptr(), "the pixels were copied");
        drop((here, there));
        drop(shared);
        pool.set_active(false).unwrap();
    }

    /// A package of the graphs that a [`Fragile`] device runs.
    fn package(folder: &Path) -> ModelPackage {
        let mut toml = "[model]\nname = \"tiny\"\nversion = \"1.0\"\nkind = \"sequence\"\n\
                        [input]\nwidth = 16\nheight = 16\nmargin = 1.0\n\
                        [window]\nframes = 4\nrate_hz = 15.0\nleast_frames = 1\n[output]\nfake_index = 1\n"
            .to_owned();
        for (table, file, ports) in [
            ("encoder", "encoder.onnx", "input = \"crops\"\noutput = \"features\"\nfeature_length = 3\n"),
            ("head", "head.onnx", "input = \"windows\"\noutput = \"scores\"\n"),
        ] {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file);
            std::fs::copy(&source, folder.join(file)).unwrap();
            let sha256 = GraphFile::read(&source).unwrap().sha256;
            toml += &format!("[{table}]\nfile = \"{file}\"\nsha256 = \"{sha256}\"\n{ports}");
        }
        std::fs::write(folder.join("model.toml"), toml).unwrap();
        ModelPackage::load(folder).unwrap()
    }

    /// The element with the package in `folder`, taking frames of 64×64, and its bus.
    fn playing(folder: &Path, options: &str) -> (super::super::DeepfakeDetect, Harness, gst::Bus) {
        gst::init().unwrap();
        let _ = crate::plugin_register_static();
        let element = gst::parse::launch(&format!(
            "deepfakedetect model={} device=cpu face-source=upstream min-face-size=0 min-sharpness=0 min-luma=0 {options}",
            folder.display()
        ));
        let element = element.unwrap().downcast::<super::super::DeepfakeDetect>().unwrap();
        let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        harness.play();
        harness.set_src_caps_str("video/x-raw,format=GRAY8,width=64,height=64,framerate=15/1,colorimetry=1:4:0:0");
        (element, harness, bus)
    }

    /// A frame with a face.
    fn frame(luma: u8, pts: u64) -> gst::Buffer {
        let mut buffer = gst::Buffer::from_mut_slice(vec![luma; 64 * 64]);
        let fresh = buffer.get_mut().unwrap();
        fresh.set_pts(gst::ClockTime::from_nseconds(pts));
        gst_video::VideoRegionOfInterestMeta::add(fresh, meta::ROI_TYPE, (16, 16, 32, 32));
        buffer
    }

    #[test]
    fn a_panic_where_a_graph_is_run_costs_no_frame_and_setting_the_model_mends_it() {
        for mode in ["sync", "async"] {
            let folder = tempfile::tempdir().unwrap();
            let package = package(folder.path());
            let (element, mut harness, bus) = playing(folder.path(), &format!("mode={mode}"));
            let this = element.imp();
            let worker = Arc::new(Fragile::default()).worker(false);
            let model = Model::with_worker(package, worker.clone()).unwrap();
            let analyzer = Analyzer::new(model, None, this.settings().analyzer());
            this.live().placements = Default::default();
            this.announce(analyzer.model());
            this.state().as_mut().unwrap().engine = Engine::Idle(Loading::ready(Box::new(analyzer)));

            let mut pts = 0;
            let mut pass_until = |so: &dyn Fn(Option<FrameReport>) -> bool| {
                let until = Instant::now() + Duration::from_secs(60);
                loop {
                    let buffer = harness.push_and_pull(frame(100, pts)).expect("each frame goes on");
                    assert_eq!(buffer.pts(), Some(gst::ClockTime::from_nseconds(pts)));
                    pts += 1_000_000_000 / 15;
                    if so(meta::read(&buffer)) {
                        return;
                    }
                    assert!(Instant::now() < until, "{mode}: it never comes to that");
                    std::thread::yield_now();
                }
            };
            let has_score = |report: Option<FrameReport>| {
                report.is_some_and(|report| report.faces.iter().any(|face| face.score.is_some()))
            };
            pass_until(&has_score);

            // As it would be if ONNX Runtime's bindings panicked over a frame of another channel.
            let crop = ndarray::ArrayD::zeros(vec![1, 3, 16, 16]);
            let gone = worker.run(0, crop.view(), |_| panic!("of a test"));
            assert_eq!(gone, Err::<(), _>(InferenceError::WorkerGone { cause: "a panic: of a test".into() }));
            let told = std::cell::RefCell::new(Vec::new());
            pass_until(&|report| {
                let news = bus.pop_filtered(&[gst::MessageType::Warning, gst::MessageType::Error]);
                told.borrow_mut().extend(news);
                report.is_none() && !told.borrow().is_empty()
            });
            (0..20).for_each(|_| pass_until(&|report| report.is_none()));
            told.borrow_mut().extend(bus.pop_filtered(&[gst::MessageType::Warning, gst::MessageType::Error]));
            let told = told.into_inner();
            let [told] = &told[..] else { panic!("{told:?}") };
            let gst::MessageView::Warning(warning) = told.view() else { panic!("{told:?}") };
            assert!(format!("{warning:?}").contains("worker has stopped: a panic: of a test"), "{warning:?}");
            assert_eq!(this.stats().get::<&str>("state"), Ok("failed"));

            element.set_property("model", folder.path().display().to_string());
            pass_until(&has_score);
            assert_eq!(this.stats().get::<&str>("state"), Ok("running"));
        }
    }

    /// A fault of our own, in the thread that analyses beside the stream.
    #[test]
    fn a_panic_of_the_analysis_keeps_nobody_waiting() {
        gst::init().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let model = Model::with_worker(package(folder.path()), Arc::new(Fragile::default()).worker(false)).unwrap();
        let analyzer = Analyzer::new(model, None, Settings::default().analyzer());
        let (told, tell) = std::sync::mpsc::channel();
        let work = move |_: &mut Analyzer, _: &Job, _: &dyn Fn() -> bool| {
            told.send(()).unwrap();
            panic!("of a test");
        };
        let background = Background::start(Loading::ready(Box::new(analyzer)), Box::new(work)).unwrap();
        let info = VideoInfo::builder(gst_video::VideoFormat::Gray8, 64, 64).build().unwrap();
        let job = || Job { buffer: frame(100, 0), info: info.clone(), pts: 0, arrived: Instant::now() };
        background.submit(job());
        tell.recv().unwrap();
        let began = Instant::now();
        background.submit(job());
        background.drain().wait(Duration::from_secs(600));
        assert_eq!((background.submit(job()), background.depth()), (0, 0));
        drop(background);
        assert!(began.elapsed() < Duration::from_secs(60));
        assert!(tell.recv().is_err(), "it has gone on after the panic");
    }

    #[test]
    fn a_device_that_is_lost_and_comes_back_is_told_of_and_costs_no_frame() {
        let folder = tempfile::tempdir().unwrap();
        let package = package(folder.path());
        let (element, mut harness, bus) = playing(folder.path(), "mode=sync on-error=fail");

        // A machine with a device that fails at a moment of our choice is not to be had; but its sessions are.
        let device = Fragile::broken();
        let this = element.imp();
        let model = Model::with_worker(package, device.worker(false)).unwrap();
        let analyzer = Analyzer::new(model, None, this.settings().analyzer());
        this.live().placements = Default::default();
        this.announce(analyzer.model());
        this.state().as_mut().unwrap().engine = Engine::Sync(Box::new(analyzer));

        // Alerts and latencies are no news here.
        let news = || bus.pop_filtered(&[gst::MessageType::Warning, gst::MessageType::Info, gst::MessageType::Error]);
        let mut pts = 0;
        let mut pass = |luma: u8| {
            let buffer = harness.push_and_pull(frame(luma, pts)).unwrap();
            pts += 1_000_000_000 / 15;
            let report = meta::read(&buffer).expect("each frame has its report");
            assert!(report.faces[0].score.is_some());
            assert_eq!(Some(report.device), element.property::<Option<String>>("active-device"));
            element.property::<Option<String>>("active-device").unwrap()
        };
        assert_eq!(pass(100), "cuda");
        assert!(news().is_none(), "nothing has happened yet");
        assert_eq!(pass(255), "cpu");
        let warning = news().expect("the loss is told");
        let gst::MessageView::Warning(warning) = warning.view() else { panic!("{warning:?}") };
        assert!(warning.error().message().contains("model: cuda was lost in mid-stream"), "{warning:?}");
        while device.opened.load(Ordering::SeqCst) < 3 {
            assert_eq!(pass(255), "cpu");
        }
        assert!(news().is_none(), "it is told once");

        device.broken.store(false, Ordering::SeqCst);
        while pass(255) != "cuda" {}
        let info = news().expect("that it is back is told");
        let gst::MessageView::Info(info) = info.view() else { panic!("{info:?}") };
        assert!(info.error().message().contains("model: cuda is back"), "{info:?}");
        assert!(news().is_none());
        assert_eq!(this.live().stats.failed, 0);
    }
}
