//! The element as the commands use it: each frame waits for its analysis, on one thread, so that the same clip gives the same
//! scores bit for bit; whatever fails is an error.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use gst::prelude::*;
use serde::{Deserialize, Serialize};

/// What decides on scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detector {
    /// As the element takes it.
    pub model: String,
    pub device: String,
    /// Another face detector than the element's own.
    pub detector: Option<PathBuf>,
}

impl Detector {
    /// A new `deepfakedetect`.
    pub fn element(&self) -> Result<gst::Element> {
        let mut element = gst::ElementFactory::make("deepfakedetect")
            .property_from_str("mode", "sync")
            .property_from_str("device", &self.device)
            .property("require-device", self.device != "auto")
            .property("model", &self.model)
            .property("threads", 1u32)
            .property_from_str("on-error", "fail");
        if let Some(file) = &self.detector {
            element = element.property("face-detector", file.to_string_lossy().into_owned());
        }
        element.build().context("deepfakedetect cannot be made")
    }

    /// Starts an element that no clip passes, so that what makes every clip fail is said at once.
    pub fn warm(&self) -> Result<Warm> {
        let warm = Warm(self.element()?);
        let bus = gst::Bus::new();
        warm.0.set_bus(Some(&bus));
        let started = warm.0.set_state(gst::State::Paused);
        if let Some(message) = bus.pop_filtered(&[gst::MessageType::Error])
            && let gst::MessageView::Error(error) = message.view()
        {
            bail!("{}", error.error().message());
        }
        started.context("deepfakedetect does not start")?;
        Ok(warm)
    }
}

/// A started element: it keeps the inference sessions alive from one clip to the next.
pub struct Warm(gst::Element);

impl Drop for Warm {
    fn drop(&mut self) {
        let _ = self.0.set_state(gst::State::Null);
    }
}
