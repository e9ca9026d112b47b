//! ONNX Runtime missing, broken, too old, and fixed again.
//!
//! A process has one ONNX Runtime, so each case runs [`in_its_own_process`] in a process of its own.

#[path = "common/foreign.rs"]
mod foreign;

use std::path::{Path, PathBuf};
use std::process::Command;

use deepfake_engine::inference::runtime::{self, Severity};
use deepfake_engine::inference::{InferenceError, SessionOptions, Worker};
use foreign::ForeignEnvironment;

fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file)
}

/// What the processes do; `CASE` says which of them.
#[test]
#[ignore = "run by the other tests"]
fn in_its_own_process() {
    match std::env::var("CASE").as_deref() {
        Ok("load") => match runtime::get() {
            Ok(runtime) => println!("LOADED {} from {}", runtime.version(), runtime.path().display()),
            Err(error) => println!("FAILED {error}"),
        },
        Ok("foreign") => {
            let path = std::env::var_os("ORT_DYLIB_PATH").unwrap();
            let environment = ForeignEnvironment::new(Path::new(&path));
            let encoder = Worker::shared(&[data("encoder.onnx")], &SessionOptions::default()).unwrap();
            let crop = ndarray::ArrayD::<f32>::zeros(vec![1, 3, 16, 16]);
            encoder.run(0, crop.view(), |_| ()).unwrap();
            // Our log goes nowhere, and the host's is as it was.
            runtime::set_log_hook(Severity::Debug, |_, line| println!("OURS {line}"));
            Worker::shared(&[data("head.onnx")], &SessionOptions::default()).unwrap();
            assert!(environment.lines() == 0, "the host's log level was changed");
            println!("LOADED");
        }
        Ok("worker") => match Worker::shared(&[data("encoder.onnx")], &SessionOptions::default()) {
            Ok(_) => println!("LOADED"),
            Err(error) => println!("FAILED {error}"),
        },
        Ok("fixed") => {
            let path = PathBuf::from(std::env::var_os("ORT_DYLIB_PATH").unwrap());
            assert!(matches!(runtime::get(), Err(InferenceError::RuntimeNotFound { .. })));
            std::fs::write(&path, "no library").unwrap();
            assert!(matches!(runtime::get(), Err(InferenceError::RuntimeNotFound { .. })));
            std::fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink(std::env::var_os("GOOD").unwrap(), &path).unwrap();
            let runtime = runtime::get().unwrap();
            Worker::shared(&[data("encoder.onnx")], &SessionOptions::default()).unwrap();
            println!("LOADED {}", runtime.version());
        }
        Ok("log") => {
            let (lines, log) = std::sync::mpsc::channel();
            runtime::set_log_hook(Severity::Debug, move |severity, line| {
                let _ = lines.send((severity, line.to_owned()));
            });
            let worker = Worker::shared(&[data("encoder.onnx")], &SessionOptions::default()).unwrap();
            assert!(log.try_iter().any(|(severity, _)| severity <= Severity::Info));
            // What is below the hook's level does not come; a hook that panics does no harm.
            let (lines, log) = std::sync::mpsc::channel();
            runtime::set_log_hook(Severity::Error, move |severity, line| {
                let _ = lines.send((severity, line.to_owned()));
                panic!("in the hook");
            });
            drop(worker);
            std::fs::write(std::env::var_os("SCRATCH").unwrap(), "no graph").unwrap();
            Worker::shared(&[std::env::var_os("SCRATCH").unwrap()], &SessionOptions::default()).unwrap_err();
            Worker::shared(&[data("encoder.onnx")], &SessionOptions::default()).unwrap();
            assert!(log.try_iter().all(|(severity, _)| severity == Severity::Error));
            println!("LOADED");
        }
        other => eprintln!("SKIPPED: CASE is {other:?}"),
    }
}

#[test]
fn it_works_beside_another_user_of_onnx_runtime() {
    let Some(good) = good() else { return };
    let text = case("foreign", &[("ORT_DYLIB_PATH", &good)]);
    assert!(text.contains("LOADED") && !text.contains("OURS"), "{text}");
}

/// Runs a case; gives what it printed. The process must not have died.
#[track_caller]
fn case_of(program: &Path, case: &str, variables: &[(&str, &Path)]) -> String {
    let mut command = Command::new(program);
    command.args(["--exact", "--ignored", "--nocapture", "in_its_own_process"]).env("CASE", case);
    command.env_remove("ORT_DYLIB_PATH").env_remove("DEEPFAKE_PATH").env_remove("LD_LIBRARY_PATH");
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    text
}

#[track_caller]
fn case(case: &str, variables: &[(&str, &Path)]) -> String {
    case_of(&std::env::current_exe().unwrap(), case, variables)
}

