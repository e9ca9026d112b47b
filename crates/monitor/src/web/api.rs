//! What machines ask for: `/api/v1`, described by OpenAPI.

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use utoipa::{IntoParams, OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Caller;
use super::{App, Failure, alarms, events};
use crate::channel::clip::Clip;
use crate::channel::incident::Incident;
use crate::channel::ledger::{Kind, Span, totals};
use crate::evidence;
use crate::store::{Filter, Review, ReviewAction, Role, VERDICTS};
use crate::supervisor::view::{ChannelView, View};
use crate::supervisor::{Command, system_time};

/// Longest time that may be asked for at once.
const LONGEST: i64 = 32 * 86_400_000;

#[derive(OpenApi)]
#[openapi(info(
    title = "deepfake-monitor",
    description = "Programs send `Authorization: Bearer TOKEN` (`deepfake-monitor token add`). Whoever logs in by POST /login sends the header x-csrf-token, which GET /api/v1/me gives, with whatever changes something."
))]
struct Description;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(me))
        .routes(routes!(status))
        .routes(routes!(channels))
        .routes(routes!(still))
        .routes(routes!(pause))
        .routes(routes!(coverage))
        .routes(routes!(scores))
        .routes(routes!(alarms::alarms))
        .routes(routes!(incidents))
        .routes(routes!(incident))
        .routes(routes!(thumbnail))
        .routes(routes!(clips))
        .routes(routes!(evidence_file))
        .routes(routes!(reviews, review))
        .routes(routes!(events::events))
        .routes(routes!(reload))
}

/// The header against forged requests.
pub fn csrf(headers: &HeaderMap) -> Option<&str> {
    headers.get("x-csrf-token").and_then(|value| value.to_str().ok())
}

#[derive(Serialize, ToSchema)]
struct Me {
    name: String,
    role: Role,
    /// To be sent as `x-csrf-token` with whatever changes something.
    csrf: String,
}

/// Who is logged in.
#[utoipa::path(get, path = "/api/v1/me", responses((status = 200, body = Me)))]
async fn me(Caller(session): Caller) -> impl IntoResponse {
    Json(Me { name: session.user, role: session.role, csrf: session.csrf })
}

/// Everything at a glance: channels, workers, troubles.
#[utoipa::path(get, path = "/api/v1/status", responses((status = 200, body = View)))]
async fn status(State(app): State<App>, _: Caller) -> impl IntoResponse {
    Json((*app.supervisor.shared.view()).clone())
}

/// All channels as they are now.
#[utoipa::path(get, path = "/api/v1/channels", responses((status = 200, body = Vec<ChannelView>)))]
async fn channels(State(app): State<App>, _: Caller) -> impl IntoResponse {
    Json(app.supervisor.shared.view().channels.clone())
}

/// The newest picture of a channel.
#[utoipa::path(get, path = "/api/v1/channels/{id}/still.jpg", params(("id" = String, Path,)),
    responses((status = 200, content_type = "image/jpeg", body = Vec<u8>), (status = 404)))]
async fn still(State(app): State<App>, _: Caller, Path(id): Path<String>) -> Result<Response, Failure> {
    app.supervisor.somebody_looks();
    let still = app.supervisor.shared.still(&id).ok_or_else(|| Failure::not_found("picture"))?;
    Ok(jpeg(still.jpeg.clone()))
}

fn jpeg(bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, "private, max-age=3600")], bytes).into_response()
}

#[derive(Deserialize, ToSchema)]
pub struct Pause {
    paused: bool,
}

/// Watches a channel no longer, or again.
#[utoipa::path(post, path = "/api/v1/channels/{id}/pause", params(("id" = String, Path,)), request_body = Pause,
    responses((status = 204), (status = 403), (status = 404)))]
async fn pause(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Path(id): Path<String>,
    Json(pause): Json<Pause>,
) -> Result<StatusCode, Failure> {
    caller.may(Role::Admin, csrf(&headers))?;
    set_paused(&app, &caller.0.user, id, pause.paused).await.map(|()| StatusCode::NO_CONTENT)
}

/// Pauses a channel for the page and the API alike, and writes down who did.
pub async fn set_paused(app: &App, who: &str, channel: String, paused: bool) -> Result<(), Failure> {
    let what = format!("{} channel {channel}", if paused { "paused" } else { "resumed" });
    let (done, answer) = oneshot::channel();
    command(app, Command::Pause { channel, paused, done }).await?;
    if !answer.await.unwrap_or(false) {
        return Err(Failure::not_found("channel"));
    }
    let who = who.to_owned();
    app.ask(move |store| store.audit(system_time(), &who, &what)).await
}

async fn command(app: &App, command: Command) -> Result<(), Failure> {
    let sent = app.supervisor.commands.send(command).await;
    sent.map_err(|_| Failure(StatusCode::SERVICE_UNAVAILABLE, "the program is ending".into()))
}

