//! Glue between GStreamer and the [`Analyzer`].

use std::sync::{Arc, LazyLock, Mutex, MutexGuard, Once};
use std::time::{Duration, Instant};

use glib::ParamSpecBuilderExt;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use gst_video::{VideoFrameRef, VideoInfo};

use super::background::{Background, Job};
use super::settings::Settings;
use super::stats::Stats;
use super::timeline::Timeline;
use super::{Device, FaceSource, Mode, OnError, upstream};
use crate::analysis::AnalysisError;
use crate::analysis::analyzer::Analyzer;
use crate::analysis::window::Grid;
use crate::elements::frame;
use crate::inference::InferenceError;
use crate::inference::runtime::{self, Severity};
use crate::report::FrameReport;
use crate::report::alert::{Action, Alert, AlertWatch};
use crate::report::{message, meta};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("deepfakedetect", gst::DebugColorFlags::empty(), Some("Live deepfake detection"))
});

/// ONNX Runtime's own log.
static ONNX_CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("onnxruntime", gst::DebugColorFlags::empty(), Some("ONNX Runtime, used by deepfakedetect"))
});

/// How long EOS waits for the frames that are still being analysed beside the stream.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);
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
    grid: Grid,
    engine: Engine,
}

/// Who analyses.
enum Engine {
    /// Not decided: no frame has come yet.
    Idle(Box<Analyzer>),
    /// The streaming thread.
    Sync(Box<Analyzer>),
    /// A thread of its own.
    Async(Background),
    /// The streaming thread is at it right now, or no thread could be started.
    Away,
}

#[derive(Default)]
struct Live {
    latest: Option<Arc<FrameReport>>,
    alerts: AlertWatch,
    stats: Stats,
    active_device: Option<&'static str>,
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
                    .blurb("Name of an installed model package, or path of a folder that holds one")
                    .default_value(Some(default.model.as_str()))
                    .mutable_ready()
                    .build(),
                glib::ParamSpecEnum::builder_with_default("device", default.device)
                    .nick("Device")
                    .blurb("What to run the model on; see active-device for what it does run on")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecString::builder("active-device")
                    .nick("Active device")
                    .blurb("What the model runs on right now: cpu, cuda, tensorrt or openvino; unset while stopped")
                    .read_only()
                    .build(),
                glib::ParamSpecBoolean::builder("require-device")
                    .nick("Require device")
                    .blurb("Fail to start if the device asked for does not work, instead of falling back to the CPU")
                    .default_value(default.require_device)
                    .mutable_ready()
                    .build(),
                glib::ParamSpecUInt::builder("threads")
                    .nick("Threads")
                    .blurb("CPU threads for each graph; 0 = as ONNX Runtime sees fit, 1 = results repeat bit for bit")
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
                    .blurb("Longer side, in pixels, of the picture the face detector sees; larger finds smaller faces and costs more")
                    .minimum(32)
                    .maximum(4096)
                    .default_value(default.detection_size)
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
                glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                    .nick("Statistics")
                    .blurb("Frames passed, analysed, shed and failed, faces, alerts, and time per analysis in nanoseconds")
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
            "model" => settings.model = value.get::<Option<String>>().expect(CHECKED).unwrap_or_default(),
            "device" => settings.device = value.get::<Device>().expect(CHECKED),
            "require-device" => settings.require_device = value.get().expect(CHECKED),
            "threads" => settings.threads = value.get().expect(CHECKED),
            "mode" => settings.mode = value.get::<Mode>().expect(CHECKED),
            "on-error" => settings.on_error = value.get::<OnError>().expect(CHECKED),
            "face-source" => settings.face_source = value.get::<FaceSource>().expect(CHECKED),
            "face-detector" => settings.face_detector = value.get().expect(CHECKED),
            "detection-size" => settings.detection_size = value.get().expect(CHECKED),
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
            name => unreachable!("no property {name} can be set"),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "active-device" => return self.live().active_device.to_value(),
            "stats" => return self.live().stats.structure().to_value(),
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
        *self.live() = Live::default();
        bridge_log();
        let began = Instant::now();
        let mut analyzer = match settings.load() {
            Ok(analyzer) => analyzer,
            Err(error) => {
                let required = matches!(error, AnalysisError::Inference(InferenceError::Device { .. }));
                if settings.on_error == OnError::Fail || required {
                    return Err(gst::error_msg!(gst::LibraryError::Init, ("{error}")));
                }
                gst::element_imp_warning!(
                    self,
                    gst::LibraryError::Init,
                    ("{error}\nFrames pass without analysis. Set on-error=fail to stop instead.")
                );
                return Ok(());
            }
        };
        let model = analyzer.model();
        if let Some(reason) = model.fallback() {
            gst::element_imp_warning!(self, gst::LibraryError::Init, ("{reason}"));
        }
        let device = model.device().as_str();
        let warm_up = analyzer
            .warm_up()
            .map_err(|error| gst::error_msg!(gst::LibraryError::Init, ("The model fails its first run: {error}")))?;
        gst::info!(
            CAT,
            imp = self,
            "{} on {device}: loaded in {:?}, a frame with one face takes {warm_up:?}",
            analyzer.model().package().full_name(),
            began.elapsed(),
        );
        {
            let mut live = self.live();
            live.active_device = Some(device);
            live.latency = latency_for(warm_up);
        }
        *self.state() = Some(State {
            info: None,
            timeline: Timeline::default(),
            grid: analyzer.grid(),
            engine: Engine::Idle(Box::new(analyzer)),
        });
        self.obj().notify("active-device");
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        let state = self.state().take();
        // Ends the analysis thread, which takes `live`.
        drop(state);
        self.post_alerts(&self.clear());
        self.live().active_device = None;
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
        self.live().stats.frames += 1;
        if !buffer.flags().contains(gst::BufferFlags::GAP) {
            self.take(buffer)?;
        }
        let live = self.live();
        if live.failed {
            return Err(gst::FlowError::Error);
        }
        let latest = live.latest.clone();
        drop(live);
        if let (Some(report), Some((width, height))) = (latest, self.frame_size()) {
            meta::attach(buffer, &report, width, height).expect("the plugin has registered its meta");
        }
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

