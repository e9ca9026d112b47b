//! Who analyses: the process's executor, in which each element has a channel; how models are loaded, swapped and loaded once more.
//!
//! # Who holds what
//! The analyzer lives in the executor, and nobody else sees it. It is loaded by a thread that nobody waits for and then attached to
//! the element's channel. Whoever has no interest any more in what is being loaded draws another ticket; what comes of the old one
//! is dropped where it was loaded.
//!
//! Locks are taken in the order state, live. The streaming thread takes neither `live`, which threads of lower priority hold, nor
//! any other lock of theirs on a frame's way: what it needs of them is in [`Flow`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_video::{VideoFrameRef, VideoInfo};

use super::imp::{CAT, DeepfakeDetect};
use super::publisher::{News, Readiness};
use super::settings::{Found, Settings};
use super::stats::Recent;
use super::threads;
use super::timeline::{Moment, Timeline};
use super::{Device, FaceSource, Mode, upstream};
use crate::elements::frame;
use deepfake_engine::analysis::analyzer::Analyzer;
use deepfake_engine::analysis::follower::ShotWatch;
use deepfake_engine::analysis::frame::Orientation;
use deepfake_engine::analysis::tracker::cut::Shot;
use deepfake_engine::analysis::window::Grid;
use deepfake_engine::analysis::{AnalysisError, catch_panic};
use deepfake_engine::executor::{Channel, Executor, Work};
use deepfake_engine::inference::Model;
use deepfake_report::{FrameReport, meta};

/// How long EOS waits for the frame that is still being analysed beside the stream.
const MAX_DRAIN: Duration = Duration::from_millis(50);
/// Due frames in a row that must be in time for the analysis to have caught up.
const CAUGHT_UP: u32 = 100;

/// Of the streaming thread, and of threads of the same priority.
pub(super) struct State {
    pub(super) info: Option<VideoInfo>,
    /// As the stream's tags have it.
    pub(super) orientations: frame::Orientations,
    pub(super) timeline: Timeline,
    /// What turns PTS into running time; `None` while it does not.
    pub(super) segment: Option<gst::FormattedSegment<gst::ClockTime>>,
    /// Which frames are due; `None` while there is no model.
    pub(super) grid: Option<Grid>,
    /// Looks at every frame that waits, also where it is not due: no frame of a new shot is to carry the old one's verdict.
    shots: ShotWatch,
    /// What was said of the last frame.
    shot: Shot,
    pub(super) channel: Channel<Analysis>,
    /// Nobody is to wait for anything.
    interrupted: bool,
    /// Whether frames wait for their analysis; `None` until the first one.
    pub(super) waits: Option<bool>,
    /// What frames carry.
    pub(super) latest: Option<Arc<meta::Attachable>>,
    /// The value of the property `model` that is in force.
    pub(super) model: Option<String>,
    /// That of the model that is being loaded.
    pub(super) loading: Option<Option<String>>,
    /// Of the newest loading.
    pub(super) ticket: u64,
    /// Above zero while frames are being shed, which has been logged: frames in time until the analysis has caught up.
    pub(super) behind: u32,
    /// When `stats` was last posted.
    pub(super) posted_stats: Instant,
    /// The element's own work for each frame.
    pub(super) stream_times: Recent,
}

/// A frame to analyse.
pub(super) struct Job {
    buffer: gst::Buffer,
    info: VideoInfo,
    orientation: Orientation,
    /// Running time in nanoseconds.
    pub(super) time: u64,
    /// Of the channel, when the frame came.
    pub(super) epoch: u64,
    pub(super) settings: Arc<Settings>,
    /// When it came.
    pub(super) arrived: Instant,
    /// Whether it waits for its analysis.
    pub(super) waits: bool,
}

/// What the executor does with an element's frames.
pub(super) struct Analysis {
    analyzer: Box<Analyzer>,
    element: gst::glib::WeakRef<super::DeepfakeDetect>,
}

