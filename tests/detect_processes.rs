//! `deepfakedetect` in processes of its own: without ONNX Runtime, under the leak tracer, and where a warning is fatal.
//!
//! A process has one ONNX Runtime and one set of tracers, so each case runs GStreamer's own tools.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{faces, model};

/// The plugin as a file: cargo builds it beside the tests.
fn plugin() -> PathBuf {
    let path = std::env::current_exe().unwrap().parent().unwrap().join("libgstdeepfake.so");
    assert!(path.is_file(), "no {}: run the tests with cargo", path.display());
    path
}

/// One of GStreamer's tools; `None`, loudly, where it is not installed.
fn tool(name: &str) -> Option<Command> {
    match Command::new(name).arg("--version").output() {
        Ok(output) if output.status.success() => {
            let mut command = Command::new(name);
            command.env_remove("ORT_DYLIB_PATH").env_remove("GST_PLUGIN_PATH").env_remove("GST_DEBUG");
            Some(command)
        }
        _ => {
            eprintln!("SKIPPED: no {name}; install gstreamer1.0-tools");
            None
        }
    }
}

/// `gst-launch-1.0` with the plugin and this pipeline.
fn launch(pipeline: &str) -> Option<Command> {
    let mut command = tool("gst-launch-1.0")?;
    // A crash ends it, where it would otherwise spin until someone attaches a debugger.
    command.arg("--no-fault").arg("--gst-plugin-load").arg(plugin()).args(pipeline.split_whitespace());
    Some(command)
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn source(frames: u32) -> String {
    format!("videotestsrc num-buffers={frames} ! video/x-raw,format=I420,width=64,height=64,framerate=30/1")
}

const NOWHERE: (&str, &str) = ("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so");

#[test]
fn without_onnx_runtime_the_plugin_shows_everything() {
    let Some(mut inspect) = tool("gst-inspect-1.0") else { return };
    let output = inspect.arg(plugin()).env(NOWHERE.0, NOWHERE.1).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let shown = text(&output);
    gst::init().unwrap();
    gstdeepfake::plugin_register_static().unwrap();
    let features = gst::Registry::get().features_by_plugin("deepfake");
    assert!(features.len() >= 2);
    for feature in &features {
        assert!(shown.contains(&format!("{}: ", gst::prelude::GstObjectExt::name(feature))), "{shown}");
    }

    // A property of the element, with its default.
    let registry = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(plugin(), registry.path().join("libgstdeepfake.so")).unwrap();
    let output = tool("gst-inspect-1.0")
        .unwrap()
        .arg("deepfakedetect")
        .env(NOWHERE.0, NOWHERE.1)
        .env("GST_PLUGIN_PATH", registry.path())
        .env("GST_REGISTRY", registry.path().join("registry.bin"))
        .output()
        .unwrap();
    let shown = text(&output);
    assert!(output.status.success() && shown.contains("active-device") && shown.contains("on-error"), "{shown}");
}

#[test]
fn without_onnx_runtime_frames_pass_with_a_warning() {
    let model = model("tiny");
    let detect = format!("deepfakedetect model={} face-source=upstream on-error=passthrough", model.path());
    // What comes out is compared with what the source makes without the element.
    let folder = tempfile::tempdir().unwrap();
    let (with, without) = (folder.path().join("with"), folder.path().join("without"));
    let sink = |path: &Path| format!("filesink location={}", path.display());
    let Some(mut command) = launch(&format!("{} ! {detect} ! {}", source(20), sink(&with))) else { return };
    let output = command.env(NOWHERE.0, NOWHERE.1).output().unwrap();
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("WARNING") && said.contains(NOWHERE.1) && said.contains("make deps"), "{said}");
    assert!(launch(&format!("{} ! {}", source(20), sink(&without))).unwrap().output().unwrap().status.success());
    let (with, without) = (std::fs::read(with).unwrap(), std::fs::read(without).unwrap());
    assert!(!with.is_empty() && with == without);
}

#[test]
fn without_onnx_runtime_and_with_on_error_fail_the_stream_does_not_start() {
    let model = model("tiny");
    let detect = format!("deepfakedetect model={} face-source=upstream on-error=fail", model.path());
    let Some(mut command) = launch(&format!("{} ! {detect} ! fakesink", source(20))) else { return };
    let output = command.env(NOWHERE.0, NOWHERE.1).output().unwrap();
    let said = text(&output);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("ERROR") && said.contains(NOWHERE.1) && said.contains("make deps"), "{said}");
    // Told by the change of state, not after it: gst-launch 1.22 waits for ever if an error comes before its main loop runs.
    assert!(!said.contains("PREROLLING"), "{said}");
}

/// What the leak tracer says is still alive, or was taken and not given back. It first says in which form it will.
fn leaks(said: &str) -> Vec<&str> {
    let found = said.lines().filter(|line| line.contains("object-alive") || line.contains("object-refings"));
    found.filter(|line| !line.contains("build_format")).collect()
}

#[test]
fn nothing_is_left_when_the_stream_has_ended() {
    let model = model("tiny");
    for mode in ["sync", "async"] {
        let detect = format!("deepfakedetect model={} {} mode={mode} post-messages=true", model.path(), faces());
        let Some(mut command) =
            launch(&format!("{} ! tee name=t t. ! queue ! {detect} ! fakesink t. ! queue ! fakesink", source(40)))
        else {
            return;
        };
        let output = command
            .env("GST_TRACERS", "leaks(check-refs=true)")
            .env("GST_DEBUG", "GST_TRACER:7")
            .env("GST_DEBUG_NO_COLOR", "1")
            .output()
            .unwrap();
        let said = text(&output);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("Got EOS"), "{said}");
        let leaks = leaks(&said);
        assert!(leaks.is_empty(), "{mode}: {leaks:#?}");
    }
}

#[test]
fn the_leak_tracer_sees_leaks() {
    // A bin that is never let go: otherwise the test above could not fail.
    let Some(_) = tool("gst-launch-1.0") else { return };
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--ignored", "leak_on_purpose"]);
    let output = command.env("GST_TRACERS", "leaks").env("GST_DEBUG", "GST_TRACER:7").output().unwrap();
    let said = text(&output);
    assert!(leaks(&said).iter().any(|line| line.contains("GstBin")), "{said}");
}

#[test]
#[ignore = "run by the_leak_tracer_sees_leaks"]
fn leak_on_purpose() {
    gst::init().unwrap();
    std::mem::forget(gst::Bin::new());
    // SAFETY: nothing uses GStreamer afterwards.
    unsafe { gst::deinit() };
}

#[test]
fn no_warning_is_logged_where_warnings_are_fatal() {
    let model = model("tiny");
    for mode in ["sync", "async", "auto"] {
        for caps in
            ["video/x-raw,format=NV12,width=99,height=77,framerate=30/1", "video/x-raw,format=RGB,framerate=0/1"]
        {
            let detect = format!("deepfakedetect model={} {} mode={mode}", model.path(), faces());
            let pipeline =
                format!("videotestsrc num-buffers=20 ! {caps} ! {detect} ! deepfakelog location=/dev/null ! fakesink");
            let Some(mut command) = launch(&pipeline) else { return };
            let output = command.env("G_DEBUG", "fatal-warnings").output().unwrap();
            assert!(output.status.success(), "{mode} {caps}: {}", text(&output));
        }
    }
}
