//! One feed: `uridecodebin ! queue ! videoconvert ! deepfakedetect mode=async ! fakesink`, watched
//! by pad probes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use gst::prelude::*;
use gst_video::prelude::*;

use deepfake_report::{FrameReport, message, meta};

use super::clip::{self, Clip, Packet};
use super::ring::{Ring, Unit};
use crate::channel::clip::News;
use crate::channel::incident::Alert;
use crate::channel::ledger::Activity;
use crate::channel::liveness::{Liveness, Thumb};
use crate::config::Transport;
use crate::protocol::{self, Feed, Look};

/// Longer side of a still, in pixels.
const STILL_WIDTH: i32 = 480;
/// Reports that are kept in case of an alert, whatever their time.
const MAX_REPORTS: usize = 4096;

/// What a pipeline tells on its own account.
pub enum Happening {
    Alert(Alert),
    Failed(String),
    Ended,
}

pub struct Pipeline {
    pipeline: gst::Pipeline,
    watch: Arc<Watch>,
}

/// What the streaming threads note and the worker looks at. The lock is held for some instructions
/// only.
struct Watch {
    started: Instant,
    keep: Option<protocol::Ring>,
    noted: Mutex<Noted>,
}

/// The feed as it arrived, in case of an alert.
struct Kept {
    ring: Ring<Packet>,
    reports: VecDeque<Arc<FrameReport>>,
    /// The decoder whose pictures are watched, once that is known.
    decoder: Option<String>,
    /// The decoder that the ring was filled from.
    filled_from: Option<String>,
    clip: Option<Clip>,
}

struct Noted {
    liveness: Liveness,
    activity: Activity,
    /// Highest score of each face since the last look.
    scores: BTreeMap<u32, f64>,
    newest_report: Option<u64>,
    model: Option<String>,
    device: Option<String>,
    /// Why there is no analysis, until the next report.
    trouble: Option<String>,
    caps: Option<gst::Caps>,
    info: Option<gst_video::VideoInfo>,
    picture: Option<gst::Buffer>,
    /// Running time of that picture, in nanoseconds.
    shown: Option<u64>,
    kept: Kept,
}

/// What is known of a source that could not even be opened.
pub fn nothing_seen() -> Look {
    Look {
        signs: Liveness::new(0).signs(0),
        activity: Activity::default(),
        scores: Vec::new(),
        model: None,
        device: None,
        size: None,
    }
}

impl Watch {
    fn new(keep: Option<protocol::Ring>) -> Self {
        let noted = Noted {
            liveness: Liveness::new(0),
            activity: Activity::default(),
            scores: BTreeMap::new(),
            newest_report: None,
            model: None,
            device: None,
            trouble: Some("the model is being loaded".into()),
            caps: None,
            info: None,
            picture: None,
            shown: None,
            kept: Kept {
                ring: Ring::new(keep.map_or(0, |keep| keep.max_bytes)),
                reports: VecDeque::new(),
                decoder: None,
                filled_from: None,
                clip: None,
            },
        };
        Self { started: Instant::now(), keep, noted: Mutex::new(noted) }
    }

    fn now(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A decoded picture, before the analysis.
    fn picture(&self, pad: &gst::Pad, buffer: &gst::Buffer) {
        let now = self.now();
        let mut noted = self.noted();
        let caps = pad.current_caps();
        if noted.caps != caps {
            noted.info = caps.as_ref().and_then(|caps| gst_video::VideoInfo::from_caps(caps).ok());
            noted.caps = caps;
        }
        let thumb = noted.info.as_ref().and_then(|info| {
            let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, info).ok()?;
            let plane = frame.comp_data(0).ok()?;
            let (width, height) = (frame.width() as usize, frame.height() as usize);
            Some(Thumb::sample(plane, width, height, frame.comp_stride(0) as usize, frame.comp_pstride(0) as usize))
        });
        noted.liveness.buffer(now, buffer.pts().map(gst::ClockTime::nseconds), thumb);
        noted.picture = Some(buffer.clone());
        noted.shown = running_time(pad, buffer.pts()).map(gst::ClockTime::nseconds);
    }