impl Work for Analysis {
    type Job = Job;

    fn run(&mut self, job: Job, is_stale: &dyn Fn() -> bool) {
        if let Some(element) = self.element.upgrade() {
            element.imp().analyze(&mut self.analyzer, &job, is_stale);
        }
    }

    fn reset(&mut self) {
        self.analyzer.reset();
    }
}

/// What is to be done with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// It is stamped wrongly: it passes and changes nothing.
    Stray,
    /// It passes with the newest report, at this running time.
    No { time: Option<u64> },
    /// It is analysed, as the frame at this running time; after or before it goes on.
    Yes { time: u64, waits: bool },
}

/// See [`State::ticket`]. Never used twice in a process: an element may be stopped and started while something is being loaded.
fn next_ticket() -> u64 {
    static TICKETS: AtomicU64 = AtomicU64::new(1);
    TICKETS.fetch_add(1, Ordering::Relaxed)
}

impl State {
    pub(super) fn new(channel: Channel<Analysis>, model: Option<String>) -> Self {
        Self {
            info: None,
            orientations: frame::Orientations::default(),
            timeline: Timeline::default(),
            segment: None,
            grid: None,
            shots: ShotWatch::default(),
            shot: Shot::Same,
            channel,
            interrupted: false,
            waits: None,
            latest: None,
            model,
            loading: None,
            ticket: next_ticket(),
            behind: 0,
            posted_stats: Instant::now(),
            stream_times: Recent::default(),
        }
    }

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

    /// Whether this frame, at `time`, goes on with the shot of the one before. After a doubtful frame the next one is, too.
    fn watch(&mut self, buffer: &gst::BufferRef, time: u64) -> Shot {
        let Some(info) = &self.info else { return Shot::Same };
        let Ok(mapped) = VideoFrameRef::from_buffer_ref_readable(buffer, info) else { return Shot::Same };
        let view = frame::view_turned(&mapped, self.orientations.current(), time);
        // A frame that cannot be read is the analysis's matter.
        let Some(shot) = view.ok().and_then(|view| self.shots.look(&view).ok()) else { return Shot::Same };
        match (std::mem::replace(&mut self.shot, shot), shot) {
            (Shot::Doubtful, Shot::Same) => Shot::Doubtful,
            _ => shot,
        }
    }

    /// Whether somebody analyses, or will.
    fn is_ready(&self) -> bool {
        self.channel.is_attached() || self.loading.is_some()
    }
}

impl DeepfakeDetect {
    /// Does `change` if nobody has drawn another ticket since, nor stopped the element.
    fn if_current(&self, ticket: u64, change: impl FnOnce(&mut State)) -> bool {
        match self.state().as_mut() {
            Some(state) if state.ticket == ticket => {
                change(state);
                true
            }
            _ => false,
        }
    }

