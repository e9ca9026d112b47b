//! What the model is trained on is what it sees live: crops of `deepfake extract` against those of `deepfakedetect`,
//! and both against crops that were looked at and committed.

#[path = "../../../tests/common/mod.rs"]
mod common;

use std::process::Command;

use common::Package;
use deepfake_report::meta;
use gst::prelude::*;
use ndarray::{Array4, ArrayView3, Axis, s};

/// Crops of the clip's only face, and their PTS in nanoseconds.
struct Extracted {
    crops: Array4<u8>,
    pts: Vec<u64>,
}

fn clip() -> std::path::PathBuf {
    let path = common::root().join(".deps/clips/WolfgangLanger_Pexels.mp4");
    assert!(path.is_file(), "{} is missing: run `make deps`", path.display());
    path
}

/// `deepfake extract` on the clip, at this size and with these further arguments.
fn extract(size: u32, further: &[&str]) -> Extracted {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("clips.csv");
    std::fs::write(&list, format!("file,label\n{},real\n", clip().display())).unwrap();
    let out = dir.path().join("crops");
    let status = Command::new(env!("CARGO_BIN_EXE_deepfake"))
        .args(["extract", "--jobs", "1", "--size", &size.to_string()])
        .args(further)
        .arg("--clips")
        .arg(&list)
        .arg("--out")
        .arg(&out)
        .status()
        .unwrap();
    assert!(status.success(), "{status}");

    let manifest = std::fs::read_to_string(out.join("manifest.csv")).unwrap();
    let mut rows = csv::Reader::from_reader(manifest.as_bytes());
    let headers = rows.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = rows.records().collect::<Result<_, _>>().unwrap();
    let [row] = &rows[..] else { panic!("one person is one track: {manifest}") };
    let column = |name| row.get(headers.iter().position(|header| header == name).unwrap()).unwrap();
    let told: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join(column("json"))).unwrap()).unwrap();
    let pts = told["crops"].as_array().unwrap().iter().map(|crop| crop["pts"].as_u64().unwrap()).collect();
    Extracted { crops: ndarray_npy::read_npy(out.join(column("npy"))).unwrap(), pts }
}

/// Mean red minus mean green, in 0..1: the logit that the tiny model gives to one crop.
fn redness(crop: ArrayView3<u8>) -> f64 {
    let mean = |channel| crop.slice(s![.., .., channel]).mapv(f64::from).mean().unwrap() / 255.0;
    mean(0) - mean(1)
}

#[test]
fn live_crops_are_training_crops() {
    assert_live_is_training(Package::sequence(), &["--margin", "1.3"]);
}

#[test]
fn live_aligned_crops_are_aligned_training_crops() {
    let package = Package::sequence().change("margin = 1.3", "alignment = \"five-point\"");
    assert_live_is_training(package, &["--alignment", "five-point"]);
}

/// Compares the crops that the element hands to the tiny model with those of `deepfake extract`.
#[track_caller]
fn assert_live_is_training(package: Package, arguments: &[&str]) {
    gst::init().unwrap();
    gstdeepfake::plugin_register_static().unwrap();
    let package = package.change("feature_length = 3", "feature_length = 3\nframe_output = \"frame_scores\"");
    package.read().unwrap();
    let pipeline = gst::parse::launch(&format!(
        "filesrc location=\"{}\" ! decodebin ! deepfakedetect model={} device=cpu threads=1 mode=sync on-error=fail \
         min-face-size=0 min-sharpness=0 min-luma=0 max-turn=1 ! appsink name=sink sync=false",
        clip().display(),
        package.dir.path().display()
    ))
    .unwrap()
    .downcast::<gst::Pipeline>()
    .unwrap();
    let sink = pipeline.by_name("sink").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut live: Vec<(u64, f64)> = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        let Some(report) = meta::read(sample.buffer().unwrap()) else { continue };
        let face = &report.faces[0];
        let (pts, score) = (face.window_end.unwrap(), face.frame_score.unwrap());
        if live.last().is_none_or(|(last, _)| *last != pts) {
            live.push((pts, (score / (1.0 - score)).ln()));
        }
    }
    pipeline.set_state(gst::State::Null).unwrap();

    let training = extract(16, arguments);
    assert_eq!(live.iter().map(|(pts, _)| *pts).collect::<Vec<_>>(), training.pts);
    for ((pts, live), crop) in live.iter().zip(training.crops.axis_iter(Axis(0))) {
        let expected = redness(crop);
        assert!((live - expected).abs() < 1e-4, "at {pts} ns live crops give {live}, training crops {expected}");
    }
}

/// Guards the crops themselves: against another box, scaling or colour. After a change that is meant, look at the new crops and
/// write them with `UPDATE_GOLDEN=1 cargo test --test golden_crops`.
#[test]
fn crops_are_the_committed_ones() {
    let extracted = extract(64, &["--margin", "1.3"]);
    let chosen = extracted.crops.select(Axis(0), &[0, 100, 200]);
    let golden = common::data("golden-crops.npy");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        ndarray_npy::write_npy(&golden, &chosen).unwrap();
    }
    let expected: Array4<u8> = ndarray_npy::read_npy(&golden).unwrap();
    let worst = chosen.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(worst <= 2, "crops differ from the committed ones by {worst} of 255");
}
