use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::subclass::prelude::*;

use super::OnError;
use super::output::{Location, Output};
use super::queue::{Queue, Stats};
use super::writer::{self, Event};
use deepfake_report::{FrameReport, json, meta};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("deepfakelog", gst::DebugColorFlags::empty(), Some("Deepfake reports as JSON Lines"))
});

#[derive(Clone, Debug)]
struct Settings {
    location: Option<String>,
    append: bool,
    all_buffers: bool,
    /// Name of the element whose reports are written; `None` for all.
    detector: Option<String>,
    on_error: OnError,
    max_size_bytes: u64,
    max_files: u32,
    max_queue_bytes: u32,
    drain_timeout_ms: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            location: None,
            append: true,
            all_buffers: false,
            detector: None,
            on_error: OnError::default(),
            max_size_bytes: 0,
            max_files: 5,
            max_queue_bytes: 8 * 1024 * 1024,
            drain_timeout_ms: 2000,
        }
    }
}

#[derive(Default)]
struct State {
    /// `None` while stopped.
    queue: Option<Arc<Queue>>,
    /// The newest report of each element, by the element's name.
    last: HashMap<Option<String>, Seen>,
    duplicates: u64,
    /// Of the last run, for those who ask after the end.
    stats: Stats,
}

/// More elements than this are not told apart: names that change without end must not cost memory.
const MAX_ELEMENTS: usize = 64;

/// What makes a report the same one again.
#[derive(PartialEq)]
struct Seen {
    /// Where each buffer has a line of its own. Without PTS nothing tells a copy from the next
    /// buffer.
    buffer_pts: Option<Option<gst::ClockTime>>,
    pts: u64,
    run: Option<String>,
    utc: Option<String>,
    windows: Vec<(u32, Option<u64>)>,
}

impl Seen {
    fn new(report: &FrameReport, buffer_pts: Option<Option<gst::ClockTime>>) -> Self {
        let windows = report.faces.iter().map(|face| (face.track_id, face.window_end)).collect();
        Self { buffer_pts, pts: report.pts, run: report.run.clone(), utc: report.utc.clone(), windows }
    }

    fn is_again(&self, last: &Self) -> bool {
        self == last && self.buffer_pts != Some(None)
    }
}

#[derive(Default)]
pub struct DeepfakeLog {
    settings: Mutex<Settings>,
    state: Mutex<State>,
    /// An error has been posted: the stream ends.
    failed: AtomicBool,
}

#[glib::object_subclass]
impl ObjectSubclass for DeepfakeLog {
    const NAME: &'static str = "GstDeepfakeLog";
    type Type = super::DeepfakeLog;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for DeepfakeLog {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let default = Settings::default();
            vec![
                glib::ParamSpecString::builder("location")
                    .nick("Location")
                    .blurb(
                        "Where the lines go: the path of a file, FIFO or character device, used verbatim, \
                         or - or stdout, or stderr",
                    )
                    .mutable_ready()
                    .build(),
                glib::ParamSpecBoolean::builder("append")
                    .nick("Append")
                    .blurb("Keep what the file holds already and write behind it; otherwise the file is emptied first")
                    .default_value(default.append)
                    .mutable_ready()
                    .build(),
                glib::ParamSpecBoolean::builder("all-buffers")
                    .nick("All buffers")
                    .blurb(
                        "Write a line for each buffer instead of for each new report; buffers without a report have no \
                         faces, and null for pts, model and device",
                    )
                    .default_value(default.all_buffers)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecString::builder("detector")
                    .nick("Detector")
                    .blurb("Name of the deepfakedetect whose reports are written; unset = those of all")
                    .mutable_playing()
                    .build(),
                glib::ParamSpecEnum::builder_with_default("on-error", default.on_error)
                    .nick("On error")
                    .blurb("What to do when the log cannot be opened or written")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecUInt64::builder("max-size-bytes")
                    .nick("Largest file")
                    .blurb(
                        "Length in bytes beyond which no file grows: LOCATION is renamed to LOCATION.1 and started anew \
                         (0 = no limit; for regular files only)",
                    )
                    .default_value(default.max_size_bytes)
                    .mutable_ready()
                    .build(),
                glib::ParamSpecUInt::builder("max-files")
                    .nick("Old files")
                    .blurb("Number of old files LOCATION.1, LOCATION.2, … that rotation keeps (0 = none)")
                    .maximum(1000)
                    .default_value(default.max_files)
                    .mutable_ready()
                    .build(),
                glib::ParamSpecUInt::builder("max-queue-bytes")
                    .nick("Longest queue")
                    .blurb("Bytes of lines that may wait to be written before the oldest are dropped")
                    .minimum(1)
                    .default_value(default.max_queue_bytes)
                    .mutable_ready()
                    .build(),
                glib::ParamSpecUInt::builder("drain-timeout")
                    .nick("Drain timeout")
                    .blurb("Longest time in ms that EOS and stopping wait until everything is on the disk")
                    .maximum(600_000)
                    .default_value(default.drain_timeout_ms)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                    .nick("Statistics")
                    .blurb(
                        "Counted since the element started: lines-written, lines-dropped, duplicates (reports that \
                         came again), rotations, troubles (times that writing failed or fell behind)",
                    )
                    .read_only()
                    .build(),
            ]
        });
        PROPERTIES.as_ref()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let mut settings = self.settings.lock().unwrap();
        match pspec.name() {
            "location" => settings.location = value.get().expect("type checked upstream"),
            "append" => settings.append = value.get().expect("type checked upstream"),
            "all-buffers" => settings.all_buffers = value.get().expect("type checked upstream"),
            "detector" => settings.detector = value.get().expect("type checked upstream"),
            "on-error" => settings.on_error = value.get().expect("type checked upstream"),
            "max-size-bytes" => settings.max_size_bytes = value.get().expect("type checked upstream"),
            "max-files" => settings.max_files = value.get().expect("type checked upstream"),
            "max-queue-bytes" => settings.max_queue_bytes = value.get().expect("type checked upstream"),
            "drain-timeout" => settings.drain_timeout_ms = value.get().expect("type checked upstream"),
            name => unreachable!("property {name}"),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        if pspec.name() == "stats" {
            return self.stats().to_value();
        }
        let settings = self.settings.lock().unwrap();
        match pspec.name() {
            "location" => settings.location.to_value(),
            "append" => settings.append.to_value(),
            "all-buffers" => settings.all_buffers.to_value(),
            "detector" => settings.detector.to_value(),
            "on-error" => settings.on_error.to_value(),
            "max-size-bytes" => settings.max_size_bytes.to_value(),
            "max-files" => settings.max_files.to_value(),
            "max-queue-bytes" => settings.max_queue_bytes.to_value(),
            "drain-timeout" => settings.drain_timeout_ms.to_value(),
            name => unreachable!("property {name}"),
        }
    }
}

