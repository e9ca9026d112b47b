//! Writes a part of a feed as it arrived: the encoded bytes in a container that plays also after
//! the process was killed, the reports of that time as JSON Lines, and some pictures.
//!
//! A thread for each clip: neither the disk nor the muxer ever holds up the feed.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use gst::prelude::*;
use serde::Serialize;

use deepfake_report::FrameReport;

use crate::channel::clip::News;

/// What may wait to be written: a disk that is slower than the feed must not fill the memory.
const MAX_WAITING: usize = 32 << 20;
/// Fragments are so long: what a killed process loses at most.
const FRAGMENT_MS: u32 = 1000;
const MAX_PICTURES: usize = 12;
/// Another picture is kept when the highest score rose by so much, and not sooner than this.
const RISE: f64 = 0.05;
const PICTURE_PAUSE: u64 = 1_000_000_000;
/// Two pictures are at least so far apart.
const STEP: gst::ClockTime = gst::ClockTime::from_mseconds(1);
/// What was asked to end ends within this, or is left as it is.
const END_LIMIT: gst::ClockTime = gst::ClockTime::from_seconds(8);

/// A unit of the feed: timestamps are running times.
#[derive(Clone)]
pub struct Packet {
    pub buffer: gst::Buffer,
    pub caps: gst::Caps,
}

impl Packet {
    fn is_key(&self) -> bool {
        !self.buffer.flags().contains(gst::BufferFlags::DELTA_UNIT)
    }

    /// When it is decoded.
    fn time(&self) -> Option<gst::ClockTime> {
        self.buffer.dts().or(self.buffer.pts())
    }
}

enum Input {
    Packet(Packet),
    Report(Arc<FrameReport>),
    /// A decoded picture and its running time.
    Picture(gst::Sample, u64),
    End(Option<String>),
}

/// Where a clip goes.
#[derive(Clone, Debug)]
pub struct Order {
    pub part: u32,
    pub folder: PathBuf,
}

/// What is known when the clip begins.
pub struct Start {
    pub order: Order,
    /// The feed from memory, the oldest first; may be empty.
    pub packets: Vec<Packet>,
    pub reports: Vec<Arc<FrameReport>>,
    /// Running time of the picture that is shown now.
    pub shown: u64,
    pub missing: Vec<String>,
}

/// A clip that is being written. Dropping it ends the clip.
pub struct Clip {
    to: Sender<Input>,
    waiting: Arc<AtomicUsize>,
    caps: Option<gst::Caps>,
    best: f64,
    pictures: usize,
    pictured_at: Option<u64>,
}

impl Clip {
    /// Starts to write. `tell` is called from another thread: once with [`News::Started`] if there
    /// are pictures, and once with [`News::Ended`].
    ///
    /// # Errors
    /// If there is no thread more.
    pub fn start(start: Start, tell: impl Fn(News) + Send + 'static) -> std::io::Result<Self> {
        let (to, input) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let caps = start.packets.last().map(|packet| packet.caps.clone());
        let written = waiting.clone();
        let write = move || {
            let ended = Writer::write(start, &input, &written, &tell);
            tell(ended);
        };
        std::thread::Builder::new().name("clip".into()).spawn(write)?;
        Ok(Self { to, waiting, caps, best: 0.0, pictures: 0, pictured_at: None })
    }

    /// Takes the next unit of the feed; `false` if the clip is over.
    pub fn packet(&mut self, packet: &Packet) -> bool {
        if *self.caps.get_or_insert_with(|| packet.caps.clone()) != packet.caps {
            self.end(Some("the end: the feed changed its format".into()));
            return false;
        }
        let bytes = packet.buffer.size();
        if self.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes > MAX_WAITING {
            self.end(Some("the end: the disk was slower than the feed".into()));
            return false;
        }
        self.to.send(Input::Packet(packet.clone())).is_ok()
    }

    pub fn report(&self, report: &Arc<FrameReport>) {
        self.to.send(Input::Report(report.clone())).ok();
    }

    /// Whether the picture that shows this score should be kept.
    pub fn wants_picture(&mut self, score: f64, at: u64) -> bool {
        let soon = self.pictured_at.is_some_and(|last| at < last + PICTURE_PAUSE);
        if soon || self.pictures >= MAX_PICTURES || (self.pictures > 0 && score < self.best + RISE) {
            return false;
        }
        (self.best, self.pictured_at) = (score, Some(at));
        self.pictures += 1;
        true
    }

    pub fn picture(&self, sample: gst::Sample, at: u64) {
        self.to.send(Input::Picture(sample, at)).ok();
    }

    /// Ends the clip; `why` if it is shorter than it should be.
    pub fn end(&self, why: Option<String>) {
        self.to.send(Input::End(why)).ok();
    }
}

