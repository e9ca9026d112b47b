//! `deepfake doctor`: what works on this machine, what does not, why, and what fixes it.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use deepfake_engine::{
    analysis::detector::{FaceDetector, Picture},
    inference::{Device, InferenceError, Model, ModelPackage, SessionOptions, Worker, places, runtime},
};
use gst::prelude::*;
use ndarray::{Array2, Array4};
use serde::Serialize;

use crate::files;

const AFTER: &str = "\
Exit code 0: deepfakedetect works with its default settings. 1: it does not; the lines with a cross say what to do.
A device that is marked as optional may be missing: the CPU does its work.

Examples:
  deepfake doctor
  deepfake doctor --json | jq '.checks[] | select(.state == \"failed\")'
  GST_PLUGIN_PATH=target/release deepfake doctor";

#[derive(clap::Args)]
#[command(after_long_help = AFTER)]
pub struct Args {
    /// Print one JSON object: ok, version, checks[] of group, name, state (ok|warning|failed), optional, detail, fix
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// Works, but not as it should.
    Warning,
    Failed,
}

/// One thing looked at.
#[derive(Debug, Serialize)]
struct Check {
    group: &'static str,
    name: String,
    state: State,
    /// The default settings do without it.
    optional: bool,
    /// What was found, or what is wrong.
    detail: String,
    /// What to do about it; empty if nothing.
    fix: String,
}

impl Check {
    fn ok(group: &'static str, name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { group, name: name.into(), state: State::Ok, optional: false, detail: detail.into(), fix: String::new() }
    }

    fn failed(group: &'static str, name: impl Into<String>, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { state: State::Failed, fix: fix.into(), ..Self::ok(group, name, detail) }
    }

    fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    fn warning(self) -> Self {
        Self { state: State::Warning, ..self }
    }
}

#[derive(Serialize)]
struct Findings {
    /// Whether the default settings work.
    ok: bool,
    version: &'static str,
    checks: Vec<Check>,
}

/// Runs the command. The plugin must not be registered yet.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut checks = vec![gstreamer()];
    checks.push(scanner());
    gstdeepfake::plugin_register_static().context("the plugin cannot be registered")?;
    checks.extend(stock_elements());

    let (found, runtime_works) = onnx_runtime();
    checks.push(found);
    let default_model: String = element()?.property("model");
    let (models, graph) = models(&default_model, runtime_works);
    let (detector, detector_file) = detector(runtime_works);
    checks.push(detector);
    checks.extend(models);
    if runtime_works {
        checks.extend(devices(graph.or(detector_file).as_deref()));
    }
    checks.push(if works(&checks) {
        pipeline()
    } else {
        Check::failed("Pipeline", "deepfakedetect", "not tried, for what is missing above", "")
    });

    let findings = Findings { ok: works(&checks), version: env!("CARGO_PKG_VERSION"), checks };
    files::print(&if args.json { serde_json::to_string_pretty(&findings)? + "\n" } else { words(&findings) });
    Ok(if findings.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether nothing that is needed failed.
fn works(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.optional || check.state != State::Failed)
}

fn words(findings: &Findings) -> String {
    let mut text = String::new();
    let mut group = "";
    for check in &findings.checks {
        if check.group != group {
            text += if group.is_empty() { "" } else { "\n" };
            group = check.group;
            text += &format!("{group}\n");
        }
        let sign = match check.state {
            State::Ok => "✓",
            State::Warning => "!",
            State::Failed => "✗",
        };
        let optional = if check.optional && check.state == State::Failed { " (optional)" } else { "" };
        text += &format!("  {sign} {}{optional}: {}\n", check.name, indent(&check.detail));
        if !check.fix.is_empty() {
            text += &format!("      → {}\n", indent(&check.fix));
        }
    }
    text + match findings.ok {
        true => "\ndeepfakedetect works with its default settings.\n",
        false => "\ndeepfakedetect does not work with its default settings: see the crosses above.\n",
    }
}

/// Further lines of a text stand under its first.
fn indent(text: &str) -> String {
    text.trim_end().replace('\n', "\n        ")
}

fn gstreamer() -> Check {
    Check::ok("GStreamer", "version", gst::version_string().trim_start_matches("GStreamer "))
}