    /// Encoded bytes, before the decoder of this name.
    fn encoded(&self, pad: &gst::Pad, decoder: &str, buffer: &gst::BufferRef) {
        let Some(keep) = self.keep else { return };
        let Some(caps) = pad.current_caps() else { return };
        // A copy: the memory may be a slice of a larger block, or belong to a pool that runs dry.
        let Ok(mut copy) = buffer.copy_deep() else { return };
        {
            let copy = copy.make_mut();
            copy.set_pts(running_time(pad, buffer.pts()));
            copy.set_dts(running_time(pad, buffer.dts()));
            // In running time there is no break.
            copy.unset_flags(gst::BufferFlags::DISCONT | gst::BufferFlags::RESYNC);
        }
        let Some(time) = copy.dts().or(copy.pts()) else { return };
        let at = i64::try_from(time.mseconds()).unwrap_or(i64::MAX);
        let key = !copy.flags().contains(gst::BufferFlags::DELTA_UNIT);
        let packet = Packet { buffer: copy, caps };
        let mut noted = self.noted();
        let noted = &mut *noted;
        let kept = &mut noted.kept;
        if kept.decoder.as_deref().is_some_and(|watched| watched != decoder) {
            return;
        }
        if kept.filled_from.as_deref() != Some(decoder) {
            kept.ring.clear();
            kept.filled_from = Some(decoder.into());
        }
        if kept.clip.as_mut().is_some_and(|clip| !clip.packet(&packet)) {
            kept.clip = None;
        }
        // Decoding may lag behind: what counts is what is shown.
        let shown = noted.shown.and_then(|shown| i64::try_from(shown / 1_000_000).ok()).unwrap_or(at).min(at);
        let bytes = packet.buffer.size();
        kept.ring.push(Unit { at, key, bytes, item: packet }, shown - keep.milliseconds);
    }

    /// The report on a picture, after the analysis. Between two analyses it is the same one again.
    fn report(&self, report: FrameReport) {
        let mut noted = self.noted();
        let noted = &mut *noted;
        if noted.newest_report.replace(report.pts) == Some(report.pts) {
            return;
        }
        let report = Arc::new(report);
        self.keep_report(noted, &report);
        noted.trouble = None;
        noted.model = Some(report.model.clone());
        noted.device = Some(report.device.clone());
        noted.activity.analysed += 1;
        noted.activity.faces = noted.activity.faces.max(report.faces.len() as u32);
        for face in &report.faces {
            if face.seen && face.state.is_judged() {
                noted.activity.judged = true;
            } else {
                let reason = match face.reason {
                    _ if !face.seen => "not-seen",
                    Some(reason) => reason.as_str(),
                    None => face.state.as_str(),
                };
                noted.activity.reason = Some(reason.into());
            }
            if let Some(score) = face.score {
                let highest = noted.scores.entry(face.track_id).or_insert(score);
                *highest = highest.max(score);
            }
        }
    }

    fn keep_report(&self, noted: &mut Noted, report: &Arc<FrameReport>) {
        let Some(keep) = self.keep else { return };
        let time = |report: &FrameReport| report.running_time.unwrap_or(report.pts);
        let oldest = time(report).saturating_sub(u64::try_from(keep.milliseconds).unwrap_or(0) * 2_000_000);
        let reports = &mut noted.kept.reports;
        reports.push_back(report.clone());
        while reports.len() > MAX_REPORTS || reports.front().is_some_and(|first| time(first) < oldest) {
            reports.pop_front();
        }
        let Some(clip) = &mut noted.kept.clip else { return };
        clip.report(report);
        let score = report.faces.iter().filter_map(|face| face.score).reduce(f64::max);
        let (Some(score), Some(shown), Some(buffer), Some(caps)) = (score, noted.shown, &noted.picture, &noted.caps)
        else {
            return;
        };
        if clip.wants_picture(score, shown) {
            clip.picture(gst::Sample::builder().buffer(buffer).caps(caps).build(), shown);
        }
    }
}