impl GstObjectImpl for DeepfakeLog {}

impl ElementImpl for DeepfakeLog {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Deepfake log",
                "Filter/Metadata/Video",
                "Passes buffers through and writes their deepfake reports as JSON Lines",
                env!("CARGO_PKG_NAME"),
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let template = |name, direction| {
                gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &gst::Caps::new_any())
                    .expect("a pad template of any caps")
            };
            vec![template("sink", gst::PadDirection::Sink), template("src", gst::PadDirection::Src)]
        });
        TEMPLATES.as_ref()
    }
}

impl BaseTransformImpl for DeepfakeLog {
    const MODE: gst_base::subclass::BaseTransformMode = gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    // Always in passthrough, in which metadata can be read: buffers need not be writable.
    const PASSTHROUGH_ON_SAME_CAPS: bool = true;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = true;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = self.settings.lock().unwrap().clone();
        let location = Location::parse(settings.location.as_deref().unwrap_or_default())
            .map_err(|error| gst::error_msg!(gst::ResourceError::Settings, ("Cannot write a log: {error}")))?;
        gst::debug!(CAT, imp = self, "Writing to {location}");

        let queue = Arc::new(Queue::new(settings.max_queue_bytes as usize));
        let mut output = Output::new(location.clone(), settings.append, settings.max_size_bytes, settings.max_files);
        if settings.on_error == OnError::Fail {
            output.try_open().map_err(|error| {
                gst::error_msg!(
                    gst::ResourceError::OpenWrite,
                    ("Cannot open the log {location}: {error}. \
                         Set location to a file that can be written, or on-error=passthrough to go on without a log.")
                )
            })?;
        }
        let element = self.obj().downgrade();
        writer::spawn(queue.clone(), output, move |event| {
            if let Some(element) = element.upgrade() {
                element.imp().post(&location, event, settings.on_error);
            }
        })
        .map_err(|error| gst::error_msg!(gst::ResourceError::Failed, ("Cannot start the log's thread: {error}")))?;