/// Whether other programs, such as gst-launch-1.0, find the plugin.
fn scanner() -> Check {
    const GROUP: &str = "GStreamer";
    let plugins = gst::Registry::get().plugins();
    let ours = |plugin: &&gst::Plugin| {
        plugin.plugin_name() == "deepfake"
            || plugin.filename().is_some_and(|file| file.to_string_lossy().contains("libgstdeepfake."))
    };
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("libgstdeepfake.so")));
    let how = match beside.filter(|file| file.is_file()) {
        Some(file) => format!(
            "set GST_PLUGIN_PATH={}, or `make install`; this command has the plugin built in and works without",
            file.parent().unwrap_or(Path::new(".")).display()
        ),
        None => {
            "`make install`, or set GST_PLUGIN_PATH to the folder of libgstdeepfake.so; this command has the plugin \
                 built in and works without"
                .into()
        }
    };
    let Some(plugin) = plugins.iter().find(ours) else {
        return Check::failed(GROUP, "plugin", "not found by other programs (gst-launch-1.0)", how)
            .optional()
            .warning();
    };
    let file = plugin.filename().map_or("(no file)".into(), |file| file.display().to_string());
    if plugin.plugin_flags().contains(gst::PluginFlags::BLACKLISTED) {
        return Check::failed(
            GROUP,
            "plugin",
            format!("{file} could not be loaded by GStreamer's scanner and is on its black list"),
            format!("look for a missing library with `ldd {file}`, then `rm -r ~/.cache/gstreamer-1.0`"),
        )
        .optional();
    }
    let version = plugin.version();
    let detail = format!("{file}, version {version}");
    if version.split('-').next() == Some(env!("CARGO_PKG_VERSION")) {
        Check::ok(GROUP, "plugin", detail).optional()
    } else {
        let fix = format!("this command is version {}: install both from one build", env!("CARGO_PKG_VERSION"));
        Check::failed(GROUP, "plugin", detail, fix).optional().warning()
    }
}

/// Elements of others that everyday pipelines need.
fn stock_elements() -> Vec<Check> {
    let known = |factory: &str, what: &str, package: &str| match gst::ElementFactory::find(factory) {
        Some(found) => {
            let package = found.plugin().map_or(String::new(), |plugin| format!(" ({})", plugin.package()));
            Check::ok("GStreamer", factory, format!("{what}{package}")).optional()
        }
        None => {
            let fix = format!("apt-get install {package}");
            Check::failed("GStreamer", factory, format!("missing: {what}"), fix).optional()
        }
    };
    vec![
        known("decodebin", "opens any file", "gstreamer1.0-plugins-base"),
        known("videoconvert", "converts pixel formats", "gstreamer1.0-plugins-base"),
        known("qtdemux", "opens MP4 and MOV", "gstreamer1.0-plugins-good"),
        known("avdec_h264", "decodes H.264", "gstreamer1.0-libav"),
        known("x264enc", "encodes H.264", "gstreamer1.0-plugins-ugly"),
    ]
}

fn onnx_runtime() -> (Check, bool) {
    match runtime::get() {
        Ok(found) => {
            let detail = format!("{} from {}", found.version(), found.path().display());
            (Check::ok("Inference", "ONNX Runtime", detail), true)
        }
        Err(error) => (broken("Inference", "ONNX Runtime", &error), false),
    }
}

/// An error of ours ends with its fix, on a line of its own where the cause is long.
fn broken(group: &'static str, name: impl Into<String>, error: &dyn std::error::Error) -> Check {
    let text = error.to_string();
    let (detail, fix) = text.rsplit_once('\n').or_else(|| text.split_once(". ")).unwrap_or((&text, ""));
    Check::failed(group, name, detail, fix)
}

/// Every installed model, and the smallest graph of the default one, to try devices with.
fn models(default: &str, runtime_works: bool) -> (Vec<Check>, Option<PathBuf>) {
    const GROUP: &str = "Models";
    let mut checks = Vec::new();
    let mut graph = None;
    let mut folders = places::installed_models();
    let default_folder = places::find_model(default);
    match &default_folder {
        Ok(folder) if !folders.contains(folder) => folders.insert(0, folder.clone()),
        Ok(_) => {}
        Err(error) => checks.push(broken(GROUP, format!("{default} (default)"), error)),
    }
    for folder in folders {
        let is_default = default_folder.as_ref().is_ok_and(|default| *default == folder);
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = if is_default { format!("{name} (default)") } else { name };
        let check = match ModelPackage::load(&folder) {
            Err(error) => broken(GROUP, name, &error),
            Ok(package) => {
                if is_default {
                    let size = |path: &PathBuf| path.metadata().map_or(u64::MAX, |metadata| metadata.len());
                    graph = package.graphs.all().into_iter().map(|graph| graph.file.path.clone()).min_by_key(size);
                }
                if runtime_works { try_model(name, package) } else { Check::ok(GROUP, name, about(&package)) }
            }
        };
        checks.push(if is_default { check } else { check.optional() });
    }
    (checks, graph)
}