    /// Takes a frame in: analyses it if it is due, or has it analysed.
    fn take(&self, buffer: &gst::BufferRef) -> Result<(), gst::FlowError> {
        let moment = {
            let mut guard = self.state();
            let Some(state) = guard.as_mut() else { return Ok(()) };
            let pts = buffer.pts().map(gst::ClockTime::nseconds);
            state.timeline.next(pts, buffer.duration().map(gst::ClockTime::nseconds))
        };
        if moment.jump {
            gst::info!(CAT, imp = self, "the stream jumps to {}", gst::ClockTime::from_nseconds(moment.pts));
            self.forget();
        }
        // No lock is held during the analysis, since it posts messages.
        let (engine, info) = {
            let mut guard = self.state();
            let Some(state) = guard.as_mut() else { return Ok(()) };
            let Some(info) = &state.info else { return Err(gst::FlowError::NotNegotiated) };
            if !state.grid.take(moment.pts) {
                return Ok(());
            }
            (std::mem::replace(&mut state.engine, Engine::Away), info.clone())
        };
        let (engine, result) = self.run(engine, buffer, info, moment.pts);
        if let Some(state) = self.state().as_mut() {
            state.engine = engine;
        }
        result
    }

    /// Analyses a frame, or hands it to the analysis thread. Gives the engine back.
    fn run(
        &self,
        engine: Engine,
        buffer: &gst::BufferRef,
        info: VideoInfo,
        pts: u64,
    ) -> (Engine, Result<(), gst::FlowError>) {
        match engine {
            Engine::Idle(analyzer) => match self.decide(analyzer) {
                Ok(engine) => self.run(engine, buffer, info, pts),
                Err(error) => (Engine::Away, Err(error)),
            },
            Engine::Sync(mut analyzer) => {
                let result = self.analyze(&mut analyzer, buffer, &info, pts, &|| false);
                (Engine::Sync(analyzer), result)
            }
            Engine::Async(background) => {
                let dropped = background.submit(Job { buffer: share(buffer), info, pts });
                self.live().stats.shed += dropped;
                (Engine::Async(background), Ok(()))
            }
            Engine::Away => (Engine::Away, Ok(())),
        }
    }

    /// Decides, at the first frame, who analyses.
    fn decide(&self, analyzer: Box<Analyzer>) -> Result<Engine, gst::FlowError> {
        let mut query = gst::query::Latency::new();
        let is_live = self.obj().sink_pad().peer_query(&mut query) && query.result().0;
        if !self.is_async(is_live) {
            gst::info!(CAT, imp = self, "frames wait for their analysis");
            return Ok(Engine::Sync(analyzer));
        }
        gst::info!(CAT, imp = self, "frames are analysed beside the stream");
        let element = self.obj().downgrade();
        let work = move |analyzer: &mut Analyzer, job: &Job, is_stale: &dyn Fn() -> bool| {
            if let Some(element) = element.upgrade() {
                // An error has been posted; the streaming thread learns of it from `Live::failed`.
                let _ = element.imp().analyze(analyzer, &job.buffer, &job.info, job.pts, is_stale);
            }
        };
        Background::start(*analyzer, Box::new(work)).map(Engine::Async).map_err(|error| {
            gst::element_imp_error!(self, gst::ResourceError::Failed, ("No thread for the analysis: {error}"));
            gst::FlowError::Error
        })
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
        let result = analyze_buffer(analyzer, buffer, info, pts, settings.face_source);
        let took = began.elapsed();

        let mut live = self.live();
        if is_stale() {
            return Ok(());
        }
        match result {
            Ok(report) => {
                live.stats.analysed(report.faces.len(), took);
                live.failing = false;
                let alerts = live.alerts.update(&report, analyzer.fake_threshold());
                live.stats.alerts += alerts.iter().filter(|alert| alert.action == Action::Raised).count() as u64;
                let report = Arc::new(report);
                live.latest = Some(report.clone());
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
            state.grid.reset();
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
        (live.alerts.reset(), live.latest.take())
    }

    /// Waits for the frames that are still being analysed.
    fn drain(&self) {
        if let Some(State { engine: Engine::Async(background), .. }) = self.state().as_ref() {
            background.drain(DRAIN_PATIENCE);
        }
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
    use super::*;

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
}