#[derive(Clone, Copy, Deserialize, IntoParams)]
struct Window {
    /// Milliseconds since 1970; a day ago unless given.
    from: Option<i64>,
    /// Milliseconds since 1970; now unless given.
    to: Option<i64>,
}

impl Window {
    fn bounds(self) -> Result<(i64, i64), Failure> {
        let to = self.to.unwrap_or_else(system_time);
        let from = self.from.unwrap_or(to.saturating_sub(86_400_000));
        if from < to && to.saturating_sub(from) <= LONGEST {
            Ok((from, to))
        } else {
            Err(Failure(StatusCode::BAD_REQUEST, "`from` must lie before `to`, at most 32 days".into()))
        }
    }
}

#[derive(Serialize, ToSchema)]
struct Coverage {
    from: i64,
    to: i64,
    spans: Vec<Span>,
    /// Milliseconds of each kind within the time asked for.
    totals: std::collections::BTreeMap<String, i64>,
    /// Milliseconds of which nothing is on record: the channel was not set up then.
    unrecorded: i64,
}

/// What each moment of a channel counts as.
#[utoipa::path(get, path = "/api/v1/channels/{id}/coverage", params(("id" = String, Path,), Window),
    responses((status = 200, body = Coverage)))]
async fn coverage(
    State(app): State<App>,
    _: Caller,
    Path(id): Path<String>,
    Query(window): Query<Window>,
) -> Result<impl IntoResponse, Failure> {
    let (from, to) = window.bounds()?;
    let spans = app.ask(move |store| store.coverage(&id, from, to)).await?;
    let sums = totals(&spans, from, to);
    let named = Kind::ALL.into_iter().map(|kind| (kind.as_str().to_owned(), sums[kind as usize]));
    let unrecorded = to - from - sums.iter().sum::<i64>();
    Ok(Json(Coverage { from, to, totals: named.collect(), spans, unrecorded }))
}

#[derive(Serialize, ToSchema)]
struct Score {
    /// Seconds since 1970.
    second: i64,
    score: f64,
}

/// The highest score of each second that has one.
#[utoipa::path(get, path = "/api/v1/channels/{id}/scores", params(("id" = String, Path,), Window),
    responses((status = 200, body = Vec<Score>)))]
async fn scores(
    State(app): State<App>,
    _: Caller,
    Path(id): Path<String>,
    Query(window): Query<Window>,
) -> Result<impl IntoResponse, Failure> {
    let (from, to) = window.bounds()?;
    let scores = app.ask(move |store| store.scores(&id, from, to)).await?;
    Ok(Json(scores.into_iter().map(|(second, score)| Score { second, score }).collect::<Vec<_>>()))
}

#[derive(Deserialize, IntoParams)]
pub struct Which {
    pub channel: Option<String>,
    /// `fake` or `down`.
    pub kind: Option<String>,
    /// Only those that are open.
    pub open: Option<bool>,
    /// Only those opened before, in milliseconds since 1970: for the next page.
    pub before: Option<i64>,
    /// At most 500; 50 unless given.
    pub limit: Option<u32>,
}

impl Which {
    pub fn filter(self) -> Filter {
        // An empty field of a form is one that nobody filled in.
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        Filter {
            channel: given(self.channel),
            kind: given(self.kind),
            open: self.open.unwrap_or(false),
            before: self.before,
            limit: self.limit.unwrap_or(50).clamp(1, 500),
        }
    }
}

/// Incidents, the newest first.
#[utoipa::path(get, path = "/api/v1/incidents", params(Which), responses((status = 200, body = Vec<Incident>)))]
async fn incidents(
    State(app): State<App>,
    _: Caller,
    Query(which): Query<Which>,
) -> Result<impl IntoResponse, Failure> {
    app.ask(move |store| store.incidents(&which.filter())).await.map(Json)
}

/// One incident.
#[utoipa::path(get, path = "/api/v1/incidents/{id}", params(("id" = String, Path,)),
    responses((status = 200, body = Incident), (status = 404)))]
async fn incident(State(app): State<App>, _: Caller, Path(id): Path<String>) -> Result<impl IntoResponse, Failure> {
    let incident = app.ask(move |store| store.incident(&id)).await?;
    incident.map(Json).ok_or_else(|| Failure::not_found("incident"))
}

/// A picture of an incident.
#[utoipa::path(get, path = "/api/v1/incidents/{id}/thumbnail.jpg", params(("id" = String, Path,)),
    responses((status = 200, content_type = "image/jpeg", body = Vec<u8>), (status = 404)))]
async fn thumbnail(State(app): State<App>, _: Caller, Path(id): Path<String>) -> Result<Response, Failure> {
    let picture = app.ask(move |store| store.thumbnail(&id)).await?;
    picture.map(jpeg).ok_or_else(|| Failure::not_found("picture"))
}

/// The clips of an incident, in order.
#[utoipa::path(get, path = "/api/v1/incidents/{id}/clips", params(("id" = String, Path,)),
    responses((status = 200, body = Vec<Clip>)))]