fn about(package: &ModelPackage) -> String {
    let (licence, commercial) = licence(&std::fs::read_to_string(package.dir.join("model.toml")).unwrap_or_default());
    let commercial = match commercial {
        Some(true) => "commercial use allowed",
        Some(false) => "commercial use NOT allowed",
        None => "whether commercial use is allowed is not stated",
    };
    format!("{}, in {}\nlicence: {commercial} ({licence})", package.full_name(), package.dir.display())
}

/// A model's licence in words, and whether its weights may be used commercially, from the text of its `model.toml`: from the
/// table `[licence]` where there is one, else from the words of `[model] licence`.
fn licence(description: &str) -> (String, Option<bool>) {
    const NO: [&str; 5] = ["research", "non-commercial", "noncommercial", "not commercial", "-nc"];
    const YES: [&str; 5] = ["mit", "apache-2.0", "bsd", "cc0", "public domain"];
    let table: toml::Table = description.parse().unwrap_or_default();
    let text = |value: Option<&toml::Value>| value.and_then(toml::Value::as_str).unwrap_or_default().to_owned();
    let own = table.get("licence");
    let commercial = own.and_then(|own| own.get("commercial")).and_then(toml::Value::as_bool);
    let mut words = text(own.and_then(|own| own.get("name").or_else(|| own.get("text"))));
    if words.is_empty() {
        words = text(table.get("model").and_then(|model| model.get("licence")));
    }
    if words.is_empty() {
        words = "none is named".into();
    }
    let lower = words.to_lowercase();
    let has = |of: &[&str]| of.iter().any(|word| lower.contains(word));
    let said = if has(&NO) { Some(false) } else { has(&YES).then_some(true) };
    (words, commercial.or(said))
}

/// Loads a model, which checks it against its graphs, and runs it on a grey face.
fn try_model(name: String, package: ModelPackage) -> Check {
    const RUNS: u32 = 5;
    let about = about(&package);
    let (width, height, frames) = (package.input.width, package.input.height, package.window.frames);
    let run = || -> Result<(Duration, Duration), InferenceError> {
        let model = Model::load(package, &cpu())?;
        let mut crop = Array4::from_elem((1, 3, height, width), 128.0);
        let began = Instant::now();
        for _ in 0..RUNS {
            model.encode(crop.view_mut())?;
        }
        let encode = began.elapsed() / RUNS;
        let feature = model.encode(crop.view_mut())?.remove(0).feature;
        let window = Array2::from_shape_fn((frames, feature.len()), |(_, column)| feature[column]);
        let began = Instant::now();
        for _ in 0..RUNS {
            model.head(&[window.view()])?;
        }
        Ok((encode, began.elapsed() / RUNS))
    };
    match run() {
        Ok((encode, head)) => {
            let detail = format!(
                "{about}; {:.1} ms a crop and {:.1} ms a window on one CPU thread",
                encode.as_secs_f64() * 1e3,
                head.as_secs_f64() * 1e3
            );
            Check::ok("Models", name, detail)
        }
        Err(error) => broken("Models", name, &error),
    }
}

fn cpu() -> SessionOptions {
    SessionOptions { device: Device::Cpu.into(), require_device: true, threads: 1 }
}

fn detector(runtime_works: bool) -> (Check, Option<PathBuf>) {
    const NAME: &str = "centerface.onnx (default)";
    let file = match places::find_detector("centerface.onnx") {
        Ok(file) => file,
        Err(error) => return (broken("Face detector", NAME, &error), None),
    };
    let place = file.display().to_string();
    if !runtime_works {
        return (Check::ok("Face detector", NAME, place), Some(file));
    }
    let (width, height) = (320, 192);
    let pixels = vec![128; width * height * 3];
    let run = || -> Result<Duration, deepfake_engine::analysis::AnalysisError> {
        let mut detector = FaceDetector::load(&file, &cpu())?;
        let picture = || Picture { pixels: &pixels, width, height };
        detector.detect(picture(), 0.5)?;
        let began = Instant::now();
        detector.detect(picture(), 0.5)?;
        Ok(began.elapsed())
    };
    let check = match run() {
        Ok(took) => {
            let took = took.as_secs_f64() * 1e3;
            Check::ok("Face detector", NAME, format!("{place}; {took:.1} ms at {width}×{height} on one CPU thread"))
        }
        Err(error) => broken("Face detector", NAME, &error),
    };
    (check, Some(file))
}

