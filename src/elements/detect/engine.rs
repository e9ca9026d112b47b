//! Who analyses: idle, the streaming thread or a thread of its own; how models are loaded, swapped and loaded once more.

use std::time::{Duration, Instant};

use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_video::{VideoFrameRef, VideoInfo};

use super::background::{Background, Job};
use super::imp::{CAT, DeepfakeDetect};
use super::loading::Loading;
use super::outlet::Arrival;
use super::publisher::{Readiness, latency_for};
use super::settings::{Found, Settings};
use super::stats::Stage;
use super::threads::{self, Priority};
use super::timeline::{Moment, Timeline};
use super::{Device, FaceSource, upstream};
use crate::elements::frame;
use deepfake_engine::analysis::analyzer::Analyzer;
use deepfake_engine::analysis::window::Grid;
use deepfake_engine::analysis::{AnalysisError, surviving};
use deepfake_engine::inference::Model;
use deepfake_report::FrameReport;

/// How long EOS waits for the frames that are still being analysed beside the stream.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct State {
    pub(super) info: Option<VideoInfo>,
    pub(super) timeline: Timeline,
    /// What turns PTS into running time; `None` while it does not.
    pub(super) segment: Option<gst::FormattedSegment<gst::ClockTime>>,
    /// Which frames are due; `None` while there is no model.
    pub(super) grid: Option<Grid>,
    pub(super) engine: Engine,
    /// The value of the property `model` that is in force.
    pub(super) model: String,
    /// Another one that is to take its place.
    pub(super) next_model: Option<NextModel>,
    /// Those that were to, until yet another one was asked for. They are let go once they are loaded.
    pub(super) superseded: Vec<Loading<Box<Model>>>,
    /// Everything, loaded once more because it failed before.
    pub(super) revival: Option<Revival>,
    /// When `stats` was last posted.
    pub(super) told: Instant,
}

impl State {
    /// Where a buffer stands in running time; `None` for one that is stamped wrongly.
    fn moment(&mut self, buffer: &gst::BufferRef) -> Option<Moment> {
        let time = match (buffer.pts(), &self.segment) {
            (Some(pts), Some(segment)) => match segment.to_running_time_full(pts) {
                Some(gst::Signed::Negative(_)) => return None,
                Some(gst::Signed::Positive(time)) => Some(time),
                None => None,
            },
            (pts, _) => pts,
        };
        self.timeline.next(time.map(gst::ClockTime::nseconds), buffer.duration().map(gst::ClockTime::nseconds))
    }

    /// Nobody waits any more for the model that is being loaded. Returns those of its kind that are loaded, to be let go.
    pub(super) fn supersede(&mut self) -> Vec<Loading<Box<Model>>> {
        self.superseded.extend(self.next_model.take().map(|next| next.loading));
        self.superseded.extract_if(.., |loading| loading.is_over()).collect()
    }
}

/// A model that is being loaded while another one is at work.
pub(super) struct NextModel {
    pub(super) name: String,
    pub(super) loading: Loading<Box<Model>>,
}

/// See [`State::revival`].
pub(super) struct Revival {
    pub(super) name: String,
    pub(super) loading: Loading<Box<Analyzer>>,
}

/// Who analyses.
pub(super) enum Engine {
    /// Not decided: no frame has come yet.
    Idle(Loading<Box<Analyzer>>),
    /// The streaming thread.
    Sync(Box<Analyzer>),
    /// A thread of its own.
    Async(Background),
    /// The streaming thread is at it right now, or nobody: nothing could be loaded, or no thread be started.
    Away,
}

