//! What the user sets, and what the analysis makes of it.

use std::path::PathBuf;

use gst_video::VideoOrientationMethod;

use super::{Device, FaceSource, Mode, OnError};
use deepfake_engine::analysis::AnalysisError;
use deepfake_engine::analysis::analyzer::{Analyzer, AnalyzerSettings};
use deepfake_engine::analysis::cropper::Alignment;
use deepfake_engine::analysis::detector::FaceDetector;
use deepfake_engine::analysis::follower::FollowerSettings;
use deepfake_engine::analysis::quality::QualityLimits;
use deepfake_engine::inference::{DeviceRequest, Model, ModelPackage, SessionOptions, places, runtime};
use deepfake_report::alert::AlertSettings;

/// The model that is used where none is named.
pub const DEFAULT_MODEL: &str = "l40";

/// The face detector that is used where none is named.
const DEFAULT_DETECTOR: &str = "centerface.onnx";

const NS_PER_MS: u64 = 1_000_000;

/// Values of the element's properties.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `None` for the default one.
    pub model: Option<String>,
    pub device: Device,
    pub require_device: bool,
    pub threads: u32,
    pub mode: Mode,
    pub on_error: OnError,
    pub video_direction: VideoOrientationMethod,
    pub face_source: FaceSource,
    pub face_detector: Option<String>,
    pub detection_size: u32,
    /// Milliseconds.
    pub discovery_interval: u32,
    pub detection_threshold: f32,
    pub detect_interval: u32,
    pub max_faces: u32,
    pub min_face_size: u32,
    pub min_sharpness: f64,
    pub min_luma: f64,
    pub max_turn: f32,
    /// Below zero: the model's own. The same holds for the next two.
    pub fake_threshold: f64,
    pub authentic_threshold: f64,
    pub hysteresis: f64,
    pub attach_where: bool,
    pub post_messages: bool,
    /// Milliseconds.
    pub alert_after: u32,
    pub alert_hold: u32,
    /// Milliseconds; 0 for never.
    pub expire: u32,
    /// Name of the stream in reports.
    pub stream: Option<String>,
    /// Milliseconds; 0 for what frames take.
    pub processing_deadline: u32,
    /// Milliseconds; 0 for never.
    pub stats_interval: u32,
}

impl Default for Settings {
    fn default() -> Self {
        let follower = FollowerSettings::default();
        let quality = QualityLimits::default();
        let alerts = AlertSettings::default();
        Self {
            model: Some(DEFAULT_MODEL.into()),
            device: Device::default(),
            require_device: false,
            threads: 0,
            mode: Mode::default(),
            on_error: OnError::default(),
            video_direction: VideoOrientationMethod::Auto,
            face_source: FaceSource::default(),
            face_detector: None,
            detection_size: follower.detection_size,
            discovery_interval: (follower.discovery_interval / NS_PER_MS) as u32,
            detection_threshold: follower.detection_threshold,
            detect_interval: follower.detect_interval,
            max_faces: follower.max_faces as u32,
            min_face_size: quality.min_face_size as u32,
            min_sharpness: quality.min_sharpness,
            min_luma: quality.min_luma,
            max_turn: quality.max_turn,
            fake_threshold: -1.0,
            authentic_threshold: -1.0,
            hysteresis: -1.0,
            attach_where: false,
            post_messages: false,
            alert_after: (alerts.after_ns / NS_PER_MS) as u32,
            alert_hold: (alerts.hold_ns / NS_PER_MS) as u32,
            expire: 2000,
            stream: None,
            processing_deadline: 0,
            stats_interval: 0,
        }
    }
}

impl Settings {
    /// The part that may change while frames flow.
    pub fn analyzer(&self) -> AnalyzerSettings {
        let chosen = |value: f64| (value >= 0.0).then_some(value);
        AnalyzerSettings {
            follower: FollowerSettings {
                detection_size: self.detection_size,
                discovery_interval: u64::from(self.discovery_interval) * NS_PER_MS,
                detection_threshold: self.detection_threshold,
                detect_interval: self.detect_interval,
                max_faces: self.max_faces as usize,
            },
            quality: QualityLimits {
                min_face_size: self.min_face_size as f32,
                min_sharpness: self.min_sharpness,
                min_luma: self.min_luma,
                max_turn: self.max_turn,
            },
            fake_threshold: chosen(self.fake_threshold),
            authentic_threshold: chosen(self.authentic_threshold),
            hysteresis: chosen(self.hysteresis),
            attach_where: self.attach_where,
        }
    }

    /// Finds ONNX Runtime, the model's package and the detector's file: all that can be said at once of whether they are there.
    ///
    /// # Errors
    /// Whatever [`runtime::get`], [`ModelPackage::find`] and [`places::find_detector`] report.
    pub fn find(&self) -> Result<Found, AnalysisError> {
        runtime::get()?;
        let detector = match (self.face_source, &self.face_detector) {
            (FaceSource::Upstream, _) => None,
            (FaceSource::Detect, Some(file)) => Some(PathBuf::from(file)),
            (FaceSource::Detect, None) => Some(places::find_detector(DEFAULT_DETECTOR)?),
        };
        Ok(Found { package: self.package()?, detector })
    }

    /// Loads what was found, which takes a second, or minutes where an engine has to be built.
    ///
    /// # Errors
    /// Whatever [`Model::load`] and [`FaceDetector::load`] report.
    pub fn load(&self, found: Found) -> Result<Analyzer, AnalysisError> {
        let model = Model::load(found.package, &self.session_options())?;
        let detector = match found.detector {
            Some(file) => Some(FaceDetector::load(&file, &self.session_options())?),
            None => None,
        };
        Ok(Analyzer::new(model, detector, self.analyzer()))
    }

    /// Finds and loads the model alone.
    ///
    /// # Errors
    /// Whatever [`ModelPackage::find`] and [`Model::load`] report.
    pub fn load_model(&self) -> Result<Model, AnalysisError> {
        Ok(Model::load(self.package()?, &self.session_options())?)
    }

    fn package(&self) -> Result<ModelPackage, AnalysisError> {
        let package = ModelPackage::find(self.model.as_deref().unwrap_or(DEFAULT_MODEL))?;
        let is_aligned = package.input.alignment == Alignment::FivePoint;
        if is_aligned && self.face_source == FaceSource::Upstream {
            return Err(AnalysisError::LandmarksNeeded { model: package.full_name() });
        }
        Ok(package)
    }

    fn session_options(&self) -> SessionOptions {
        SessionOptions {
            device: match self.device {
                Device::Auto => DeviceRequest::Auto,
                Device::Cpu => DeviceRequest::Cpu,
                Device::Cuda => DeviceRequest::Cuda,
                Device::TensorRt => DeviceRequest::TensorRt,
                Device::OpenVino => DeviceRequest::OpenVino,
            },
            require_device: self.require_device,
            threads: self.threads as usize,
        }
    }
}

/// What is to be loaded.
pub struct Found {
    pub package: ModelPackage,
    /// `None` where faces come from upstream.
    pub detector: Option<PathBuf>,
}