/// When that time of the stream is played, since the pipeline runs. Times may lie a little outside
/// of their segment, as those of pictures that are decoded early do.
fn running_time(pad: &gst::Pad, time: Option<gst::ClockTime>) -> Option<gst::ClockTime> {
    let segment = pad.sticky_event::<gst::event::Segment>(0)?;
    let time = segment.segment().downcast_ref::<gst::ClockTime>()?.to_running_time_full(time?)?;
    Some(time.positive().unwrap_or(gst::ClockTime::ZERO))
}

impl Pipeline {
    /// Makes the pipeline and starts it on a thread of its own. `tell` may be called from any
    /// thread.
    pub fn open(feed: &Feed, tell: impl Fn(Happening) + Send + Sync + 'static) -> Result<Self, gst::glib::BoolError> {
        let tell = Arc::new(tell);
        let scheme = feed.source.scheme().unwrap_or_default();
        let pipeline = gst::Pipeline::new();
        let source = make("uridecodebin")?;
        source.set_property("uri", feed.source.reveal());
        let queue = make("queue")?;
        queue.set_property("max-size-buffers", 4u32);
        queue.set_property("max-size-bytes", 0u32);
        queue.set_property("max-size-time", 0u64);
        let convert = make("videoconvert")?;
        let detect = make("deepfakedetect")?;
        detect.set_property_from_str("mode", "async");
        detect.set_property_from_str("device", &feed.device);
        if let Some(model) = &feed.model {
            detect.set_property("model", model);
        }
        if let Some(threshold) = feed.fake_threshold {
            detect.set_property_from_str("fake-threshold", &threshold.to_string());
        }
        let sink = make("fakesink")?;
        // What comes faster than it plays is slowed to its own time; a live feed has its time
        // already.
        sink.set_property("sync", ["file", "http", "https"].contains(&scheme.as_str()));
        sink.set_property("async", feed.looped);

        let watch = Arc::new(Watch::new(feed.ring));
        pipeline.add(&source)?;
        set_source_up(&source, feed);
        if feed.ring.is_some() {
            watch_decoders(&source, &watch);
        }
        let entry = pad(&queue, "sink")?;
        let chain = [queue, convert, detect.clone(), sink];
        let noting = watch.clone();
        source.connect_pad_added(move |source, pad| {
            let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
            let video = caps.iter().any(|of| of.name().starts_with("video/x-raw"));
            // The first picture is watched; more of them, as of several programmes in one stream,
            // are not.
            if video && !entry.is_linked() {
                noting.noted().kept.decoder = decoder_of(pad);
                if let Err(error) = join(source, &chain, pad, &entry) {
                    gst::element_error!(
                        source,
                        gst::CoreError::Negotiation,
                        ("the picture cannot be watched: {error}")
                    );
                }
            }
        });

        let noting = watch.clone();
        pad(&detect, "sink")?.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if let Some(buffer) = info.buffer() {
                noting.picture(pad, buffer);
            }
            gst::PadProbeReturn::Ok
        });
        let noting = watch.clone();
        pad(&detect, "src")?.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if let Some(report) = info.buffer().and_then(|buffer| meta::read(buffer)) {
                noting.report(report);
            }
            gst::PadProbeReturn::Ok
        });
        watch_bus(&pipeline, feed, &watch, tell.clone());

        let starting = pipeline.clone();
        let (looped, address) = (feed.looped, feed.source.clone());
        let start = move || {
            if let Err(reason) = start(&starting, looped) {
                tell(Happening::Failed(address.scrub(&reason)));
            }
        };
        std::thread::Builder::new()
            .name("open".into())
            .spawn(start)
            .map_err(|error| gst::glib::bool_error!("no thread to open the source with: {error}"))?;
        Ok(Self { pipeline, watch })
    }

    /// What was seen since the last call.
    pub fn look(&self) -> Look {
        let now = self.watch.now();
        let mut noted = self.watch.noted();
        let mut activity = std::mem::take(&mut noted.activity);
        activity.trouble.clone_from(&noted.trouble);
        Look {
            signs: noted.liveness.signs(now),
            activity,
            scores: std::mem::take(&mut noted.scores).into_iter().collect(),
            model: noted.model.clone(),
            device: noted.device.clone(),
            size: noted.info.as_ref().map(|info| (info.width(), info.height())),
        }
    }

    /// Gives the newest picture as JPEG to `done`, from another thread. No picture, no call.
    pub fn still(&self, done: impl FnOnce(Vec<u8>) + Send + 'static) {
        let noted = self.watch.noted();
        let (Some(buffer), Some(caps), Some(info)) = (&noted.picture, &noted.caps, &noted.info) else { return };
        let (width, height) = (info.width() as i32, info.height() as i32);
        let sample = gst::Sample::builder().buffer(buffer).caps(caps).build();
        drop(noted);
        let scale = f64::from(STILL_WIDTH) / f64::from(width.max(height).max(1));
        let caps = gst::Caps::builder("image/jpeg")
            .field("width", ((f64::from(width) * scale) as i32).max(16))
            .field("height", ((f64::from(height) * scale) as i32).max(16))
            .build();
        let convert = move || {
            if let Some(jpeg) = clip::jpeg(&sample, &caps) {
                done(jpeg);
            }
        };
        std::thread::Builder::new().name("still".into()).spawn(convert).ok();
    }

    /// Starts a clip with what is in memory. `tell` is called from other threads, and last with
    /// [`News::Ended`].
    pub fn record(&self, order: clip::Order, tell: impl Fn(News) + Send + 'static) {
        let refuse = |why: &str| News::Ended { length: 0, missing: vec![why.into()] };
        let mut noted = self.watch.noted();
        let noted = &mut *noted;
        let Some(keep) = self.watch.keep else { return tell(refuse("everything: clips are switched off")) };
        let kept = &mut noted.kept;
        if kept.filled_from.is_none() && noted.picture.is_some() {
            return tell(refuse("everything: the feed is not encoded, so there are no bytes to keep"));
        }
        let shown = noted.shown.unwrap_or(0);
        let wanted = i64::try_from(shown / 1_000_000).unwrap_or(0) - keep.milliseconds;
        let newest = kept.ring.units().last().map(|unit| unit.item.caps.clone());
        let mut missing: Vec<String> = kept.ring.missing(wanted).into_iter().collect();
        let mut packets: Vec<Packet> = Vec::new();
        for unit in kept.ring.units() {
            if newest.as_ref() == Some(&unit.item.caps) {
                packets.push(unit.item.clone());
            } else if packets.is_empty() && missing.is_empty() {
                missing.push("some of the pre-roll: the feed changed its format".into());
            }
        }
        let reports = kept.reports.iter().cloned().collect();
        // Without a thread the error is told; the feed is not disturbed.
        let tell = Arc::new(Mutex::new(tell));
        let telling = tell.clone();
        let telling = move |news| telling.lock().unwrap_or_else(PoisonError::into_inner)(news);
        match Clip::start(clip::Start { order, packets, reports, shown, missing }, telling) {
            Ok(clip) => kept.clip = Some(clip),
            Err(error) => {
                let tell = tell.lock().unwrap_or_else(PoisonError::into_inner);
                tell(refuse(&format!("everything: no thread to write with: {error}")));
            }
        }
    }

    /// Ends the clip that is being written.
    pub fn stop_recording(&self) {
        if let Some(clip) = self.watch.noted().kept.clip.take() {
            clip.end(None);
        }
    }

    /// Stops everything. May hang where the other end of a connection is gone.
    pub fn close(self) {
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
        if let Some(clip) = self.watch.noted().kept.clip.take() {
            clip.end(Some("the end: the feed was closed".into()));
        }
        self.pipeline.set_state(gst::State::Null).ok();
    }
}