    /// Has everything loaded, beside the stream. What goes wrong is posted. `found` is `None` where it is still to be found.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(super) fn load(&self, settings: Arc<Settings>, found: Option<Found>, ticket: u64) -> std::io::Result<()> {
        if settings.device == Device::TensorRt {
            gst::element_imp_info!(
                self,
                gst::LibraryError::Init,
                ("TensorRT builds an engine for this GPU unless it finds one from before, which takes minutes; in live \
                     streams frames pass without analysis meanwhile")
            );
        }
        let element = self.obj().downgrade();
        threads::spawn(move || {
            let began = Instant::now();
            let loaded = catch_panic(|| {
                let found = found.map_or_else(|| settings.find(), Ok)?;
                let mut analyzer = settings.load(found)?;
                let warm_up = analyzer.warm_up()?;
                Ok((Box::new(analyzer), warm_up))
            });
            let Some(element) = element.upgrade() else { return };
            let this = element.imp();
            match loaded {
                Ok((analyzer, warm_up)) => {
                    gst::info!(
                        CAT,
                        imp = this,
                        "{} on {}: loaded in {:?}, a frame with one face takes up to {warm_up:?}",
                        analyzer.model().package().full_name(),
                        analyzer.model().device().as_str(),
                        began.elapsed(),
                    );
                    this.attach(analyzer, warm_up, &settings, ticket);
                }
                Err(error) => this.fail_to_load(&error, &settings, ticket),
            }
        })
    }

    /// The analyzer is there: frames are given to it.
    fn attach(&self, mut analyzer: Box<Analyzer>, warm_up: Duration, settings: &Settings, ticket: u64) {
        // Made known first: whoever hears of it may still hold the analysis up.
        if !self.if_current(ticket, |_| self.live().loaded(analyzer.model(), warm_up)) {
            return;
        }
        self.watch_devices(&analyzer);
        let element = self.obj().downgrade();
        self.if_current(ticket, |state| {
            if state.waits == Some(false) {
                analyzer.take_turns();
            }
            // Frames that came while it loaded have begun the grid already.
            let rate_hz = analyzer.model().package().window.rate_hz;
            if state.grid.as_ref().is_none_or(|grid| !grid.has_rate(rate_hz)) {
                state.grid = Some(analyzer.grid());
            }
            state.model.clone_from(&settings.model);
            state.loading = None;
            state.channel.attach(Analysis { analyzer, element });
        });
        if settings.mode == Mode::Sync {
            self.post_latency();
        }
    }

    /// Nothing could be loaded: nobody waits for it any more.
    fn fail_to_load(&self, error: &AnalysisError, settings: &Settings, ticket: u64) {
        let failed = |state: &mut State| {
            self.live().readiness = Readiness::Failed;
            state.loading = None;
        };
        if !self.if_current(ticket, failed) {
            return;
        }
        if let Err(message) = self.post_load_error(error, settings) {
            self.flow.failed.store(true, Ordering::SeqCst);
            self.post_error_message(message);
        }
        self.if_current(ticket, |state| state.channel.reset());
    }

    /// The property `model` was set: where another one is at work already, the new one is loaded beside it; where none could be
    /// loaded, everything is.
    pub(super) fn change_model(&self) {
        let settings = self.settings();
        let (ticket, current) = {
            let mut guard = self.state();
            let Some(state) = guard.as_mut() else { return };
            if state.loading.as_ref() == Some(&settings.model) {
                return;
            }
            state.ticket = next_ticket();
            let is_attached = state.channel.is_attached();
            if is_attached && state.model == settings.model {
                // Whatever else was to take its place is not wanted any more.
                state.loading = None;
                return;
            }
            state.loading = Some(settings.model.clone());
            if !is_attached {
                self.live().readiness = Readiness::Warming;
            }
            (state.ticket, is_attached.then(|| state.model.clone()))
        };
        let started = match current {
            Some(current) => self.load_model(settings, current, ticket),
            None => self.load(settings, None, ticket),
        };
        if let Err(error) = started {
            self.if_current(ticket, |state| state.loading = None);
            gst::error!(CAT, imp = self, "no thread to load the model: {error}");
        }
    }

    /// Loads the model of `settings` beside the one at work, which it then replaces. If that fails the property goes back to
    /// `current`.
    fn load_model(&self, settings: Arc<Settings>, current: Option<String>, ticket: u64) -> std::io::Result<()> {
        let element = self.obj().downgrade();
        threads::spawn(move || {
            let began = Instant::now();
            let loaded = catch_panic(|| settings.load_model());
            let Some(element) = element.upgrade() else { return };
            let this = element.imp();
            let error = match loaded {
                Ok(model) => {
                    gst::info!(
                        CAT,
                        imp = this,
                        "{} loaded beside the stream in {:?}",
                        model.package().full_name(),
                        began.elapsed()
                    );
                    return this.swap(model, &settings, ticket);
                }
                Err(error) => error,
            };
            if !this.if_current(ticket, |state| state.loading = None) {
                return;
            }
            this.change_settings(|settings| settings.model.clone_from(&current));
            this.obj().notify("model");
            let current = current.as_deref().unwrap_or(super::settings::DEFAULT_MODEL);
            gst::element_imp_warning!(
                this,
                gst::LibraryError::Settings,
                ("{error}\nThe model {current} stays at work.")
            );
        })
    }

    /// Frames are judged by another model from the next one on.
    fn swap(&self, model: Model, settings: &Settings, ticket: u64) {
        let rate_hz = model.package().window.rate_hz;
        self.if_current(ticket, |state| {
            state.loading = None;
            state.model.clone_from(&settings.model);
            state.grid = Some(Grid::new(rate_hz));
            state.channel.change(move |analysis: &mut Analysis| {
                let element = analysis.element.upgrade();
                if let Some(element) = &element {
                    gst::info!(CAT, obj = element, "{} takes over", model.package().full_name());
                    element.imp().announce(&model);
                }
                drop(analysis.analyzer.set_model(model));
            });
        });
    }

    /// Says what is to be done with a frame.
    ///
    /// # Errors
    /// [`gst::FlowError::NotNegotiated`] without caps.
    pub(super) fn place(&self, buffer: &gst::BufferRef) -> Result<Due, gst::FlowError> {
        let moment = {
            let mut guard = self.state();
            let Some(state) = guard.as_mut() else { return Ok(Due::No { time: None }) };
            state.moment(buffer)
        };
        let Some(moment) = moment else {
            gst::debug!(CAT, imp = self, "the frame at {:?} is elsewhere, and is not analysed", buffer.pts());
            return Ok(Due::Stray);
        };
        if moment.jump {
            gst::info!(CAT, imp = self, "the stream jumps to {}", gst::ClockTime::from_nseconds(moment.pts));
            self.flow.jumps.fetch_add(1, Ordering::Relaxed);
            self.forget();
        }
        let waits = {
            let mut guard = self.state();
            let Some(state) = guard.as_mut() else { return Ok(Due::No { time: None }) };
            if state.info.is_none() {
                return Err(gst::FlowError::NotNegotiated);
            }
            let mut is_due = state.grid.as_mut().is_some_and(|grid| grid.take(moment.pts));
            if !state.is_ready() {
                return Ok(Due::No { time: Some(moment.pts) });
            }
            if state.waits == Some(true) {
                let shot = state.watch(buffer, moment.pts);
                is_due |= shot != Shot::Same;
                if let (Shot::New, Some(grid)) = (shot, &mut state.grid) {
                    grid.reset();
                    grid.take(moment.pts);
                }
            }
            if !is_due {
                return Ok(Due::No { time: Some(moment.pts) });
            }
            state.waits
        };
        Ok(Due::Yes { time: moment.pts, waits: waits.unwrap_or_else(|| self.decide()) })
    }

    /// Decides, at the first frame, whether frames wait for their analysis.
    fn decide(&self) -> bool {
        let mut query = gst::query::Latency::new();
        let is_live = self.obj().sink_pad().peer_query(&mut query) && query.result().0;
        let waits = !self.is_async(is_live);
        let how = if waits { "frames wait for their analysis" } else { "frames are analysed beside the stream" };
        gst::info!(CAT, imp = self, "{how}");
        if let Some(state) = self.state().as_mut() {
            state.waits = Some(waits);
            if !waits {
                state.channel.change(|analysis| analysis.analyzer.take_turns());
            } else if let Ok(foreground) = Channel::open(Executor::foreground()) {
                foreground.interrupt(state.interrupted);
                // No frame has been handed over yet.
                if let Some(analysis) = state.channel.detach() {
                    foreground.attach(analysis);
                }
                state.channel = foreground;
            }
        }
        waits
    }

    /// Hands a frame over to be analysed. With `waits` returns once it is, or nobody is to wait for it any more.
    pub(super) fn submit(&self, buffer: &gst::BufferRef, time: u64, arrived: Instant, waits: bool) {
        let waiter = {
            let settings = self.settings();
            let mut guard = self.state();
            let Some(state) = guard.as_mut().filter(|state| state.is_ready()) else { return };
            let Some(info) = state.info.clone() else { return };
            let job = Job {
                buffer: shallow_copy(buffer),
                info,
                orientation: frame::turned(settings.video_direction).unwrap_or_else(|| state.orientations.current()),
                time,
                epoch: state.channel.epoch(),
                settings,
                arrived,
                waits,
            };
            let (number, replaced) = state.channel.submit(job);
            if !waits {
                self.count_shed(state, replaced);
                return;
            }
            (state.channel.waiter(), number)
        };
        let (waiter, number) = waiter;
        waiter.wait(number, None);
    }

    /// Counts frames that were due but are not analysed. Says so once, until the analysis has caught up.
    fn count_shed(&self, state: &mut State, shed: bool) {
        // While the model is being loaded nothing is behind.
        if !state.channel.is_attached() {
            return;
        }
        if !shed {
            state.behind = state.behind.saturating_sub(1);
            return;
        }
        self.flow.shed.fetch_add(1, Ordering::Relaxed);
        if std::mem::replace(&mut state.behind, CAUGHT_UP) == 0 {
            gst::warning!(CAT, imp = self, "the analysis is behind: frames pass without their own, see stats");
        }
    }

    /// Analyses one frame and tells the world. Called by the executor.
    fn analyze(&self, analyzer: &mut Analyzer, job: &Job, is_stale: &dyn Fn() -> bool) {
        let waited = job.arrived.elapsed();
        analyzer.set_settings(job.settings.analyzer());
        let began = Instant::now();
        let result = catch_panic(|| analyze_buffer(analyzer, job));
        if let Err(AnalysisError::Panicked(_)) = result {
            analyzer.reset();
        }
        let took = began.elapsed();
        if is_stale() {
            return;
        }
        self.watch_devices(analyzer);
        self.publish(analyzer, job, result, waited, took, is_stale);
    }

    /// Attaches the newest report to a frame that goes on at this running time, unless it has expired.
    pub(super) fn attach_latest(&self, buffer: &mut gst::BufferRef, time: Option<u64>) {
        let expire = u64::from(self.settings().expire) * 1_000_000;
        let mut guard = self.state();
        let Some(state) = guard.as_mut() else { return };
        if let Some(News { epoch, report }) = self.flow.news.take()
            && epoch == state.channel.epoch()
        {
            state.latest = report;
        }
        let Some((latest, info)) = state.latest.clone().zip(state.info.as_ref()) else { return };
        let (width, height) = (info.width(), info.height());
        drop(guard);
        let age = time.map_or(0, |time| time.saturating_sub(latest.report().time()));
        if expire == 0 || age <= expire {
            latest.attach(buffer, width, height).expect("the plugin has registered its meta");
        }
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

    /// There is no picture from `pts` on, for so long: time goes on without one. Returns the running time.
    pub(super) fn skip(&self, pts: Option<gst::ClockTime>, duration: Option<gst::ClockTime>) -> Option<u64> {
        let mut guard = self.state();
        let state = guard.as_mut()?;
        let time = match &state.segment {
            Some(segment) => segment.to_running_time(pts?)?,
            None => pts?,
        };
        state.timeline.skip(time.nseconds(), duration.map(gst::ClockTime::nseconds));
        Some(time.nseconds())
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
            state.shots.reset();
            state.shot = Shot::Same;
            state.latest = None;
            state.channel.reset();
        }
        self.clear();
    }

    /// While `true`, the streaming thread waits for no analysis and no model.
    pub(super) fn interrupt(&self, interrupted: bool) {
        if let Some(state) = self.state().as_mut() {
            state.interrupted = interrupted;
            state.channel.interrupt(interrupted);
        }
    }

    /// Waits, but not for long, for the frame that is being analysed beside the stream.
    pub(super) fn drain(&self) {
        let (waiter, newest) = match self.state().as_ref() {
            Some(state) if state.channel.is_attached() => (state.channel.waiter(), state.channel.newest()),
            _ => return,
        };
        waiter.wait(newest, Some(MAX_DRAIN));
    }
}

