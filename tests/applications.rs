//! The applications of `pipelines/apps/` and `examples/`, built and run as their head comments say,
//! and that the readers in C and Python know what the crate `deepfake-report` writes.

mod common;
#[path = "common/scripts.rs"]
mod scripts;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use deepfake_report::{json, structure, testing};

use common::root;
use scripts::*;

/// A Python that can do this: one of the user's own need not see the distribution's packages.
fn python_with(import: &str) -> Option<&'static str> {
    let can = |python: &&str| Command::new(python).args(["-c", import]).output().is_ok_and(|out| out.status.success());
    ["python3", "/usr/bin/python3"].into_iter().find(can)
}

/// The header and its .pc file in a folder; what `PKG_CONFIG_PATH` is to be.
fn header_installed_in(folder: &Path) -> PathBuf {
    let include = folder.join("include");
    fs::create_dir_all(&include).unwrap();
    fs::copy(root().join("include/deepfake.h"), include.join("deepfake.h")).unwrap();
    let template = fs::read_to_string(root().join("include/deepfake-report.pc.in")).unwrap();
    let content = template.replace("@PREFIX@", folder.to_str().unwrap()).replace("@VERSION@", "1.0");
    fs::write(folder.join("deepfake-report.pc"), content).unwrap();
    folder.into()
}

/// What the three applications print: each frame's face, from the metadata and, where it reads
/// those, the messages.
#[track_caller]
fn assert_monitored(output: &str, messages: bool) {
    let count = |origin: &str| output.lines().filter(|line| line.starts_with(origin)).count();
    assert!(count("meta ") >= CLIP_FRAMES - 5, "{output}");
    assert_eq!(count("message ") > 0, messages, "{output}");
    for line in output.lines().filter(|line| !line.starts_with("alert ")) {
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!((words[2], words[3], words[4]), ("face", "1", "at"), "{line}");
        let (x, y) = words[5].split_once(',').unwrap();
        let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
        // Where the woman of the clip is.
        assert!((0.3..0.4).contains(&x) && (0.1..0.3).contains(&y), "{line}");
        assert!(["warming", "authentic", "uncertain", "fake", "rejected"].contains(&words[6]), "{line}");
    }
    let last: f64 = output.lines().last().unwrap().split_whitespace().last().unwrap().parse().unwrap();
    assert!((0.0..=1.0).contains(&last));
}