fn make(factory: &str) -> Result<gst::Element, gst::glib::BoolError> {
    gst::ElementFactory::make(factory).build()
}

fn pad(element: &gst::Element, name: &str) -> Result<gst::Pad, gst::glib::BoolError> {
    element.static_pad(name).ok_or_else(|| gst::glib::bool_error!("{} has no pad {name}", element.name()))
}

/// Puts the analysis behind the source's picture. Only now: a source that cannot be reached loads
/// no model, and so is closed at once.
fn join(
    source: &gst::Element,
    chain: &[gst::Element],
    picture: &gst::Pad,
    entry: &gst::Pad,
) -> Result<(), gst::glib::BoolError> {
    let pipeline = source.parent().and_downcast::<gst::Pipeline>();
    let pipeline = pipeline.ok_or_else(|| gst::glib::bool_error!("the source is in no pipeline"))?;
    pipeline.add_many(chain)?;
    gst::Element::link_many(chain)?;
    chain.iter().rev().try_for_each(|element| element.sync_state_with_parent())?;
    picture.link(entry).map(drop).map_err(|error| gst::glib::bool_error!("{error}"))
}

/// Notes what goes into each decoder of the source.
fn watch_decoders(source: &gst::Element, watch: &Arc<Watch>) {
    let Some(source) = source.downcast_ref::<gst::Bin>() else { return };
    let watch = Arc::downgrade(watch);
    source.connect_deep_element_added(move |_, _, element| {
        let class = element.factory().and_then(|factory| factory.metadata(gst::ELEMENT_METADATA_KLASS).map(Into::into));
        let class: String = class.unwrap_or_default();
        let decodes = class.contains("Decoder") && (class.contains("Video") || class.contains("Image"));
        let Some(sink) = element.static_pad("sink").filter(|_| decodes) else { return };
        let (watch, name) = (watch.clone(), element.name());
        let mask = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
        sink.add_probe(mask, move |pad, info| {
            if let Some(watch) = watch.upgrade() {
                match &info.data {
                    Some(gst::PadProbeData::Buffer(buffer)) => watch.encoded(pad, &name, buffer),
                    Some(gst::PadProbeData::BufferList(list)) => {
                        list.iter().for_each(|buffer| watch.encoded(pad, &name, buffer));
                    }
                    _ => {}
                }
            }
            gst::PadProbeReturn::Ok
        });
    });
}