/// Tries each device with a real graph: only a session tells whether a device works.
fn devices(graph: Option<&Path>) -> Vec<Check> {
    const GROUP: &str = "Devices";
    let Some(graph) = graph else {
        let fix = "`make deps` fetches the face detector";
        return vec![Check::failed(GROUP, "all", "no graph is installed that they could be tried with", fix)];
    };
    let try_one = |device: Device| {
        let began = Instant::now();
        let options = SessionOptions { device: device.into(), require_device: true, threads: 1 };
        let check = match Worker::shared(&[graph], &options) {
            Ok(_) => Check::ok(
                GROUP,
                device.as_str(),
                format!("works (session made in {:.1} s)", began.elapsed().as_secs_f64()),
            ),
            Err(InferenceError::Device { cause, .. }) => Check::failed(GROUP, device.as_str(), cause, fix(device)),
            Err(error) => broken(GROUP, device.as_str(), &error),
        };
        if device == Device::Cpu { check } else { check.optional() }
    };
    Device::ALL.into_iter().map(try_one).collect()
}

fn fix(device: Device) -> &'static str {
    match device {
        Device::Cpu => "install another build of ONNX Runtime: `make deps`",
        Device::Cuda => {
            "needs an NVIDIA GPU with its driver, CUDA and cuDNN: `pip install onnxruntime-gpu[cuda,cudnn]`, then set \
             ORT_DYLIB_PATH to its onnxruntime/capi/libonnxruntime.so.1.* and LD_LIBRARY_PATH to the nvidia/*/lib \
             folders beside it"
        }
        Device::TensorRt => "needs all that cuda needs, and `pip install tensorrt`, with its folder in LD_LIBRARY_PATH",
        Device::OpenVino => {
            "`pip install onnxruntime-openvino`, then set ORT_DYLIB_PATH to its onnxruntime/capi/libonnxruntime.so.1.*"
        }
    }
}

fn element() -> Result<gst::Element> {
    gst::ElementFactory::make("deepfakedetect").build().context("deepfakedetect is not registered")
}

/// Frames through the element as it is by default.
fn pipeline() -> Check {
    const FRAMES: i32 = 30;
    let run = || -> Result<String> {
        let pipeline = gst::Pipeline::new();
        let source = gst::ElementFactory::make("videotestsrc").property("num-buffers", FRAMES).build()?;
        let caps = gst::ElementFactory::make("capsfilter")
            .property(
                "caps",
                gst_video::VideoCapsBuilder::new()
                    .format(gst_video::VideoFormat::I420)
                    .width(1280)
                    .height(720)
                    .framerate((30, 1).into())
                    .build(),
            )
            .build()?;
        let detect = element()?;
        detect.set_property_from_str("mode", "sync");
        detect.set_property_from_str("on-error", "fail");
        let sink = gst::ElementFactory::make("fakesink").build()?;
        let chain = [&source, &caps, &detect, &sink];
        pipeline.add_many(chain)?;
        gst::Element::link_many(chain)?;
        let bus = pipeline.bus().expect("a pipeline has a bus");

        let wait = |types: &[gst::MessageType]| -> Result<()> {
            let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(300), types);
            match message.as_ref().map(|message| message.view()) {
                Some(gst::MessageView::Error(error)) => Err(anyhow!("{}", error.error().message())),
                Some(_) => Ok(()),
                None => Err(anyhow!("nothing came out of it for five minutes")),
            }
        };
        let result = (|| {
            // A failure is told on the bus.
            let _ = pipeline.set_state(gst::State::Paused);
            wait(&[gst::MessageType::AsyncDone, gst::MessageType::Error])?;
            let began = Instant::now();
            let _ = pipeline.set_state(gst::State::Playing);
            wait(&[gst::MessageType::Eos, gst::MessageType::Error])?;
            let device: Option<String> = detect.property("active-device");
            let each = began.elapsed().as_secs_f64() * 1e3 / f64::from(FRAMES);
            Ok(format!(
                "{FRAMES} frames of 1280×720 passed on {}, {each:.1} ms each with face detection",
                device.unwrap_or_else(|| "no device".into())
            ))
        })();
        let _ = pipeline.set_state(gst::State::Null);
        result
    };
    match run() {
        Ok(detail) => Check::ok("Pipeline", "deepfakedetect", detail),
        Err(error) => Check::failed("Pipeline", "deepfakedetect", format!("{error:#}"), "see the crosses above"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_a_model_may_be_used_commercially_is_read_from_its_table_or_its_words() {
        let of = |text: &str| licence(text).1;
        assert_eq!(of("[model]\nlicence = \"Weights: for research only\"\n"), Some(false));
        assert_eq!(of("[model]\nlicence = \"Apache-2.0\"\n"), Some(true));
        assert_eq!(of("[model]\nlicence = \"ask the author\"\n"), None);
        assert_eq!(of("[model]\nlicence = \"MIT\"\n[licence]\ncommercial = false\n"), Some(false));
        assert_eq!(licence(""), ("none is named".into(), None));
    }
}