impl DeepfakeDetect {
    /// Loads and tries everything, and makes it known.
    pub(super) fn load(&self, settings: &Settings, found: Found) -> Result<Analyzer, AnalysisError> {
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
    pub(super) fn load_beside(
        &self,
        settings: Settings,
        found: Found,
    ) -> Result<Loading<Box<Analyzer>>, gst::ErrorMessage> {
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

    /// The property `model` was set: where another one is at work already, the new one is loaded beside it; where none could be
    /// loaded, everything is.
    pub(super) fn change_model(&self) {
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
    pub(super) fn revive(&self, settings: Settings) {
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
    pub(super) fn load_model_beside(
        &self,
        settings: Settings,
        current: String,
    ) -> std::io::Result<Loading<Box<Model>>> {
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
    pub(super) fn take_revival(&self) {
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
    pub(super) fn swap_model(&self) {
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

    /// Takes a frame in: analyses it if it is due, or has it analysed. Returns how long that was waited for; `None` for a stray
    /// frame, which changes nothing.
    pub(super) fn take(&self, buffer: &gst::BufferRef, arrived: Instant) -> Result<Option<Duration>, gst::FlowError> {
        let moment = {
            let mut guard = self.state();
            let Some(state) = guard.as_mut() else { return Ok(Some(Duration::ZERO)) };
            state.moment(buffer)
        };
        let Some(moment) = moment else {
            gst::debug!(CAT, imp = self, "the frame at {:?} is elsewhere, and is not analysed", buffer.pts());
            return Ok(None);
        };
        if moment.jump {
            gst::info!(CAT, imp = self, "the stream jumps to {}", gst::ClockTime::from_nseconds(moment.pts));
            self.live().stats.jumps += 1;
            self.forget();
        }
        self.take_revival();
        self.swap_model();
        // No lock is held during the analysis, since it posts messages.
        let (engine, info) = {
            let mut guard = self.state();
            let Some(state) = guard.as_mut() else { return Ok(Some(Duration::ZERO)) };
            let Some(info) = &state.info else { return Err(gst::FlowError::NotNegotiated) };
            if !state.grid.as_mut().is_some_and(|grid| grid.take(moment.pts)) {
                return Ok(Some(Duration::ZERO));
            }
            (std::mem::replace(&mut state.engine, Engine::Away), info.clone())
        };
        let (engine, result) = self.run(engine, buffer, info, moment.pts, arrived);
        if let Some(state) = self.state().as_mut() {
            state.engine = engine;
        }
        result.map(Some)
    }

    /// Analyses a frame, or hands it to the analysis thread. Gives the engine back, and how long the analysis was waited for.
    pub(super) fn run(
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
                let arrival = Arrival { time: pts, at: arrived };
                let result = self.analyze(&mut analyzer, buffer, &info, arrival, &|| false);
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

    /// Decides, at the first frame, who analyses.
    pub(super) fn decide(&self, loading: Loading<Box<Analyzer>>) -> Result<Engine, gst::FlowError> {
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
                let arrival = Arrival { time: job.pts, at: job.arrived };
                let _ = this.analyze(analyzer, &job.buffer, &job.info, arrival, is_stale);
            }
        };
        Background::start(loading, Box::new(work)).map(Engine::Async).map_err(|error| {
            gst::element_imp_error!(self, gst::ResourceError::Failed, ("No thread for the analysis: {error}"));
            gst::FlowError::Error
        })
    }

    /// Analyses one frame and tells the world. `is_stale` says afterwards whether the stream was reset meanwhile.
    pub(super) fn analyze(
        &self,
        analyzer: &mut Analyzer,
        buffer: &gst::BufferRef,
        info: &VideoInfo,
        arrival: Arrival,
        is_stale: &dyn Fn() -> bool,
    ) -> Result<(), gst::FlowError> {
        let settings = self.settings().clone();
        analyzer.set_settings(settings.analyzer());
        let began = Instant::now();
        let result = surviving(|| analyze_buffer(analyzer, buffer, info, arrival.time, settings.face_source));
        if let Err(AnalysisError::Panicked(_)) = result {
            analyzer.reset();
        }
        let took = began.elapsed();
        self.watch_devices(analyzer);
        self.publish(analyzer, result, arrival, took, &settings, is_stale)
    }

    /// A new segment. Only one that means other times is a new stream.
    pub(super) fn set_segment(&self, segment: &gst::Segment) {
        let new = segment.downcast_ref::<gst::ClockTime>();
        let meaning = |segment: &gst::FormattedSegment<gst::ClockTime>| {
            (segment.rate(), segment.base(), segment.offset(), segment.start(), segment.time())
        };
        let changed = {
            let mut guard = self.state();
            let Some(state) = guard.as_mut() else { return };
            let old = std::mem::replace(&mut state.segment, new.cloned());
            old.as_ref().map(meaning) != new.map(meaning)
        };
        if changed {
            gst::debug!(CAT, imp = self, "new segment {segment:?}");
            self.reset();
        }
    }

    /// There is no picture from `pts` on, for so long: time goes on without one.
    pub(super) fn skip(&self, pts: Option<gst::ClockTime>, duration: Option<gst::ClockTime>) {
        if let Some(state) = self.state().as_mut()
            && let Some(pts) = pts
        {
            let time = match &state.segment {
                Some(segment) => segment.to_running_time(pts),
                None => Some(pts),
            };
            if let Some(time) = time {
                state.timeline.skip(time.nseconds(), duration.map(gst::ClockTime::nseconds));
            }
        }
    }

    /// A new stream or size: nothing seen before belongs to what comes.
    pub(super) fn reset(&self) {
        if let Some(state) = self.state().as_mut() {
            state.timeline.reset();
        }
        self.forget();
    }

    /// Forgets all faces.
    pub(super) fn forget(&self) {
        if let Some(state) = self.state().as_mut() {
            state.grid.iter_mut().for_each(Grid::reset);
            match &mut state.engine {
                Engine::Idle(_) | Engine::Away => {}
                Engine::Sync(analyzer) => analyzer.reset(),
                Engine::Async(background) => background.reset(),
            }
        }
        self.clear();
    }

    /// Waits for the frames that are still being analysed.
    pub(super) fn drain(&self) {
        let drain = match self.state().as_ref().map(|state| &state.engine) {
            Some(Engine::Async(background)) => background.drain(),
            _ => return,
        };
        drain.wait(DRAIN_PATIENCE);
    }
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
    time: u64,
    face_source: FaceSource,
) -> Result<FrameReport, AnalysisError> {
    let mapped = VideoFrameRef::from_buffer_ref_readable(buffer, info).map_err(|_| AnalysisError::Unreadable)?;
    let view = frame::view(&mapped, time)?;
    let given = (face_source == FaceSource::Upstream).then(|| upstream::faces(buffer));
    let mut report = analyzer.analyze(&view, given.as_deref())?;
    // The analysis knows running time only.
    let to_pts = |at: u64| buffer.pts().map_or(at, |pts| pts.nseconds().saturating_sub(time.saturating_sub(at)));
    report.pts = to_pts(time);
    report.running_time = Some(time);
    for face in &mut report.faces {
        face.window_start = face.window_start.map(to_pts);
        face.window_end = face.window_end.map(to_pts);
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use gst_check::Harness;

    use super::*;
    use deepfake_engine::inference::graph::GraphFile;
    use deepfake_engine::inference::testing::Fragile;
    use deepfake_engine::inference::{InferenceError, ModelPackage};
    use deepfake_report::meta;

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