/// The element that makes what comes out of `pad`, through the bins around it.
fn decoder_of(pad: &gst::Pad) -> Option<String> {
    let mut pad = pad.clone();
    while let Some(inner) = pad.downcast_ref::<gst::GhostPad>().and_then(|ghost| ghost.target()) {
        pad = inner;
    }
    pad.parent_element().map(|element| element.name().into())
}

fn set_source_up(source: &gst::Element, feed: &Feed) {
    // Sound and subtitles are not decoded.
    source.connect("autoplug-continue", false, |values| {
        let caps = values[2].get::<gst::Caps>().ok();
        let other =
            |name: &str| ["audio/", "text/", "subpicture/", "closedcaption/"].iter().any(|kind| name.starts_with(kind));
        let go_on = caps.is_none_or(|caps| !caps.iter().any(|of| other(of.name())));
        Some(go_on.to_value())
    });
    let (transport, latency) = (feed.transport, feed.latency_ms);
    source.connect("source-setup", false, move |values| {
        let source = values[1].get::<gst::Element>().ok()?;
        let factory = source.factory()?.name();
        match factory.as_str() {
            "rtspsrc" => {
                let protocols = match transport {
                    Transport::Tcp => "tcp",
                    Transport::Udp => "udp+udp-mcast",
                };
                source.set_property_from_str("protocols", protocols);
                source.set_property("latency", latency);
                source.set_property("teardown-timeout", 1_000_000_000u64);
            }
            "srtsrc" => source.set_property("latency", latency.cast_signed()),
            _ => {}
        }
        None
    });
}

