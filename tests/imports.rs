//! Imports between the workspace's packages point one way, and an application that reads reports builds none of the analysis.

use std::collections::BTreeSet;
use std::process::Command;

/// What each package may depend on. Packages that are not in the list are programs, on which nobody may depend.
const ALLOWED: [(&str, &[&str]); 3] = [
    ("deepfake-report", &[]),
    ("deepfake-engine", &["deepfake-report"]),
    ("gst-plugin-deepfake", &["deepfake-report", "deepfake-engine"]),
];

#[track_caller]
fn cargo(arguments: &[&str]) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    let output = Command::new(env!("CARGO")).args(arguments).arg("--locked").current_dir(root).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Names of the packages that are built for `package`, itself included.
#[track_caller]
fn tree(package: &str, arguments: &[&str]) -> BTreeSet<String> {
    let tree = ["tree", "--package", package, "--edges", "normal,build", "--prefix", "none", "--format", "{p}"];
    let lines = cargo(&[&tree, arguments].concat());
    lines.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[track_caller]
fn assert_has_none_of(tree: &BTreeSet<String>, prefixes: &[&str]) {
    let found: Vec<_> = tree.iter().filter(|name| prefixes.iter().any(|prefix| name.starts_with(prefix))).collect();
    assert!(found.is_empty(), "it builds {found:?}");
}

#[test]
fn packages_depend_on_each_other_one_way() {
    let metadata: serde_json::Value =
        serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"])).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<_> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let programs_may = ALLOWED.map(|(library, _)| library);
        let allowed = ALLOWED.iter().find(|(library, _)| *library == name).map_or(&programs_may[..], |(_, may)| *may);
        for dependency in package["dependencies"].as_array().unwrap() {
            let other = dependency["name"].as_str().unwrap();
            // Tests may ask for a package's own features.
            let is_for_tests = dependency["kind"] == "dev";
            assert!(
                !ours.contains(other) || is_for_tests || allowed.contains(&other),
                "{name} must not depend on {other}; it may on {allowed:?}"
            );
        }
    }
}

#[test]
fn the_engine_knows_no_gstreamer() {
    let engine = tree("deepfake-engine", &[]);
    assert!(engine.contains("opencv") && engine.contains("ort"), "{engine:?}");
    assert_has_none_of(&engine, &["gst", "glib", "gio", "gobject"]);
}

#[test]
fn who_reads_reports_builds_little() {
    let plain = tree("deepfake-report", &[]);
    assert!(plain.contains("serde_json"), "{plain:?}");
    assert_has_none_of(&plain, &["opencv", "ort", "gst", "glib", "deepfake-engine"]);
    let with_gst = tree("deepfake-report", &["--features", "gst"]);
    assert!(with_gst.contains("gstreamer-video"), "{with_gst:?}");
    assert_has_none_of(&with_gst, &["opencv", "ort", "deepfake-engine"]);
    println!("{} crates, {} with GStreamer", plain.len(), with_gst.len());
}
