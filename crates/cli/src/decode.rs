//! Decodes a clip, frame by frame, in the decoder's own raw format.
//!
//! ```text
//! filesrc ! decodebin ! videoconvert ! [middle ! …] appsink
//! uridecodebin        ! videoconvert ! [middle ! …] appsink
//! ```
//!
//! `videoconvert` is pass-through whenever what follows takes the decoder's format. Tags pass, the orientation that
//! phones write among them.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use deepfake_engine::analysis::frame::{FrameError, Orientation};
use gst::prelude::*;
use gstdeepfake::elements::frame::{self, Orientations};

use crate::stop;

/// A clip that gives no frame for so long has hung its decoder.
const STALL: Duration = Duration::from_secs(120);
/// How often a waiting decoder looks whether it was told to stop.
const POLL: gst::ClockTime = gst::ClockTime::from_mseconds(100);

/// What the decoder's own thread notes of the stream.
#[derive(Default)]
struct Shared {
    /// Form of the decoder's newest picture.
    info: Mutex<Option<gst_video::VideoInfo>>,
    orientations: Mutex<Orientations>,
}

/// A clip being decoded. Dropped, it frees the decoder.
pub struct Decoder {
    pipeline: gst::Pipeline,
    sink: gst_app::AppSink,
    bus: gst::Bus,
    /// What GStreamer lacks to decode this clip, in words.
    missing: Vec<String>,
    /// Whether a video stream was found.
    linked: Arc<AtomicBool>,
    shared: Arc<Shared>,
    frames: u64,
    name: String,
}

impl Decoder {
    /// Opens `path` and has its frames pass `middle` (elements, for example `deepfakedetect`) before they are handed
    /// out. `caps` are the raw formats that are handed out.
    ///
    /// # Errors
    /// If the file is not there, or GStreamer lacks a basic element.
    pub fn open(path: &Path, caps: &gst::Caps, middle: &[gst::Element]) -> Result<Self> {
        let name = path.display().to_string();
        let metadata = path.metadata().with_context(|| format!("cannot open {name}"))?;
        if metadata.is_dir() {
            std::fs::read_dir(path).with_context(|| format!("cannot open {name}"))?;
            bail!("{name} is a folder in which there is no video");
        }
        if !metadata.is_file() {
            bail!("{name} is no file");
        }
        if metadata.len() == 0 {
            bail!("{name} is empty (0 bytes)");
        }
        // GStreamer's own message would not say why.
        std::fs::File::open(path).with_context(|| format!("cannot open {name}"))?;
        let source = make("filesrc", "gstreamer1.0-plugins-base")?;
        source.set_property("location", path);
        let decode = make("decodebin", "gstreamer1.0-plugins-base")?;
        Self::start(name, Some(source), decode, caps, middle)
    }

    /// As [`Self::open`], for an address; `name` is what errors call it.
    ///
    /// # Errors
    /// If GStreamer lacks a basic element, or nothing for this kind of address.
    pub fn open_address(address: &str, name: &str, caps: &gst::Caps, middle: &[gst::Element]) -> Result<Self> {
        let decode = make("uridecodebin", "gstreamer1.0-plugins-base")?;
        decode.set_property("uri", address);
        Self::start(name.to_owned(), None, decode, caps, middle)
    }