/// A buffer with the same pixels and metadata: only the head is copied. Since GStreamer 1.26 such a copy of a pool's buffer holds on
/// to the buffer itself, so that the pool does not take it back meanwhile; so the buffer has its metadata before it is copied.
fn shallow_copy(buffer: &gst::BufferRef) -> gst::Buffer {
    buffer.copy()
}

fn analyze_buffer(analyzer: &mut Analyzer, job: &Job) -> Result<FrameReport, AnalysisError> {
    let (buffer, time) = (&job.buffer, job.time);
    let mapped = VideoFrameRef::from_buffer_ref_readable(buffer, &job.info).map_err(|_| AnalysisError::Unreadable)?;
    let view = frame::view_turned(&mapped, job.orientation, time)?;
    let given = (job.settings.face_source == FaceSource::Upstream).then(|| upstream::faces(buffer));
    let mut report = analyzer.analyze(&view, given.as_deref())?;
    // The analysis knows running time only.
    let to_pts = |at: u64| buffer.pts().map_or(at, |pts| pts.nseconds().saturating_sub(time.saturating_sub(at)));
    report.pts = buffer.pts().map_or(time, gst::ClockTime::nseconds);
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
    use std::sync::atomic::Ordering;

    use gst_check::Harness;

    use super::*;
    use deepfake_engine::inference::ModelPackage;
    use deepfake_engine::inference::graph::GraphFile;
    use deepfake_engine::inference::testing::Fragile;
    use deepfake_report::meta;

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

    /// Takes the place of what the element has loaded, as soon as that is there.
    fn analyze_with(element: &super::super::DeepfakeDetect, model: Model) {
        let this = element.imp();
        while this.live().readiness == Readiness::Warming || !this.state().as_ref().unwrap().channel.is_attached() {
            std::thread::yield_now();
        }
        let analyzer = Box::new(Analyzer::new(model, None, this.settings().analyzer()));
        this.live().placements = Default::default();
        let ticket = this.state().as_ref().unwrap().ticket;
        this.attach(analyzer, Duration::from_millis(5), &this.settings(), ticket);
    }

    #[test]
    fn metadata_of_a_buffer_that_is_analysed_beside_the_stream_stays_with_both() {
        gst::init().unwrap();
        let mut buffer = frame(100, 0);
        let copy = shallow_copy(&buffer);
        assert_eq!(copy.iter_meta::<gst_video::VideoRegionOfInterestMeta>().count(), 1);
        let (here, there) = (buffer.map_readable().unwrap(), copy.map_readable().unwrap());
        assert_eq!(here.as_slice().as_ptr(), there.as_slice().as_ptr(), "the pixels were copied");
        drop((here, there));
        // What a pool's buffer is held by since GStreamer 1.26.
        let parent = gst::Buffer::with_size(1).unwrap();
        gst::meta::ParentBufferMeta::add(buffer.get_mut().unwrap(), &parent);
        assert_eq!(shallow_copy(&buffer).iter_meta::<gst::meta::ParentBufferMeta>().count(), 1);
    }

    #[test]
    fn a_device_that_is_lost_and_comes_back_is_told_of_and_costs_no_frame() {
        let folder = tempfile::tempdir().unwrap();
        let package = package(folder.path());
        let (element, mut harness, bus) = playing(folder.path(), "mode=sync on-error=fail");

        // A machine with a device that fails at a moment of our choice is not to be had; but its sessions are.
        let device = Fragile::broken();
        analyze_with(&element, Model::with_worker(package, device.worker(false)).unwrap());

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
        assert_eq!(element.imp().live().stats.failed, 0);
    }
}
