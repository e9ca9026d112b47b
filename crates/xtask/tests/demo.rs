//! The parts of `make demo` that are not the elements: the manipulated clip and the table of
//! verdicts.

use std::path::{Path, PathBuf};
use std::process::Command;

use deepfake_report::{FaceReport, FrameReport, json};
use gst::prelude::*;

fn manipulate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("manipulate");
    command
}

/// The workspace's folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn run(kind: &str, input: &Path, output: &Path) {
    let status = manipulate().arg(kind).arg(input).arg(output).status().unwrap();
    assert!(status.success(), "manipulate {kind}: {status}");
}

/// Every frame of a clip as 64×36 grey pixels: the differences that a person would see.
fn thumbnails(clip: &Path) -> Vec<Vec<u8>> {
    let pipeline = gst::parse::launch(
        "filesrc name=file ! decodebin ! videoconvert ! videoscale ! video/x-raw,format=GRAY8,width=64,height=36 \
         ! appsink name=out sync=false",
    )
    .unwrap()
    .downcast::<gst::Pipeline>()
    .unwrap();
    pipeline.by_name("file").unwrap().set_property("location", clip);
    let frames = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut all = vec![];
    while let Ok(sample) = frames.pull_sample() {
        all.push(sample.buffer().unwrap().map_readable().unwrap().to_vec());
    }
    assert!(frames.is_eos(), "{} was not read to its end", clip.display());
    pipeline.set_state(gst::State::Null).unwrap();
    all
}

#[test]
fn manipulated_clips_differ_in_the_face_only_and_are_the_same_each_time() {
    gst::init().unwrap();
    let clip = root().join(".deps/clips/single_face.mp4");
    let folder = tempfile::tempdir().unwrap();
    let made = |kind: &str, name: &str| {
        let path = folder.path().join(name);
        run(kind, &clip, &path);
        thumbnails(&path)
    };
    let untouched = made("as-is", "untouched");
    let swapped = made("swap", "swap");
    // Not the files: those say when they were made.
    assert!(swapped == made("swap", "again"), "two runs made different pictures");
    let swapped = share_that_differs(&untouched, &swapped);
    let mouth = share_that_differs(&untouched, &made("mouth", "mouth"));
    share_that_differs(&untouched, &made("generated", "generated"));
    assert!(mouth < swapped, "a mouth ({mouth}) is smaller than a face ({swapped})");
}

/// Of a picture. The edges must be the same.
fn share_that_differs(untouched: &[Vec<u8>], changed: &[Vec<u8>]) -> f64 {
    assert_eq!(untouched.len(), changed.len());
    // Pixels that differ visibly at any time.
    let mut differs = vec![false; 64 * 36];
    for (a, b) in untouched.iter().zip(changed) {
        for (differs, (a, b)) in differs.iter_mut().zip(a.iter().zip(b)) {
            *differs |= a.abs_diff(*b) > 6;
        }
    }
    let share = differs.iter().filter(|differs| **differs).count() as f64 / differs.len() as f64;
    assert!((0.002..0.5).contains(&share), "{share} of the picture differs");
    let edges = (0..36).flat_map(|y| [y * 64, y * 64 + 63]);
    assert_eq!(edges.filter(|pixel| differs[*pixel]).count(), 0, "the picture's edges differ");
    share
}

#[test]
fn a_clip_without_faces_is_refused() {
    let clip = root().join(".deps/clips/no_face.mp4");
    let folder = tempfile::tempdir().unwrap();
    let output = manipulate().arg("swap").arg(clip).arg(folder.path().join("out.mp4")).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no face was found"), "{output:?}");
}

fn face(track_id: u32, state: &str, score: Option<f64>, window_end: u64) -> FaceReport {
    serde_json::from_value(serde_json::json!({
        "track_id": track_id, "x": 0.1, "y": 0.1, "width": 0.2, "height": 0.3, "detection": 0.9,
        "state": state, "reason": null, "score": score, "frame_score": null, "certainty": 0.5,
        "window_fill": 40, "window_size": 40, "window_start": 0, "window_end": window_end,
    }))
    .unwrap()
}

#[test]
fn the_table_counts_each_window_once() {
    let frame = |pts, faces| FrameReport::new(pts, "m@1.0.0", "cpu", faces);
    let reports = [
        frame(0, vec![face(1, "warming", None, 0)]),
        frame(1, vec![face(1, "fake", Some(0.9), 1)]),
        // The same window again, on the next frame.
        frame(2, vec![face(1, "fake", Some(0.9), 1)]),
        frame(3, vec![face(1, "uncertain", Some(0.5), 3), face(2, "fake", Some(0.7), 3)]),
    ];
    let folder = tempfile::tempdir().unwrap();
    let (clip, empty) = (folder.path().join("clip.jsonl"), folder.path().join("empty.jsonl"));
    let lines: Vec<String> = reports.iter().map(json::line).collect();
    std::fs::write(&clip, lines.join("\n")).unwrap();
    std::fs::write(&empty, json::line(&frame(0, vec![]))).unwrap();

    let script = root().join("scripts/verdicts.py");
    let output = Command::new("python3").arg(script).args([&clip, &empty]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let table = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    // Four frames, two faces, three windows, their mean score, and how the windows share the
    // verdicts.
    assert_eq!(rows[2], "clip 4 2 3 0.700 0 % 33 % 67 % fake".split(' ').collect::<Vec<_>>());
    assert_eq!(rows[3], "empty 1 0 0 - - - - none: no face could be judged".split(' ').collect::<Vec<_>>());
}