/// Starts the pipeline; blocks as long as the source lets it wait.
fn start(pipeline: &gst::Pipeline, looped: bool) -> Result<(), String> {
    let refused = |_| "the source cannot be started".to_owned();
    if looped {
        // A loop is a segment that ends with a message instead of EOS; its seek needs a pipeline
        // that has prerolled.
        pipeline.set_state(gst::State::Paused).map_err(refused)?;
        let (done, ..) = pipeline.state(gst::ClockTime::from_seconds(20));
        done.map_err(refused)?;
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::SEGMENT;
        pipeline.seek_simple(flags, gst::ClockTime::ZERO).map_err(|_| "the source cannot be looped".to_owned())?;
    }
    pipeline.set_state(gst::State::Playing).map(drop).map_err(refused)
}

fn watch_bus(
    pipeline: &gst::Pipeline,
    feed: &Feed,
    watch: &Arc<Watch>,
    tell: Arc<impl Fn(Happening) + Send + Sync + 'static>,
) {
    let Some(bus) = pipeline.bus() else { return };
    let (address, watch, looped, again) = (feed.source.clone(), watch.clone(), feed.looped, pipeline.downgrade());
    bus.set_sync_handler(move |_, message| {
        match message.view() {
            gst::MessageView::Error(error) => {
                let source = error.src().map(|source| source.name().to_string()).unwrap_or_default();
                let debug = error.debug().unwrap_or_default();
                let detail = debug.lines().last().unwrap_or_default().trim();
                let reason = address.scrub(&format!("{source}: {} ({detail})", error.error()));
                tell(Happening::Failed(reason));
            }
            gst::MessageView::Warning(warning) => {
                let from_detect = warning.src().is_some_and(|source| source.name().starts_with("deepfakedetect"));
                if from_detect {
                    watch.noted().trouble = Some(address.scrub(&warning.error().to_string()));
                }
            }
            gst::MessageView::Eos(_) => {
                tell(if looped { Happening::Failed("the file cannot be looped".into()) } else { Happening::Ended })
            }
            gst::MessageView::SegmentDone(_) => {
                if let Some(pipeline) = again.upgrade() {
                    // Not from the streaming thread that posts this: a seek waits for it.
                    pipeline.call_async(|pipeline| {
                        pipeline.seek_simple(gst::SeekFlags::SEGMENT, gst::ClockTime::ZERO).ok();
                    });
                }
            }
            gst::MessageView::Element(element) => {
                if let Some(alert) = element.structure().and_then(read_alert) {
                    tell(Happening::Alert(alert));
                }
            }
            _ => {}
        }
        gst::BusSyncReply::Drop
    });
}

/// Takes what it knows of the message and leaves the rest: newer elements say more.
fn read_alert(structure: &gst::StructureRef) -> Option<Alert> {
    if !structure.has_name(message::ALERT) {
        return None;
    }
    let text = |name: &str| structure.get::<String>(name).ok();
    let report = structure.get::<gst::Structure>("report").ok();
    let face = structure.get::<gst::Structure>("face").ok();
    let score = structure.get::<f64>("peak").ok().or_else(|| face.and_then(|face| face.get::<f64>("score").ok()));
    Some(Alert {
        action: text("action")?,
        kind: text("kind")?,
        track_id: structure.get("track_id").ok()?,
        score,
        model: report.and_then(|report| report.get::<String>("model").ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_read_whatever_else_the_message_says() {
        gst::init().unwrap();
        let report = gst::Structure::builder("deepfake-report").field("model", "l40@1").build();
        let face = gst::Structure::builder("face").field("score", 0.8).build();
        let alert = |builder: gst::structure::Builder| {
            builder
                .field("action", "raised")
                .field("kind", "sustained")
                .field("track_id", 3u32)
                .field("report", &report)
        };
        let plain = alert(gst::Structure::builder(message::ALERT)).field("face", &face).build();
        let read = read_alert(&plain).unwrap();
        assert_eq!((read.score, read.track_id, read.model.as_deref()), (Some(0.8), 3, Some("l40@1")));
        let newer = alert(gst::Structure::builder(message::ALERT)).field("peak", 0.95).field("id", "x").build();
        assert_eq!(read_alert(&newer).unwrap().score, Some(0.95));
        assert!(read_alert(&report).is_none());
    }
}