/// What a stream of these caps is written with: parser, timestamper where there are no times to
/// decode at, muxer, and the end of the file's name.
fn container(caps: &gst::Caps, has_dts: bool) -> Option<(String, &'static str)> {
    let structure = caps.structure(0)?;
    // Plays to the last whole fragment after a kill, and is an ordinary file once it is ended.
    let mp4 = format!("mp4mux fragment-duration={FRAGMENT_MS} fragment-mode=first-moov-then-finalise");
    let reordered = |parser: &str, timestamper: &str| {
        if has_dts { format!("{parser} ! {mp4}") } else { format!("{parser} ! {timestamper} ! {mp4}") }
    };
    let version = structure.get::<i32>("mpegversion").unwrap_or(0);
    Some(match structure.name().as_str() {
        "video/x-h264" => (reordered("h264parse", "h264timestamper"), "mp4"),
        "video/x-h265" => (reordered("h265parse", "h265timestamper"), "mp4"),
        "video/x-av1" => (format!("av1parse ! {mp4}"), "mp4"),
        "video/x-vp9" => (format!("vp9parse ! {mp4}"), "mp4"),
        "image/jpeg" => (format!("jpegparse ! {mp4}"), "mp4"),
        "video/mpeg" if version == 4 => (format!("mpeg4videoparse ! {mp4}"), "mp4"),
        "video/mpeg" => ("mpegvideoparse ! mpegtsmux".into(), "ts"),
        "video/x-vp8" => ("webmmux streamable=true".into(), "webm"),
        _ => return None,
    })
}

struct Writer {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    video: PathBuf,
    reports: BufWriter<File>,
    /// Running time of the first picture: the clip's time 0.
    base: gst::ClockTime,
    last: gst::ClockTime,
    /// The newest time to decode at.
    newest: Option<gst::ClockTime>,
}

/// A report in the time of its clip.
#[derive(Serialize)]
struct Line<'a> {
    /// Seconds from the clip's first picture.
    clip_time: f64,
    #[serde(flatten)]
    report: &'a FrameReport,
}

impl Writer {
    /// Writes until the clip is over, and says how it ended.
    fn write(start: Start, input: &Receiver<Input>, waiting: &AtomicUsize, tell: &impl Fn(News)) -> News {
        let Start { order, packets, reports, shown, mut missing } = start;
        let mut writer: Option<Self> = None;
        let kept = packets.into_iter().map(Input::Packet);
        let mut early: Vec<Input> = reports.into_iter().map(Input::Report).collect();
        let mut ended = None;
        for next in kept.chain(std::iter::from_fn(|| Some(input.recv().unwrap_or(Input::End(None))))) {
            let next = match (next, &mut writer) {
                (Input::End(why), _) => {
                    ended = why;
                    break;
                }
                (Input::Packet(packet), None) => {
                    if !packet.is_key() {
                        continue;
                    }
                    match Self::begin(&order, &packet) {
                        Ok((begun, container)) => {
                            let codec = packet.caps.structure(0).map_or("", |structure| structure.name().as_str());
                            let shown = i64::try_from(shown / 1_000_000).unwrap_or(0);
                            let first = i64::try_from(begun.base.mseconds()).unwrap_or(0);
                            tell(News::Started {
                                ago: shown - first,
                                container: container.into(),
                                codec: codec.into(),
                                missing: std::mem::take(&mut missing),
                            });
                            writer = Some(begun);
                        }
                        Err(why) => {
                            ended = Some(why);
                            break;
                        }
                    }
                    Input::Packet(packet)
                }
                (next, None) => {
                    early.push(next);
                    continue;
                }
                (next, Some(_)) => next,
            };
            let Some(writer) = &mut writer else { continue };
            let done = early.drain(..).chain([next]).try_for_each(|next| writer.take(&order, next, waiting));
            if let Err(why) = done {
                ended = Some(why);
                break;
            }
        }
        missing.extend(ended);
        match writer {
            Some(writer) => writer.finish(missing),
            None => {
                if missing.is_empty() {
                    missing.push("everything: no key picture came while the clip was wanted".into());
                }
                News::Ended { length: 0, missing }
            }
        }
    }

    fn begin(order: &Order, first: &Packet) -> Result<(Self, &'static str), String> {
        let has_dts = first.buffer.dts().is_some();
        let (middle, container) = container(&first.caps, has_dts)
            .ok_or_else(|| format!("everything: no container here takes {}", first.caps))?;
        let base = first.time().ok_or("everything: the feed has no times")?;
        let failed = |error: &dyn std::fmt::Display| format!("everything: the clip cannot be written: {error}");
        std::fs::create_dir_all(&order.folder).map_err(|error| failed(&error))?;
        let video = order.folder.join(format!("{}.{container}", order.part));
        let reports = File::create(order.folder.join(format!("{}.jsonl", order.part)));
        let reports = BufWriter::new(reports.map_err(|error| failed(&error))?);
        let description = format!(
            "appsrc name=source format=time block=true max-bytes=4194304 ! {middle} \
             ! filesink name=file async=false sync=false buffer-mode=unbuffered"
        );
        let pipeline = gst::parse::launch(&description).map_err(|error| failed(&error))?;
        let pipeline = pipeline.downcast::<gst::Pipeline>().map_err(|_| failed(&"no pipeline"))?;
        let by_name = |name: &str| pipeline.by_name(name).ok_or_else(|| failed(&"an element is missing"));
        let source = by_name("source")?.downcast::<gst_app::AppSrc>().map_err(|_| failed(&"no appsrc"))?;
        source.set_caps(Some(&first.caps));
        by_name("file")?.set_property("location", video.to_str().ok_or_else(|| failed(&"the path is no text"))?);
        let writer = Self { pipeline, source, video, reports, base, last: base, newest: None };
        if writer.pipeline.set_state(gst::State::Playing).is_err() {
            return Err(writer.trouble().unwrap_or_else(|| failed(&"the muxer does not start")));
        }
        Ok((writer, container))
    }

