//! For Prometheus, and for whoever asks whether the program does its work.

use std::sync::atomic::AtomicU64;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{App, Failure};
use crate::channel::ledger::Kind;
use crate::channel::machine::State as ChannelState;
use crate::store::Backlog;
use crate::supervisor::system_time;
use crate::supervisor::view::View;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByChannel {
    channel: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByState {
    channel: String,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByKind {
    channel: String,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByWorker {
    worker: u64,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BySink {
    sink: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

type Floats = Gauge<f64, AtomicU64>;
type FloatCounter = Counter<f64, AtomicU64>;

/// No label names an address, a face or a person, and channels that are gone leave no series
/// behind: all is made anew for each request.
pub async fn metrics(State(app): State<App>) -> Result<impl IntoResponse, Failure> {
    let backlog = app.ask(|store| store.backlog()).await?;
    let sinks: Vec<_> = app.supervisor.config.borrow().sinks.keys().cloned().collect();
    let text = text(&app.supervisor.shared.view(), &sinks, &backlog, system_time());
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text))
}

fn text(view: &View, sinks: &[String], backlog: &[Backlog], now: i64) -> String {
    let mut registry = Registry::with_prefix("deepfake");
    let state = Family::<ByState, Gauge>::default();
    let covered = Family::<ByKind, FloatCounter>::default();
    let last = Family::<ByChannel, Floats>::default();
    let openings = Family::<ByChannel, Counter>::default();
    let analysed = Family::<ByChannel, Counter>::default();
    let rate = Family::<ByChannel, Floats>::default();
    let score = Family::<ByChannel, Floats>::default();
    let open = Family::<ByKind, Gauge>::default();
    for channel in &view.channels {
        let by_channel = ByChannel { channel: channel.id.clone() };
        for one in ChannelState::ALL {
            let labels = ByState { channel: channel.id.clone(), state: one.as_str() };
            state.get_or_create(&labels).set(i64::from(one == channel.state));
        }
        for kind in Kind::ALL {
            let labels = ByKind { channel: channel.id.clone(), kind: kind.as_str() };
            covered.get_or_create(&labels).inc_by(channel.covered[kind as usize].max(0) as f64 / 1000.0);
        }
        for kind in ["fake", "down"] {
            let labels = ByKind { channel: channel.id.clone(), kind };
            open.get_or_create(&labels).set(i64::from(channel.incidents.contains_key(kind)));
        }
        if let Some(at) = channel.last_picture {
            last.get_or_create(&by_channel).set(at as f64 / 1000.0);
        }
        if let Some(highest) = channel.score {
            score.get_or_create(&by_channel).set(highest);
        }
        openings.get_or_create(&by_channel).inc_by(channel.openings);
        analysed.get_or_create(&by_channel).inc_by(channel.analysed);
        rate.get_or_create(&by_channel).set(channel.rate);
    }
    registry.register("channel_state", "1 for the state that the channel is in", state);
    registry.register_with_unit(
        "channel_coverage",
        "Time that counts as this kind of coverage",
        Unit::Seconds,
        covered,
    );
    registry.register("channel_last_frame_timestamp_seconds", "When the last picture arrived", last);
    registry.register("channel_openings", "Times that the source was opened", openings);
    registry.register("channel_analyses", "Frames analysed", analysed);
    registry.register("channel_analysis_rate", "Analyses per second of late", rate);
    registry.register("channel_score", "Highest score of the newest second with one", score);
    registry.register("incident_open", "1 while such an incident is open", open);

    let memory = Family::<ByWorker, Gauge>::default();
    let ready = Family::<ByWorker, Gauge>::default();
    let restarts = Family::<ByWorker, Counter>::default();
    for worker in &view.workers {
        let labels = ByWorker { worker: worker.number as u64 };
        memory.get_or_create(&labels).set(i64::try_from(worker.memory_bytes).unwrap_or(i64::MAX));
        ready.get_or_create(&labels).set(i64::from(worker.ready));
        restarts.get_or_create(&labels).inc_by(worker.restarts);
    }
    registry.register_with_unit("worker_memory", "Memory that the worker holds", Unit::Bytes, memory);
    registry.register("worker_ready", "1 while the worker works", ready);
    registry.register("worker_restarts", "Times that the worker was replaced", restarts);

    let pending = Family::<BySink, Gauge>::default();
    let oldest = Family::<BySink, Floats>::default();
    for sink in sinks {
        let labels = BySink { sink: sink.clone() };
        let waiting = backlog.iter().find(|backlog| backlog.sink == *sink);
        pending
            .get_or_create(&labels)
            .set(waiting.map_or(0, |backlog| i64::try_from(backlog.waiting).unwrap_or(i64::MAX)));
        oldest.get_or_create(&labels).set(waiting.map_or(0.0, |backlog| (now - backlog.oldest).max(0) as f64 / 1000.0));
    }
    registry.register("outbox_pending", "Events that wait to be sent", pending);
    registry.register("outbox_oldest_seconds", "Age of the oldest event that waits", oldest);

    let flag = |set: bool| {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::from(set));
        gauge
    };
    registry.register("recording_failing", "1 while nothing can be recorded", flag(view.recording_trouble.is_some()));
    registry.register(
        "config_rejected",
        "1 while the newest configuration is wrong",
        flag(view.config_trouble.is_some()),
    );
    let steps = Counter::<u64>::default();
    steps.inc_by(view.clock_steps);
    registry.register("clock_steps", "Times that the system's clock was set", steps);
    let build = Family::<Build, Gauge>::default();
    build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
    registry.register("build_info", "What runs", build);

    let mut text = String::new();
    encode(&mut text, &registry).expect("a string takes all that is written into it");
    text
}

/// Ready means that the program does its work: it records, and of the channels that are to be
/// watched at least one is.
pub async fn ready(State(app): State<App>) -> impl IntoResponse {
    let view = app.supervisor.shared.view();
    match unready(&view, system_time()) {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
    }
}

fn unready(view: &View, now: i64) -> Option<String> {
    if now - view.at > 10_000 {
        return Some("the supervisor stands still".into());
    }
    if let Some(trouble) = &view.recording_trouble {
        return Some(format!("nothing can be recorded: {trouble}"));
    }
    let mut wanted = view.channels.iter().filter(|channel| channel.state != ChannelState::Paused).peekable();
    let watched = |kind| matches!(kind, Kind::Analysed | Kind::NoFace | Kind::NotJudgeable);
    if wanted.peek().is_some()
        && !wanted.any(|channel| channel.state == ChannelState::Running && watched(channel.coverage))
    {
        return Some("no channel is analysed".into());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_who_records_and_analyses() {
        let view = View { at: 1000, ..View::default() };
        assert_eq!(unready(&view, 2000), None, "nothing is wanted");
        assert!(unready(&view, 20_000).unwrap().contains("stands still"));
        let full = View { recording_trouble: Some("disk full".into()), ..view };
        assert!(unready(&full, 2000).unwrap().contains("disk full"));
    }

    #[test]
    fn a_sink_that_has_nothing_to_send_has_its_series() {
        let backlog = [Backlog { sink: "desk".into(), waiting: 3, oldest: 1000, last_error: None }];
        let text = text(&View::default(), &["desk".into(), "night".into()], &backlog, 5000);
        for line in [
            r#"deepfake_outbox_pending{sink="desk"} 3"#,
            r#"deepfake_outbox_pending{sink="night"} 0"#,
            r#"deepfake_outbox_oldest_seconds{sink="desk"} 4.0"#,
            "deepfake_recording_failing 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