#[track_caller]
fn assert_fails(text: &str, parts: &[&str]) {
    for part in parts.iter().chain(&["FAILED", "make deps", "pip install onnxruntime"]) {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
}

/// The library that is installed here.
fn good() -> Option<PathBuf> {
    match runtime::get() {
        Ok(runtime) => Some(runtime.path().to_owned()),
        Err(error) => {
            eprintln!("SKIPPED: {error}");
            None
        }
    }
}

fn build(folder: &Path, defines: &[&str]) -> PathBuf {
    let library = folder.join("libonnxruntime.so");
    let cc = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let mut build = Command::new(cc);
    build.args(["-shared", "-fPIC", "-o"]).arg(&library).args(defines).arg(data("other_onnxruntime.c"));
    assert!(build.status().unwrap().success());
    library
}

#[test]
fn a_missing_library_is_an_error_that_says_how_to_get_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libonnxruntime.so.1");
    for name in ["load", "worker"] {
        let text = case(name, &[("ORT_DYLIB_PATH", &path)]);
        assert_fails(&text, &[path.to_str().unwrap(), "named by ORT_DYLIB_PATH, does not exist"]);
    }
}

#[test]
fn all_places_are_in_the_error_when_none_has_the_library() {
    // A copy of this program does not lie in a checkout.
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("bin/program");
    std::fs::create_dir_all(folder.path().join("bin")).unwrap();
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let path = folder.path().join("mine");
    let text = case_of(&program, "load", &[("DEEPFAKE_PATH", &path), ("HOME", folder.path())]);
    if text.contains("LOADED") {
        eprintln!("SKIPPED: the system has an ONNX Runtime: {text}");
        return;
    }
    let folder = folder.path().display();
    let places = [
        format!("{folder}/mine/onnxruntime: does not exist"),
        format!("{folder}/lib/gst-plugin-deepfake: does not exist"),
        "/usr/lib/gst-plugin-deepfake: does not exist".into(),
        "/usr/lib: has no libonnxruntime.so*".into(),
    ];
    assert_fails(&text, &places.each_ref().map(String::as_str));
}

#[test]
fn a_damaged_library_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libonnxruntime.so.1");
    std::fs::write(&path, "404: not found").unwrap();
    assert_fails(&case("worker", &[("ORT_DYLIB_PATH", &path)]), &["cannot be opened"]);

    let Some(good) = good() else { return };
    let mut holed = std::fs::read(good).unwrap();
    holed[64..4096].fill(0);
    std::fs::write(&path, holed).unwrap();
    assert_fails(&case("worker", &[("ORT_DYLIB_PATH", &path)]), &["cannot be opened"]);
}

#[test]
fn a_library_that_is_too_old_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = build(folder.path(), &["-DVERSION=\"1.10.0\""]);
    assert_fails(&case("worker", &[("ORT_DYLIB_PATH", &path)]), &["version 1.10.0, too old: 1.20 or newer is needed"]);
}

#[test]
fn a_library_that_only_pretends_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for (defines, cause) in [
        (vec!["-DVERSION=\"1.32.0\""], "does not serve the interface of 1.20"),
        (vec!["-DVERSION=\"\""], "its version is ``"),
        (vec!["-DVERSION=0"], "has no version"),
        (vec!["-DVERSION=\"1.32.0\"", "-DNO_BASE"], "OrtGetApiBase returns nothing"),
        (vec!["-DVERSION=\"1.32.0\"", "-DOrtGetApiBase=Other"], "has no OrtGetApiBase"),
    ] {
        let path = build(folder.path(), &defines);
        assert_fails(&case("load", &[("ORT_DYLIB_PATH", &path)]), &[cause]);
    }
}

#[test]
fn a_bad_library_does_not_hide_a_good_one_behind_it() {
    let Some(good) = good() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("onnxruntime")).unwrap();
    build(&folder.path().join("onnxruntime"), &["-DVERSION=\"1.10.0\""]);
    // Named as the next place: a build outside of the sources would find the one that the system may have.
    let next = good.parent().unwrap().parent().unwrap();
    let places = std::env::join_paths([folder.path(), next]).unwrap();
    let text = case("load", &[("DEEPFAKE_PATH", Path::new(&places))]);
    assert!(text.contains(&format!("from {}", good.display())), "{text}");
}

#[test]
fn after_mending_the_same_process_goes_on() {
    let Some(good) = good() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libonnxruntime.so.1");
    assert!(case("fixed", &[("ORT_DYLIB_PATH", &path), ("GOOD", &good)]).contains("LOADED"));
}

#[test]
fn its_log_goes_to_the_hook() {
    let Some(good) = good() else { return };
    let folder = tempfile::tempdir().unwrap();
    let variables: [(&str, &Path); 2] = [("ORT_DYLIB_PATH", &good), ("SCRATCH", &folder.path().join("graph.onnx"))];
    assert!(case("log", &variables).contains("LOADED"));
}