    fn take(&mut self, order: &Order, next: Input, waiting: &AtomicUsize) -> Result<(), String> {
        match next {
            Input::Packet(Packet { mut buffer, .. }) => {
                // What came out of the ring was never counted as waiting.
                let bytes = buffer.size();
                waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |all| Some(all.saturating_sub(bytes))).ok();
                self.last = self.last.max(buffer.pts().or(buffer.dts()).unwrap_or(self.last));
                let target = buffer.make_mut();
                let (mut pts, mut dts) = (target.pts(), target.dts());
                // Where a file starts again its last time comes twice, and parsers drop such a time.
                if let Some(time) = if dts.is_some() { dts.as_mut() } else { pts.as_mut() } {
                    let earliest = self.newest.map_or(*time, |newest| newest + STEP);
                    *time = earliest.max(*time);
                    self.newest = Some(*time);
                }
                if let (Some(pts), Some(dts)) = (&mut pts, dts) {
                    *pts = dts.max(*pts);
                }
                target.set_pts(pts.map(|time| time.saturating_sub(self.base)));
                target.set_dts(dts.map(|time| time.saturating_sub(self.base)));
                if self.source.push_buffer(buffer).is_err() {
                    return Err(self.trouble().unwrap_or_else(|| "the end: the clip could not be written".into()));
                }
                self.trouble().map_or(Ok(()), Err)
            }
            Input::Report(report) => {
                let Some(clip_time) = self.time_of(report.running_time.unwrap_or(report.pts)) else { return Ok(()) };
                let line = serde_json::to_string(&Line { clip_time, report: &report })
                    .map_err(|error| format!("reports: {error}"))?;
                writeln!(self.reports, "{line}")
                    .and_then(|()| self.reports.flush())
                    .map_err(|error| format!("the end: reports could not be written: {error}"))
            }
            Input::Picture(sample, at) => {
                let Some(time) = self.time_of(at) else { return Ok(()) };
                let name = format!("{}-{:07}.jpg", order.part, (time * 1000.0) as u64);
                // A picture is an extra: without it the clip goes on.
                if let Some(jpeg) = jpeg(&sample, &gst::Caps::new_empty_simple("image/jpeg")) {
                    std::fs::write(order.folder.join(name), jpeg).ok();
                }
                Ok(())
            }
            Input::End(_) => Ok(()),
        }
    }

    /// Seconds from the first picture; `None` before it.
    fn time_of(&self, running_time: u64) -> Option<f64> {
        let time = running_time.checked_sub(self.base.nseconds())?;
        Some(time as f64 / 1e9)
    }

    /// What the pipeline reported as broken.
    fn trouble(&self) -> Option<String> {
        let message = self.pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?;
        Some(explain(&message))
    }

    fn finish(mut self, mut missing: Vec<String>) -> News {
        self.source.end_of_stream().ok();
        let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
        let last = self.pipeline.bus().and_then(|bus| bus.timed_pop_filtered(END_LIMIT, &kinds));
        match last {
            Some(message) if message.type_() == gst::MessageType::Error => missing.push(explain(&message)),
            Some(_) => {}
            None => missing.push("the file's index: the disk did not take it in time".into()),
        }
        self.pipeline.set_state(gst::State::Null).ok();
        self.reports.flush().ok();
        self.reports.get_ref().sync_all().ok();
        sync(&self.video);
        let length = self.last.saturating_sub(self.base).mseconds();
        News::Ended { length: i64::try_from(length).unwrap_or(i64::MAX), missing }
    }
}

fn explain(message: &gst::Message) -> String {
    let gst::MessageView::Error(error) = message.view() else { return "the end: the muxer stopped".into() };
    let debug = error.debug().unwrap_or_default();
    let detail = debug.lines().last().unwrap_or_default().trim();
    format!("the end: the clip could not be written: {} ({detail})", error.error())
}

fn sync(path: &Path) {
    if let Ok(file) = File::open(path) {
        file.sync_all().ok();
    }
}

/// The picture as JPEG of these caps.
pub fn jpeg(sample: &gst::Sample, caps: &gst::Caps) -> Option<Vec<u8>> {
    let jpeg = gst_video::convert_sample(sample, caps, Some(gst::ClockTime::from_seconds(2))).ok()?;
    let map = jpeg.buffer()?.map_readable().ok()?;
    Some(map.to_vec())
}