async fn clips(State(app): State<App>, _: Caller, Path(id): Path<String>) -> Result<impl IntoResponse, Failure> {
    app.ask(move |store| store.clips(&id)).await.map(Json)
}

/// A file of an incident's evidence, such as `1.mp4`, `1.jsonl`, `manifest.json` or `SHA256SUMS`. Takes ranges.
#[utoipa::path(get, path = "/api/v1/incidents/{id}/evidence/{file}",
    params(("id" = String, Path,), ("file" = String, Path,)),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>), (status = 206), (status = 404)))]
async fn evidence_file(
    State(app): State<App>,
    _: Caller,
    Path((id, file)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Failure> {
    let id: uuid::Uuid = id.parse().map_err(|_| Failure::not_found("incident"))?;
    if !evidence::is_name(&file) {
        return Err(Failure::not_found("file"));
    }
    let path = evidence::folder(&app.supervisor.config.borrow().evidence(), &id.to_string()).join(file);
    let mut response = tower_http::services::ServeFile::new(path).try_call(request).await.map_err(|error| {
        tracing::error!(%error, "evidence cannot be read");
        Failure(StatusCode::SERVICE_UNAVAILABLE, "the file cannot be read now".into())
    })?;
    if response.status() == StatusCode::NOT_FOUND {
        return Err(Failure::not_found("file"));
    }
    // A clip grows while it is recorded, and nobody else's cache is to keep it.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(response.into_response())
}

/// What people decided about an incident, in order.
#[utoipa::path(get, path = "/api/v1/incidents/{id}/reviews", params(("id" = String, Path,)),
    responses((status = 200, body = Vec<Review>)))]
async fn reviews(State(app): State<App>, _: Caller, Path(id): Path<String>) -> Result<impl IntoResponse, Failure> {
    app.ask(move |store| store.reviews(&id)).await.map(Json)
}

/// A decision about an incident.
#[derive(Deserialize, ToSchema)]
pub struct NewReview {
    pub action: ReviewAction,
    /// `confirmed`, `false-alarm` or `unclear` for a verdict; a name for an assignment.
    pub value: Option<String>,
    pub note: Option<String>,
}

/// Decides about an incident. What was decided before stays on record.
#[utoipa::path(post, path = "/api/v1/incidents/{id}/reviews", params(("id" = String, Path,)), request_body = NewReview,
    responses((status = 204), (status = 400), (status = 403), (status = 404)))]
async fn review(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Path(id): Path<String>,
    Json(review): Json<NewReview>,
) -> Result<StatusCode, Failure> {
    caller.may(Role::Reviewer, csrf(&headers))?;
    add_review(&app, &caller.0.user, id, review).await.map(|()| StatusCode::NO_CONTENT)
}

/// Adds a review for the page and the API alike.
pub async fn add_review(app: &App, who: &str, id: String, new: NewReview) -> Result<(), Failure> {
    let wrong = |message: &str| Failure(StatusCode::BAD_REQUEST, message.into());
    let given = |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let (value, note) = (given(new.value), given(new.note));
    if value.iter().chain(&note).any(|text| text.len() > 4000) {
        return Err(wrong("a note has at most 4000 bytes"));
    }
    match new.action {
        ReviewAction::Verdict if !value.as_deref().is_some_and(|value| VERDICTS.contains(&value)) => {
            return Err(wrong("a verdict is confirmed, false-alarm or unclear"));
        }
        ReviewAction::Assign if value.is_none() => return Err(wrong("to whom?")),
        ReviewAction::Note if note.is_none() => return Err(wrong("the note is empty")),
        _ => {}
    }
    let value = value.filter(|_| matches!(new.action, ReviewAction::Verdict | ReviewAction::Assign));
    let review = Review { at: system_time(), user: who.into(), action: new.action, value, note };
    let sinks: Vec<_> = app.supervisor.config.borrow().sinks.keys().cloned().collect();
    let found = app.ask(move |store| store.review(&id, &review, &sinks)).await?;
    if found { Ok(()) } else { Err(Failure::not_found("incident")) }
}

/// Loads the configuration anew. What is wrong with it is the answer, and the one before holds.
#[utoipa::path(post, path = "/api/v1/reload", responses((status = 204), (status = 403), (status = 422)))]
async fn reload(State(app): State<App>, caller: Caller, headers: HeaderMap) -> Result<StatusCode, Failure> {
    caller.may(Role::Admin, csrf(&headers))?;
    let (done, answer) = oneshot::channel();
    command(&app, Command::Reload { done }).await?;
    match answer.await {
        Ok(Ok(())) => Ok(StatusCode::NO_CONTENT),
        Ok(Err(error)) => Err(Failure(StatusCode::UNPROCESSABLE_ENTITY, error)),
        Err(_) => Err(Failure(StatusCode::SERVICE_UNAVAILABLE, "the program is ending".into())),
    }
}