#[test]
fn an_application_in_c_reads_metadata_and_messages() {
    let Some(stage) = stage(&["qtdemux"]) else { return };
    let source = script("apps/monitor.c");
    // As the comment at its head says.
    let text = fs::read_to_string(&source).unwrap();
    let build = text.lines().find_map(|line| line.strip_prefix(" * Build:  ")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::copy(&source, folder.path().join("monitor.c")).unwrap();
    let build = format!("{build} -Werror");
    let mut command = stage.command("bash");
    command.env("PKG_CONFIG_PATH", header_installed_in(folder.path()));
    succeeds(command.args(["-c", &build]).current_dir(folder.path()));
    let monitor = folder.path().join("monitor");
    assert_monitored(&succeeds(stage.command(&monitor).arg(stage.clip()).arg(stage.model.dir.path())), true);

    let error = fails(stage.command(&monitor).arg(stage.clip()).arg("no-such-model"));
    assert!(error.contains("`no-such-model` is not installed"), "{error}");
}

#[test]
fn an_application_in_python_reads_metadata_and_messages() {
    let Some(stage) = stage(&["qtdemux"]) else { return };
    let Some(python) = python_with("import gi; gi.require_version('Gst', '1.0'); from gi.repository import Gst") else {
        return skip("no Python with GStreamer; apt-get install python3-gi gir1.2-gstreamer-1.0");
    };
    let mut command = stage.command(python);
    command.env("PYTHONPATH", root().join("python/src"));
    command.arg(script("apps/monitor.py")).arg(stage.clip()).arg(stage.model.dir.path());
    assert_monitored(&succeeds(&mut command), true);
}

#[test]
fn an_application_in_rust_reads_metadata() {
    let Some(stage) = stage(&["qtdemux"]) else { return };
    let monitor = std::env::current_exe().unwrap().parent().unwrap().with_file_name("examples").join("monitor");
    if !monitor.exists() {
        return skip(&format!("{} is missing; cargo build --examples makes it", monitor.display()));
    }
    assert_monitored(&succeeds(stage.command(monitor).arg(stage.clip()).arg(stage.model.dir.path())), false);
}

/// A log of the clip, as the scripts write it.
fn log_of_the_clip(stage: &Stage, folder: &Path) -> PathBuf {
    let log = folder.join("log.jsonl");
    let source = format!("filesrc location={}", stage.clip().display());
    succeeds(stage.script("webcam.sh").args(["--source", &source, "--sink", "fakesink", "--log"]).arg(&log));
    log
}

#[test]
fn an_application_in_javascript_follows_the_log() {
    let Some(stage) = stage(&["qtdemux"]) else { return };
    if Command::new("node").arg("--version").output().is_err() {
        return skip("node is missing; apt-get install nodejs");
    }
    let folder = tempfile::tempdir().unwrap();
    let log = log_of_the_clip(&stage, folder.path());
    let mut child = stage.command("node").arg(script("apps/follow.mjs")).arg(&log).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let first = lines.next().unwrap();
    assert!(first.ends_with(" face 1: warming, not judged"), "{first}");
    // It follows: a line that is written later is read, one with new fields and words too, one of a
    // new schema is not.
    let later = fs::read_to_string(&log).unwrap().lines().last().unwrap().to_owned();
    let mut later: serde_json::Value = serde_json::from_str(&later).unwrap();
    later["weather"] = "rain".into();
    later["faces"][0]["track_id"] = 99.into();
    later["faces"][0]["state"] = "puzzled".into();
    let mut file = fs::File::options().append(true).open(&log).unwrap();
    let mut other = later.clone();
    other["schema"] = 2.into();
    other["faces"][0]["track_id"] = 98.into();
    writeln!(file, "{other}\n{later}").unwrap();
    let found = lines.find(|line| line.contains(" face 9")).unwrap();
    assert!(found.contains(" face 99: puzzled"), "{found}");
    signal(&child, libc::SIGTERM);
    child.wait().unwrap();
    assert_eq!(processes_naming(folder.path()), Vec::<String>::new());
}

#[test]
fn an_application_with_flask_shows_the_newest_verdicts() {
    let Some(stage) = stage(&["qtdemux"]) else { return };
    let Some(python) = python_with("import flask") else {
        return skip("no Python with Flask; apt-get install python3-flask");
    };
    let folder = tempfile::tempdir().unwrap();
    let log = log_of_the_clip(&stage, folder.path());
    let mut command = stage.command(python);
    command.env("PYTHONPATH", root().join("python/src")).arg(script("apps/dashboard.py")).arg(&log).arg("0");
    let mut child = command.spawn().unwrap();
    let mut url = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut url).unwrap();
    let host = url.trim().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let get = |path: &str| {
        let mut stream = TcpStream::connect(&host).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    };
    // The log is read beside: until its last line was.
    let last = logged(&log).pop().unwrap().faces[0].clone();
    let is_newest = |faces: &serde_json::Value| faces[0]["window_end"].as_u64() == last.window_end;
    let faces = std::iter::repeat_with(|| serde_json::from_str::<serde_json::Value>(&get("/faces")).unwrap());
    let faces = faces.take(10_000).find(is_newest).expect("the newest line is shown");
    assert_eq!(faces[0]["score"].as_f64(), last.score);
    assert!(get("/").contains("<td>1<td>"), "{}", get("/"));
    signal(&child, libc::SIGINT);
    child.wait().unwrap();
    assert_eq!(processes_naming(folder.path()), Vec::<String>::new());
}

