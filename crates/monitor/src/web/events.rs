//! Server-sent events: what happened, resumable by number, and a pulse for the wall.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{Stream, unfold};

use super::App;
use super::auth::{Caller, Visitor};

/// Events that are read from the store at once.
const BATCH: u32 = 100;
const PULSE: Duration = Duration::from_secs(1);

/// Everything that happens to incidents. `Last-Event-ID` resumes after that event; without it only
/// news come.
#[utoipa::path(get, path = "/api/v1/events", responses((status = 200, content_type = "text/event-stream", body = crate::store::Event)))]
pub async fn events(
    State(app): State<App>,
    _: Caller,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse::<i64>().ok());
    let mut newest = app.supervisor.newest_event.clone();
    let start = last.unwrap_or_else(|| *newest.borrow_and_update());
    let stream = unfold((app, newest, start, Vec::new()), |(app, mut newest, mut after, mut ready)| async move {
        loop {
            if let Some(event) = ready.pop() {
                return Some((Ok(event), (app, newest, after, ready)));
            }
            let found = app.ask(move |store| store.events(after, BATCH)).await.ok()?;
            if let Some(last) = found.last() {
                after = last.number;
                let events = found
                    .into_iter()
                    .map(|event| Event::default().id(event.number.to_string()).event(event.kind).data(event.body));
                ready = events.collect();
                ready.reverse();
                continue;
            }
            // A review is recorded without the supervisor: the pulse finds it.
            if tokio::time::timeout(PULSE, newest.changed()).await.is_ok_and(|changed| changed.is_err()) {
                return None;
            }
        }
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

/// A pulse each second, at which a page asks for what it shows.
pub async fn live(State(app): State<App>, _: Visitor) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let mut ticker = tokio::time::interval(PULSE);
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let stream = unfold((app, ticker), |(app, mut ticker)| async move {
        ticker.tick().await;
        // The supervisor is gone: the browser is to connect anew later.
        app.supervisor.newest_event.has_changed().ok()?;
        app.supervisor.somebody_looks();
        Some((Ok(Event::default().event("pulse").data(app.supervisor.shared.view().at.to_string())), (app, ticker)))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}
