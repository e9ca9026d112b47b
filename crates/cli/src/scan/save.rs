//! The video again, with boxes and verdicts drawn on it.
//!
//! ```text
//! appsrc ! deepfakeoverlay ! videoconvert ! x264enc ! h264parse ! mp4mux ! filesink
//! ```

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use gst::prelude::*;

/// How long the last frames may take to be written.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(120);

/// Writes frames that carry reports. The file has its name when it is whole.
pub struct Saver {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    part: PathBuf,
    path: PathBuf,
}

impl Saver {
    /// # Errors
    /// If the file is there already, or GStreamer lacks an element.
    pub fn new(path: &Path) -> Result<Self> {
        if path.exists() {
            bail!("{} is there already; choose another name for --save, or remove it", path.display());
        }
        let part = path.with_extension("mp4.part");
        let make = |factory: &str, package: &str| {
            gst::ElementFactory::make(factory)
                .build()
                .map_err(|_| anyhow!("GStreamer has no element {factory}, which --save needs: install {package}"))
        };
        let source = gst_app::AppSrc::builder().format(gst::Format::Time).max_buffers(4).build();
        source.set_block(true);
        let encoder = match make("x264enc", "gstreamer1.0-plugins-ugly") {
            Ok(encoder) => {
                encoder.set_property_from_str("speed-preset", "veryfast");
                encoder.set_property_from_str("pass", "quant");
                encoder.set_property("quantizer", 21u32);
                encoder
            }
            Err(error) => make("openh264enc", "gstreamer1.0-plugins-bad").map_err(|_| error)?,
        };
        let sink = make("filesink", "gstreamer1.0-plugins-base")?;
        sink.set_property("location", &part);
        let chain = [
            source.clone().upcast(),
            make("deepfakeoverlay", "gst-plugin-deepfake")?,
            make("videoconvert", "gstreamer1.0-plugins-base")?,
            encoder,
            make("h264parse", "gstreamer1.0-plugins-bad")?,
            make("mp4mux", "gstreamer1.0-plugins-good")?,
            sink,
        ];
        let pipeline = gst::Pipeline::new();
        pipeline.add_many(&chain)?;
        gst::Element::link_many(&chain)?;
        let saver = Self { pipeline, source, part, path: path.to_owned() };
        if saver.pipeline.set_state(gst::State::Playing).is_err() {
            return Err(saver.trouble());
        }
        Ok(saver)
    }

    /// # Errors
    /// If the disk is full, or the encoder does not take the frames.
    pub fn push(&self, sample: &gst::Sample) -> Result<()> {
        self.source.push_sample(sample).map(|_| ()).map_err(|_| self.trouble())
    }

    /// Writes the rest.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(self) -> Result<()> {
        let _ = self.source.end_of_stream();
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        match bus.timed_pop_filtered(PATIENCE, &[gst::MessageType::Eos, gst::MessageType::Error]) {
            Some(message) if message.type_() == gst::MessageType::Eos => {
                let _ = self.pipeline.set_state(gst::State::Null);
                std::fs::rename(&self.part, &self.path).with_context(|| format!("cannot write {}", self.path.display()))
            }
            Some(message) => Err(self.explain(&message)),
            None => bail!("{} was not written within {PATIENCE}", self.path.display()),
        }
    }

    fn trouble(&self) -> anyhow::Error {
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        match bus.timed_pop_filtered(gst::ClockTime::from_seconds(1), &[gst::MessageType::Error]) {
            Some(message) => self.explain(&message),
            None => anyhow!("{} cannot be written", self.path.display()),
        }
    }

    fn explain(&self, message: &gst::Message) -> anyhow::Error {
        match message.view() {
            gst::MessageView::Error(error) => {
                anyhow!("{} cannot be written: {}", self.path.display(), error.error().message())
            }
            _ => anyhow!("{} cannot be written", self.path.display()),
        }
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
        // Gone already where all went well.
        let _ = std::fs::remove_file(&self.part);
    }
}