/// Prints what the accessors of the header say of a report, in the order of `expected`.
const READER: &str = r#"
#include <deepfake.h>
int main (int argc, char **argv) {
  gst_init (&argc, &argv);
  GstStructure *report = gst_structure_from_string (argv[1], NULL);
  g_print ("%" G_GUINT64_FORMAT " %s %s %u\n", deepfake_report_get_pts (report), deepfake_report_get_model (report),
      deepfake_report_get_device (report), deepfake_report_get_n_faces (report));
  for (guint i = 0; i < deepfake_report_get_n_faces (report); i++) {
    const GstStructure *face = deepfake_report_get_face (report, i);
    gdouble x, y, width, height, score = -1, frame_score = -1;
    deepfake_face_get_box (face, &x, &y, &width, &height);
    gboolean scored = deepfake_face_get_score (face, &score);
    gboolean frame_scored = deepfake_face_get_frame_score (face, &frame_score);
    g_print ("%u %g %g %g %g %s %s %d %g %d %g %g %d %" G_GUINT64_FORMAT "\n", deepfake_face_get_track_id (face), x, y,
        width, height, deepfake_face_get_state (face), deepfake_face_get_reason (face) ? deepfake_face_get_reason (face) : "-",
        scored, score, frame_scored, frame_score, deepfake_face_get_certainty (face), deepfake_face_is_fake (face),
        deepfake_face_get_window_end (face));
  }
  g_assert (deepfake_report_get_face (report, 99) == NULL);
  g_assert (deepfake_report_get_n_faces (NULL) == 0 && deepfake_face_get_state (NULL) == NULL);
  return 0;
}
"#;

/// What [`READER`] is to print.
fn expected(report: &deepfake_report::FrameReport) -> String {
    let number = |value: Option<f64>| format!("{} {}", i32::from(value.is_some()), value.unwrap_or(-1.0));
    let mut out = format!("{} {} {} {}\n", report.pts, report.model, report.device, report.faces.len());
    for face in &report.faces {
        let json = serde_json::to_value(face).unwrap();
        let state = json["state"].as_str().unwrap();
        out += &format!(
            "{} {} {} {} {} {state} {} {} {} {} {} {}\n",
            face.track_id,
            face.x,
            face.y,
            face.width,
            face.height,
            json["reason"].as_str().unwrap_or("-"),
            number(face.score),
            number(face.frame_score),
            face.certainty,
            i32::from(state == "fake"),
            face.window_end.unwrap_or(u64::MAX),
        );
    }
    out
}

#[test]
fn the_header_reads_what_the_crate_writes_and_what_a_later_one_may() {
    gst::init().unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("reader.c"), READER).unwrap();
    let build = "cc -std=c11 -Wall -Wextra -Werror -o reader reader.c $(pkg-config --cflags --libs deepfake-report)";
    let mut command = Command::new("bash");
    command.args(["-c", build]).current_dir(folder.path()).env("PKG_CONFIG_PATH", header_installed_in(folder.path()));
    succeeds(&mut command);
    let read = |fields: &gst::Structure| succeeds(Command::new(folder.path().join("reader")).arg(fields.to_string()));
    for report in testing::reports() {
        let mut fields = gst::Structure::new_empty("deepfake-report");
        structure::write(&report, &mut fields);
        assert_eq!(read(&fields), expected(&report));
    }

    let report = testing::reports().remove(1);
    let mut face = structure::face_structure(&report.faces[0]);
    face.set("state", "puzzled");
    face.set("roll", 0.5);
    let mut fields = gst::Structure::new_empty("deepfake-report");
    structure::write(&report, &mut fields);
    fields.set("weather", "rain");
    fields.set("faces", gst::Array::new([face]));
    let printed = read(&fields);
    assert!(printed.contains(" puzzled ") && printed.contains(" 0 "), "{printed}");
}

#[test]
fn every_field_of_the_crate_is_known_to_the_header_and_the_python_package() {
    let header = fs::read_to_string(root().join("include/deepfake.h")).unwrap();
    let python = fs::read_to_string(root().join("python/src/deepfake_report/types.py")).unwrap();
    // The report that fills most fields.
    for report in testing::reports() {
        let line = serde_json::from_str::<serde_json::Value>(&json::line(&report)).unwrap();
        let fields =
            line.as_object().unwrap().keys().chain(line["faces"][0].as_object().into_iter().flat_map(|f| f.keys()));
        for field in fields {
            assert!(header.contains(&format!("\"{field}\"")) || field == "buffer_pts", "deepfake.h lacks {field}");
            assert!(python.contains(&format!("    {field}: ")), "the Python package lacks {field}");
        }
    }
}

#[test]
fn the_header_is_fit_for_cplusplus() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("user.cpp"), "#include <deepfake.h>\nint main () { return 0; }\n").unwrap();
    let build = "c++ -Wall -Wextra -Werror -o user user.cpp $(pkg-config --cflags --libs deepfake-report)";
    let mut command = Command::new("bash");
    command.args(["-c", build]).current_dir(folder.path()).env("PKG_CONFIG_PATH", header_installed_in(folder.path()));
    succeeds(&mut command);
}