    fn start(
        name: String,
        source: Option<gst::Element>,
        decode: gst::Element,
        caps: &gst::Caps,
        middle: &[gst::Element],
    ) -> Result<Self> {
        // Sound is not even decoded.
        decode.set_property("caps", gst::Caps::builder("video/x-raw").any_features().build());
        decode.set_property("expose-all-streams", false);
        let convert = make("videoconvert", "gstreamer1.0-plugins-base")?;
        let sink = gst_app::AppSink::builder().caps(caps).sync(false).max_buffers(4).build();

        let pipeline = gst::Pipeline::new();
        pipeline.add_many([&decode, &convert])?;
        if let Some(source) = source {
            pipeline.add(&source)?;
            source.link(&decode)?;
        }
        let mut last = convert.clone();
        for middle in middle {
            pipeline.add(middle)?;
            last.link(middle)?;
            last = middle.clone();
        }
        pipeline.add(&sink)?;
        last.link(&sink)?;

        let shared: Arc<Shared> = Arc::default();
        let entry = convert.static_pad("sink").expect("videoconvert has a sink pad");
        let notes = shared.clone();
        entry.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            match info.event().map(|event| event.view()) {
                Some(gst::EventView::Caps(event)) => {
                    *notes.info.lock().unwrap() = gst_video::VideoInfo::from_caps(event.caps()).ok();
                }
                Some(gst::EventView::Tag(event)) => {
                    notes.orientations.lock().unwrap().add(event.tag());
                }
                _ => {}
            }
            gst::PadProbeReturn::Ok
        });

        let linked = Arc::new(AtomicBool::new(false));
        let (weak, seen) = (convert.downgrade(), linked.clone());
        decode.connect_pad_added(move |_, pad| {
            let Some(convert) = weak.upgrade() else { return };
            let entry = convert.static_pad("sink").expect("videoconvert has a sink pad");
            // Only the first video stream of a file is looked at.
            if !entry.is_linked() && pad.link(&entry).is_ok() {
                seen.store(true, Ordering::SeqCst);
            }
        });
        let (weak, seen) = (pipeline.downgrade(), linked.clone());
        decode.connect_no_more_pads(move |decode| {
            if let Some(pipeline) = weak.upgrade()
                && !seen.load(Ordering::SeqCst)
            {
                // Without this, a file of sound alone would be waited for in vain.
                let bus = pipeline.bus().expect("a pipeline has a bus");
                let error = gst::message::Error::builder(gst::StreamError::WrongType, "no video stream").src(decode);
                let _ = bus.post(error.build());
            }
        });

        let bus = pipeline.bus().expect("a pipeline has a bus");
        let decoder = Self { pipeline, sink, bus, missing: Vec::new(), linked, shared, frames: 0, name };
        if decoder.pipeline.set_state(gst::State::Playing).is_err() {
            let mut decoder = decoder;
            return Err(decoder.trouble().unwrap_or_else(|| anyhow!("cannot start decoding {}", decoder.name)));
        }
        Ok(decoder)
    }

    /// The next frame, `None` after the last.
    ///
    /// # Errors
    /// [`stop::Stopped`] if the user asked to stop; else what the pipeline reports.
    pub fn next(&mut self) -> Result<Option<gst::Sample>> {
        let begin = Instant::now();
        loop {
            stop::check()?;
            // Asked first: of what is pulled after, nothing is lost.
            let wrong = self.wrong_size();
            if let Some(sample) = self.sink.try_pull_sample(POLL) {
                self.frames += 1;
                return Ok(Some(sample));
            }
            if let Some(error) = self.trouble() {
                return Err(error);
            }
            // A demuxer that has handed over all it has does not hear that its pictures were refused.
            if let Some(error) = wrong {
                return Err(error);
            }
            if self.sink.is_eos() {
                if !self.linked.load(Ordering::SeqCst) {
                    bail!("{}: no video stream", self.name);
                }
                if self.frames == 0 {
                    bail!("{}: its video stream holds no frame that can be decoded", self.name);
                }
                return Ok(None);
            }
            if begin.elapsed() > STALL {
                bail!("{}: the decoder gave no frame for {} s", self.name, STALL.as_secs());
            }
        }
    }

    /// How long the clip is, where its container says so. Known once the first frame is out.
    pub fn duration(&self) -> Option<gst::ClockTime> {
        self.pipeline.query_duration::<gst::ClockTime>()
    }

    /// Whether the picture is too small or too large to be analysed: GStreamer would only say "not negotiated".
    fn wrong_size(&self) -> Option<anyhow::Error> {
        match frame::check(self.shared.info.lock().unwrap().as_ref()?) {
            // Without the element's advice: nobody puts anything before a file.
            Err(FrameError::Size { width, height, min, max }) => Some(anyhow!(
                "{}: frames of {width}x{height} cannot be analysed: sizes from {min}x{min} to {max}x{max} are accepted",
                self.name
            )),
            _ => None,
        }
    }

    /// How the pictures are to be turned when they are shown, as the stream's tags say.
    pub fn orientation(&self) -> Orientation {
        self.shared.orientations.lock().unwrap().current()
    }

    /// The error that waits on the bus, in words.
    fn trouble(&mut self) -> Option<anyhow::Error> {
        while let Some(message) = self.bus.pop_filtered(&[gst::MessageType::Error, gst::MessageType::Element]) {
            match message.view() {
                gst::MessageView::Element(element) => {
                    if let Some(structure) = element.structure()
                        && structure.name() == "missing-plugin"
                    {
                        self.missing.push(structure.get::<String>("name").unwrap_or_else(|_| structure.to_string()));
                    }
                }
                gst::MessageView::Error(error) => return Some(self.explain(error)),
                _ => {}
            }
        }
        None
    }

    fn explain(&self, error: &gst::message::Error) -> anyhow::Error {
        if let Some(error) = self.wrong_size() {
            return error;
        }
        let cause = error.error();
        let debug = error.debug().unwrap_or_default();
        // A decoder is missed, but only for sound.
        if !self.linked.load(Ordering::SeqCst) && debug.contains("(audio/") && !debug.contains("(video/") {
            return anyhow!("{}: no video stream", self.name);
        }
        if !self.missing.is_empty() {
            return anyhow!(
                "{}: GStreamer has no {} here; the package gstreamer1.0-libav decodes nearly everything",
                self.name,
                self.missing.join(", ")
            );
        }
        // Elements of this crate say cause and fix in their message; others say more in their debug text.
        let detail = debug.lines().last().map(|line| line.trim().to_owned());
        match detail {
            Some(detail) if !detail.is_empty() && !cause.message().contains(&detail) => {
                anyhow!("{}: {} ({detail})", self.name, cause.message())
            }
            _ => anyhow!("{}: {}", self.name, cause.message()),
        }
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// An element of a stock plugin, or an error that names the package it is in.
fn make(factory: &str, package: &str) -> Result<gst::Element> {
    gst::ElementFactory::make(factory)
        .build()
        .map_err(|_| anyhow!("GStreamer has no element {factory}: install {package}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> gst::Caps {
        gst::Caps::new_empty_simple("video/x-raw")
    }

    fn clip(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.deps/clips").join(name)
    }

    #[test]
    fn a_clip_is_decoded_to_its_last_frame_in_its_own_format() {
        gst::init().unwrap();
        let path = clip("WolfgangLanger_Pexels.mp4");
        if !path.exists() {
            eprintln!("SKIPPED: {} is not there; `make deps` fetches it", path.display());
            return;
        }
        let mut decoder = Decoder::open(&path, &any(), &[]).unwrap();
        let mut times = Vec::new();
        while let Some(sample) = decoder.next().unwrap() {
            let info = gst_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
            assert_eq!((info.format(), info.width(), info.height()), (gst_video::VideoFormat::I420, 640, 360));
            times.push(sample.buffer().unwrap().pts().unwrap());
        }
        assert_eq!(times.len(), 472);
        assert!(times.is_sorted());
    }

    #[test]
    fn what_is_no_video_is_an_error_that_names_the_file() {
        gst::init().unwrap();
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in [("empty.mp4", &b""[..]), ("text.mp4", b"this is no video at all\n"), ("absent.mp4", b"-")]
        {
            let path = folder.path().join(name);
            if name != "absent.mp4" {
                std::fs::write(&path, bytes).unwrap();
            }
            let result = Decoder::open(&path, &any(), &[]).and_then(|mut decoder| decoder.next());
            let error = format!("{:#}", result.map(|sample| sample.is_some()).unwrap_err());
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn sound_alone_is_no_video() {
        gst::init().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sound.wav");
        let text = format!("audiotestsrc num-buffers=3 ! wavenc ! filesink location=\"{}\"", path.display());
        let Ok(pipeline) = gst::parse::launch(&text) else {
            eprintln!("SKIPPED: no audiotestsrc or wavenc here");
            return;
        };
        pipeline.set_state(gst::State::Playing).unwrap();
        let bus = pipeline.bus().unwrap();
        bus.timed_pop_filtered(gst::ClockTime::from_seconds(10), &[gst::MessageType::Eos]).unwrap();
        pipeline.set_state(gst::State::Null).unwrap();

        let result = Decoder::open(&path, &any(), &[]).and_then(|mut decoder| decoder.next());
        let error = format!("{:#}", result.map(|sample| sample.is_some()).unwrap_err());
        assert!(error.contains("sound.wav: no video stream"), "{error}");
    }
}