        self.failed.store(false, Ordering::Relaxed);
        *self.state.lock().unwrap() = State { queue: Some(queue), ..State::default() };
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        let timeout = self.drain_timeout();
        let Some(queue) = self.state.lock().unwrap().queue.take() else { return Ok(()) };
        queue.drain(timeout);
        // The writer, if not stuck in the kernel, ends within one wait for its pipe.
        if !queue.close(timeout.min(Duration::from_millis(500))) {
            gst::warning!(CAT, imp = self, "The log's thread is stuck in a write and left to itself");
        }
        let stats = queue.stats();
        if stats.dropped > 0 {
            gst::warning!(CAT, imp = self, "{} lines were never written", stats.dropped);
        }
        self.state.lock().unwrap().stats = stats;
        Ok(())
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        match event.view() {
            gst::EventView::Eos(_) => {
                let queue = self.state.lock().unwrap().queue.clone();
                if let Some(queue) = queue
                    && !queue.drain(self.drain_timeout())
                {
                    gst::warning!(CAT, imp = self, "Lines are still unwritten at the end of the stream");
                }
            }
            // After these, the same time is another frame.
            gst::EventView::FlushStop(_) | gst::EventView::StreamStart(_) | gst::EventView::Segment(_) => {
                self.state.lock().unwrap().last.clear();
            }
            _ => {}
        }
        self.parent_sink_event(event)
    }

    fn transform_ip_passthrough(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let Some((queue, lines)) = self.lines(buffer) else { return Ok(gst::FlowSuccess::Ok) };
        for mut line in lines {
            gst::trace!(CAT, imp = self, "{line}");
            line.push('\n');
            if queue.push(line) {
                gst::element_imp_warning!(
                    self,
                    gst::ResourceError::Write,
                    ("The log cannot keep up: lines are dropped, oldest first"),
                    ["lines-dropped in the property stats counts them; a larger max-queue-bytes holds more"]
                );
            }
        }
        if self.failed.load(Ordering::Relaxed) { Err(gst::FlowError::Error) } else { Ok(gst::FlowSuccess::Ok) }
    }
}

impl DeepfakeLog {
    /// The buffer's lines, without line breaks, and where to put them. `None` while stopped.
    fn lines(&self, buffer: &gst::BufferRef) -> Option<(Arc<Queue>, Vec<String>)> {
        let (all_buffers, detector) = {
            let settings = self.settings.lock().unwrap();
            (settings.all_buffers, settings.detector.clone())
        };
        let reports = match &detector {
            Some(name) => meta::read_from(buffer, name).into_iter().collect(),
            None => meta::read_all(buffer),
        };
        let pts = buffer.pts();
        let buffer_pts = pts.map(gst::ClockTime::nseconds);
        let mut state = self.state.lock().unwrap();
        let queue = state.queue.clone()?;
        if reports.is_empty() && all_buffers {
            return Some((queue, vec![json::line_not_analysed(buffer_pts)]));
        }
        let mut lines = Vec::with_capacity(reports.len());
        for mut report in reports {
            let seen = Seen::new(&report, all_buffers.then_some(pts));
            if state.last.get(&report.element).is_some_and(|last| seen.is_again(last)) {
                state.duplicates += 1;
                continue;
            }
            if state.last.len() >= MAX_ELEMENTS && !state.last.contains_key(&report.element) {
                state.last.clear();
            }
            state.last.insert(report.element.clone(), seen);
            report.buffer_pts = buffer_pts;
            lines.push(json::line(&report));
        }
        Some((queue, lines))
    }

    /// Posts what the writer's thread has to say. Called from that thread, without any lock.
    fn post(&self, location: &Location, event: Event, on_error: OnError) {
        match event {
            Event::Failed(error) => {
                let text = format!("Cannot write the log to {location}: {error}");
                if on_error == OnError::Fail {
                    self.failed.store(true, Ordering::Relaxed);
                    gst::element_imp_error!(self, gst::ResourceError::Write, ("{text}"));
                    return;
                }
                let debug = "frames pass on, lines wait, and writing is tried again";
                match error.kind() {
                    std::io::ErrorKind::StorageFull => {
                        gst::element_imp_warning!(self, gst::ResourceError::NoSpaceLeft, ("{text}"), ["{debug}"]);
                    }
                    _ => gst::element_imp_warning!(self, gst::ResourceError::Write, ("{text}"), ["{debug}"]),
                }
            }
            Event::Recovered => {
                gst::element_imp_info!(self, gst::ResourceError::Write, ("The log to {location} is written again"));
            }
            Event::NotRotated(error) => gst::element_imp_warning!(
                self,
                gst::ResourceError::Write,
                ("Cannot rename the log {location} to start a new one: {error}"),
                ["the file grows beyond max-size-bytes"]
            ),
        }
    }

    fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.settings.lock().unwrap().drain_timeout_ms.into())
    }

    fn stats(&self) -> gst::Structure {
        let state = self.state.lock().unwrap();
        let stats = state.queue.as_ref().map_or(state.stats, |queue| queue.stats());
        gst::Structure::builder("deepfakelog-stats")
            .field("lines-written", stats.written)
            .field("lines-dropped", stats.dropped)
            .field("duplicates", state.duplicates)
            .field("rotations", stats.rotations)
            .field("troubles", stats.troubles)
            .build()
    }
}
