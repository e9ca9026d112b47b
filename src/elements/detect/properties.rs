//! The element's properties: how each is declared, and which [setting](Settings) it is.

use glib::ParamSpecBuilderExt;
use glib::prelude::*;
use gst::prelude::*;

use super::settings::Settings;
use super::{Device, FaceSource, Mode, OnError};

/// All of them, in the order in which they are listed.
pub fn specs() -> Vec<glib::ParamSpec> {
    let default = Settings::default();
    vec![
        glib::ParamSpecString::builder("model")
            .nick("Model")
            .blurb("Name of an installed model package, or path of a folder that holds one; unset = l40; while playing a new one is loaded beside the old, which stays if that fails")
            .default_value(default.model.as_deref())
            .mutable_playing()
            .build(),
        glib::ParamSpecEnum::builder_with_default("device", default.device)
            .nick("Device")
            .blurb("What to run the model on; see active-device for what it does run on. A device that is lost while playing is tried again")
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("active-device")
            .nick("Active device")
            .blurb("What the model runs on right now: cpu, cuda, tensorrt or openvino; unset while stopped, or while a required device is lost")
            .read_only()
            .build(),
        glib::ParamSpecBoolean::builder("require-device")
            .nick("Require device")
            .blurb("Fail to start if the device asked for does not work, and analyse nothing while it is lost, instead of falling back to the CPU")
            .default_value(default.require_device)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("threads")
            .nick("Threads")
            .blurb("CPU threads for each run of a graph; 0 = one per core, shared by all, 1 = results repeat bit for bit")
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
        glib::ParamSpecEnum::builder_with_default("video-direction", default.video_direction)
            .nick("Video direction")
            .blurb("How pictures are to be turned to stand upright; auto (and custom) = as the stream's tag image-orientation says. Set identity after an element that has turned them: videoflip leaves the tag as it is")
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("face-detector")
            .nick("Face detector")
            .blurb("ONNX file of the face detector, CenterFace or YuNet; unset = the installed CenterFace")
            .default_value(default.face_detector.as_deref())
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("detection-size")
            .nick("Detection size")
            .blurb("Longer side, in pixels, of the picture in which new faces are looked for: those of 20 pixels there are found; larger finds smaller ones and costs more")
            .minimum(32)
            .maximum(4096)
            .default_value(default.detection_size)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("discovery-interval")
            .nick("Discovery interval")
            .blurb("Look for new faces in the whole frame about this often, in milliseconds, and after each cut; in between, known faces are looked for where they are expected; 0 = always")
            .maximum(60_000)
            .default_value(default.discovery_interval)
            .mutable_playing()
            .build(),
        glib::ParamSpecFloat::builder("detection-threshold")
            .nick("Detection threshold")
            .blurb("Minimum confidence, 0..1, at which the detector's find is a new face")
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
        glib::ParamSpecBoolean::builder("attach-where")
            .nick("Attach where")
            .blurb("Reports also say where in each face's box the model sees a change, where it can: rows of numbers, 0..1")
            .default_value(default.attach_where)
            .mutable_playing()
            .build(),
        glib::ParamSpecBoolean::builder("post-messages")
            .nick("Post messages")
            .blurb("Post an element message deepfake-report for each analysed frame; alerts are posted in any case")
            .default_value(default.post_messages)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("alert-after")
            .nick("Alert after")
            .blurb("Raise an alert when the smoothed score of a face has stayed over the fake threshold for this many milliseconds")
            .maximum(600_000)
            .default_value(default.alert_after)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("alert-hold")
            .nick("Alert hold")
            .blurb("Clear an alert when the score has not been over the fake threshold for this many milliseconds")
            .maximum(600_000)
            .default_value(default.alert_hold)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("expire")
            .nick("Expire")
            .blurb("Attach no report that is more than this many milliseconds older than the frame; 0 = never")
            .default_value(default.expire)
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("stream")
            .nick("Stream")
            .blurb("Name of the stream in reports, such as the camera's; unset = none")
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("processing-deadline")
            .nick("Processing deadline")
            .blurb("Latency to report in mode=sync, in milliseconds; 0 = what nearly all of the newest frames took")
            .maximum(60_000)
            .default_value(default.processing_deadline)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("stats-interval")
            .nick("Statistics interval")
            .blurb("Post the property stats as an element message about this often, in milliseconds; 0 = never")
            .default_value(default.stats_interval)
            .mutable_playing()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb("State, model and device; frames passed, analysed, shed, failed and waiting; faces, tracks, alerts; time per frame and stage in nanoseconds")
            .read_only()
            .build(),
    ]
}

/// Changes the setting that the property `name` stands for.
pub fn set(settings: &mut Settings, name: &str, value: &glib::Value) {
    const CHECKED: &str = "GObject has checked the type";
    match name {
        "model" => settings.model = value.get().expect(CHECKED),
        "device" => settings.device = value.get::<Device>().expect(CHECKED),
        "require-device" => settings.require_device = value.get().expect(CHECKED),
        "threads" => settings.threads = value.get().expect(CHECKED),
        "mode" => settings.mode = value.get::<Mode>().expect(CHECKED),
        "on-error" => settings.on_error = value.get::<OnError>().expect(CHECKED),
        "video-direction" => settings.video_direction = value.get().expect(CHECKED),
        "face-source" => settings.face_source = value.get::<FaceSource>().expect(CHECKED),
        "face-detector" => settings.face_detector = value.get().expect(CHECKED),
        "detection-size" => settings.detection_size = value.get().expect(CHECKED),
        "discovery-interval" => settings.discovery_interval = value.get().expect(CHECKED),
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
        "processing-deadline" => settings.processing_deadline = value.get().expect(CHECKED),
        "attach-where" => settings.attach_where = value.get().expect(CHECKED),
        "post-messages" => settings.post_messages = value.get().expect(CHECKED),
        "alert-after" => settings.alert_after = value.get().expect(CHECKED),
        "alert-hold" => settings.alert_hold = value.get().expect(CHECKED),
        "expire" => settings.expire = value.get().expect(CHECKED),
        "stream" => settings.stream = value.get().expect(CHECKED),
        "stats-interval" => settings.stats_interval = value.get().expect(CHECKED),
        name => unreachable!("no property {name} can be set"),
    }
}

/// The setting that the property `name` stands for.
pub fn get(settings: &Settings, name: &str) -> glib::Value {
    match name {
        "model" => settings.model.to_value(),
        "device" => settings.device.to_value(),
        "require-device" => settings.require_device.to_value(),
        "threads" => settings.threads.to_value(),
        "mode" => settings.mode.to_value(),
        "on-error" => settings.on_error.to_value(),
        "video-direction" => settings.video_direction.to_value(),
        "face-source" => settings.face_source.to_value(),
        "face-detector" => settings.face_detector.to_value(),
        "detection-size" => settings.detection_size.to_value(),
        "discovery-interval" => settings.discovery_interval.to_value(),
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
        "processing-deadline" => settings.processing_deadline.to_value(),
        "attach-where" => settings.attach_where.to_value(),
        "post-messages" => settings.post_messages.to_value(),
        "alert-after" => settings.alert_after.to_value(),
        "alert-hold" => settings.alert_hold.to_value(),
        "expire" => settings.expire.to_value(),
        "stream" => settings.stream.to_value(),
        "stats-interval" => settings.stats_interval.to_value(),
        name => unreachable!("no property {name} can be read"),
    }
}
