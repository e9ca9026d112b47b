//! The whole program, as a process, while feeds and workers fail.

mod common;
#[path = "common/monitor.rs"]
mod monitor;

use std::time::Duration;

use common::clip;
use monitor::{Feed, Monitor};
use serde_json::json;

#[test]
fn a_feed_that_is_cut_comes_back_and_the_gap_is_on_record() {
    let clip = clip();
    let feed = Feed::serve(&clip);
    let monitor = Monitor::start(&format!("[channel.one]\nsource = \"{}\"\nstalled-after = \"2s\"\n", feed.address()));
    monitor.wait_for_state("one", "running");
    let feed = feed.cut();
    let lost = monitor.wait_for("one", |channel| ["offline", "stalled"].contains(&channel["state"].as_str().unwrap()));
    assert!(lost["reason"].is_string(), "{lost}");
    let _feed = feed.again();
    monitor.wait_for_state("one", "running");
    let coverage = monitor.wait_for_coverage("one", |totals| totals["offline"].as_i64().unwrap() > 0);
    assert_eq!(coverage["unrecorded_after_start"], json!(0), "{coverage}");
}

#[test]
fn a_worker_that_is_killed_is_replaced_and_the_gap_is_on_record() {
    let clip = clip();
    let monitor = Monitor::start(&format!("[channel.one]\nsource = \"{}\"\nloop = true\n", clip.display()));
    monitor.wait_for_state("one", "running");
    let status = monitor.get("/api/v1/status");
    let process = status["workers"][0]["process"].as_i64().unwrap();
    let killed = std::time::Instant::now();
    monitor::kill(process);
    monitor.wait_until("the worker is replaced", || monitor.get("/api/v1/status")["workers"][0]["restarts"] == 1);
    monitor.wait_for_state("one", "running");
    assert!(killed.elapsed() < Duration::from_secs(5 * common::patience()), "{:?}", killed.elapsed());
    let coverage = monitor.wait_for_coverage("one", |totals| totals["worker-lost"].as_i64().unwrap() > 0);
    assert_eq!(coverage["unrecorded_after_start"], json!(0), "{coverage}");
}

#[test]
fn a_broken_configuration_keeps_the_old_one_and_a_good_one_touches_only_what_changed() {
    let clip = clip();
    let one = format!("[channel.one]\nsource = \"{}\"\nloop = true\n", clip.display());
    let monitor = Monitor::start(&one);
    let before = monitor.wait_for_state("one", "running");

    monitor.write_config(&format!("{one}lop = true\n"));
    monitor.hang_up();
    monitor.wait_until("the trouble is shown", || monitor.get("/api/v1/status")["config_trouble"].is_string());
    let trouble = monitor.get("/api/v1/status")["config_trouble"].as_str().unwrap().to_owned();
    assert!(trouble.contains("unknown key `lop`; did you mean `loop`?"), "{trouble}");
    assert_eq!(monitor.channel("one")["state"], "running");

    monitor.write_config(&format!("{one}[channel.two]\nsource = \"{}\"\nloop = true\n", clip.display()));
    monitor.hang_up();
    monitor.wait_for_state("two", "running");
    assert!(monitor.get("/api/v1/status")["config_trouble"].is_null());
    let after = monitor.channel("one");
    assert_eq!(
        (&after["openings"], &after["since"]),
        (&before["openings"], &before["since"]),
        "it was not opened anew"
    );
}

#[test]
fn check_says_what_is_wrong_with_which_source_and_no_password() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[channel.good]\nsource = \"{}\"\n[channel.gone]\nsource = \"/nonexistent/clip.mp4\"\n\
         [channel.closed]\nsource = \"rtsp://admin:hunter2@127.0.0.1:{}/live\"\n",
        clip().display(),
        monitor::free_port()
    );
    std::fs::write(folder.path().join("monitor.toml"), text).unwrap();
    let output =
        common::program().arg("check").arg("--config").arg(folder.path().join("monitor.toml")).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{said}");
    let line = |start: &str| said.lines().find(|line| line.trim().starts_with(start)).unwrap_or_default();
    assert!(line("good:").contains("a picture after"), "{said}");
    assert!(line("gone:").contains("/nonexistent/clip.mp4"), "{said}");
    assert!(line("closed:").contains("rtsp://***@127.0.0.1"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}
