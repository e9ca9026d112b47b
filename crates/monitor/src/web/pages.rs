//! What people see. Pages are made here and readable without any script; the script only keeps them
//! fresh.

use axum::Form;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;

use super::api::{self, NewReview, Which};
use super::auth::Visitor;
use super::times::{Zone, length};
use super::{App, Failure, chart};
use crate::channel::clip::{Clip, ClipState};
use crate::channel::incident::{Incident, Kind};
use crate::channel::ledger::{self, totals};
use crate::channel::machine;
use crate::store::{Review, ReviewAction, Role, Session, VERDICTS};
use crate::supervisor::system_time;
use crate::supervisor::view::{ChannelView, View};

/// Time that is shown before and after an incident.
const AROUND: i64 = 30_000;
/// Points of a score line; a longer time is drawn with several seconds for each.
const POINTS: i64 = 600;

/// A page without a menu.
pub fn bare(app: &App, title: &str, content: Markup) -> Markup {
    frame(app, title, None, content)
}

pub fn page(app: &App, session: &Session, title: &str, content: Markup) -> Markup {
    frame(app, title, Some(session), content)
}

fn frame(app: &App, title: &str, session: Option<&Session>, content: Markup) -> Markup {
    let zone = &app.server.time_zone;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · deepfake-monitor" }
                link rel="icon" type="image/svg+xml" href=(app.path("/assets/icon.svg"));
                link rel="stylesheet" href=(app.path("/assets/style.css"));
                script type="module" src=(app.path("/assets/monitor.js")) {}
            }
            body data-base=(app.server.base_path) {
                a.skip href="#content" { "Skip to the content" }
                header {
                    strong { "deepfake-monitor" }
                    @if let Some(session) = session {
                        nav aria-label="Pages" {
                            @for (path, name) in [("/", "Wall"), ("/incidents", "Incidents"), ("/coverage", "Coverage"), ("/health", "Health")] {
                                a href=(app.path(path)) aria-current=[(name == title).then_some("page")] { (name) }
                            }
                        }
                        form method="post" action=(app.path("/logout")) {
                            input type="hidden" name="csrf" value=(session.csrf);
                            span.who { (session.user) " (" (session.role.as_str()) ")" }
                            button.quiet { "Log out" }
                        }
                    }
                }
                main id="content" { (content) }
                footer { "Times in " (zone) ". A score is evidence, not proof; not analysed is not authentic." }
            }
        }
    }
}

pub async fn wall(State(app): State<App>, Visitor(session): Visitor) -> Markup {
    app.supervisor.somebody_looks();
    let view = app.supervisor.shared.view();
    let content = html! {
        h1.hidden { "Wall" }
        div id="wall" data-live=(app.path("/wall")) data-pulse=(app.path("/live")) { (tiles_of(&app, &view)) }
        p.trouble id="lost" role="alert" hidden { "The connection to the monitor is lost. What you see is old." }
    };
    page(&app, &session, "Wall", content)
}

/// The wall alone, for the script.
pub async fn tiles(State(app): State<App>, _: Visitor) -> Markup {
    app.supervisor.somebody_looks();
    tiles_of(&app, &app.supervisor.shared.view())
}

fn tiles_of(app: &App, view: &View) -> Markup {
    let mut channels: Vec<_> = view.channels.iter().collect();
    channels.sort_by(|one, other| (one.rank(), &one.title).cmp(&(other.rank(), &other.title)));
    let troubles = [
        view.clip_trouble.as_ref().map(|why| format!("No clips are written: {why}. Watching goes on.")),
        view.recording_trouble.as_ref().map(|why| format!("Nothing can be recorded: {why}. Watching goes on.")),
        view.config_trouble
            .as_ref()
            .map(|_| "The newest configuration is wrong; the one before holds. See Health.".into()),
    ];
    html! {
        @for trouble in troubles.into_iter().flatten() { p.trouble role="alert" { (trouble) } }
        @if channels.is_empty() { p { "No channel is set up. Add " code { "[channel.NAME]" } " with a " code { "source" } " to the configuration." } }
        ul.tiles {
            @for channel in channels { (tile(app, channel, view.at)) }
        }
    }
}

/// A word and a sign for how a channel is, so that nobody depends on colours.
fn badge(channel: &ChannelView) -> Markup {
    let (class, sign, word) = if channel.incidents.contains_key("fake") {
        ("alarm", "▲", "looks fake")
    } else {
        match channel.state {
            machine::State::Running if channel.coverage == ledger::Kind::Analysed => ("good", "●", "analysed"),
            machine::State::Running => ("plain", "○", chart::words(channel.coverage)),
            machine::State::Paused => ("plain", "‖", "paused"),
            machine::State::Connecting => ("warn", "…", "connecting"),
            state => ("bad", "✕", state.as_str()),
        }
    };
    html! { span class={ "badge " (class) } { span aria-hidden="true" { (sign) } " " (word) } }
}

/// Words of a report as people write them.
fn spelled_out(word: &str) -> String {
    word.replace('-', " ")
}

fn tile(app: &App, channel: &ChannelView, now: i64) -> Markup {
    let still = app.supervisor.shared.still(&channel.id);
    let fresh = channel.state != machine::State::Paused;
    let running = channel.state == machine::State::Running;
    let shed = running && channel.coverage == ledger::Kind::Shed;
    let notes = [
        (!running).then(|| format!("for {}", length(now - channel.since))),
        channel.reason.clone().or(channel.coverage_reason.as_deref().map(spelled_out)),
        shed.then(|| "this machine is too slow to judge every face".into()),
        channel.recording.then(|| "a clip is being recorded".into()),
        channel.retry_at.map(|retry| format!("next try in {}", length((retry - now).max(0)))),
    ];
    let notes: Vec<_> = notes.into_iter().flatten().collect();
    html! {
        li.tile data-id=(channel.id) data-rank=(channel.rank()) {
            a.picture href=(app.path(&format!("/channels/{}", channel.id))) {
                @if let Some(still) = still.filter(|_| fresh) {
                    img data-at=(still.at) alt={ "picture of " (channel.title) }
                        class=[(now - still.at > 10_000).then_some("old")]
                        src=(app.path(&format!("/api/v1/channels/{}/still.jpg?at={}", channel.id, still.at)));
                } @else {
                    span.empty { "no picture" }
                }
            }
            div.facts {
                h2 { (channel.title) }
                p { (badge(channel)) @if let Some(score) = channel.score { " " span.score { (format!("{score:.2}")) } } }
                (chart::strip(&channel.recent, None))
                @if let Some(id) = channel.incidents.get("fake") {
                    p { a href=(app.path(&format!("/incidents/{id}"))) { "Open the incident" } }
                }
                p.note { (notes.join(" · ")) }
            }
        }
    }
}

pub async fn channel(
    State(app): State<App>,
    Visitor(session): Visitor,
    Path(id): Path<String>,
) -> Result<Markup, Failure> {
    app.supervisor.somebody_looks();
    let view = app.supervisor.shared.view();
    let channel = view.channels.iter().find(|channel| channel.id == id).ok_or_else(|| Failure::not_found("channel"))?;
    let zone = Zone::named(&app.server.time_zone);
    let (from, to) = (view.at - 3_600_000, view.at);
    let (spans, scores, incidents) = app
        .ask(move |store| {
            let filter =
                Which { channel: Some(id.clone()), kind: None, open: None, before: None, limit: Some(20) }.filter();
            Ok((store.coverage(&id, from, to)?, store.scores(&id, from, to)?, store.incidents(&filter)?))
        })
        .await?;
    let facts = [
        ("Source", Some(channel.source.clone())),
        ("Model", channel.model.clone()),
        ("Device", channel.device.clone()),
        ("Picture", channel.size.map(|(width, height)| format!("{width} × {height}"))),
        ("Analyses per second", (channel.rate > 0.0).then(|| format!("{:.1}", channel.rate))),
        ("Openings of the source", Some(channel.openings.to_string())),
        ("Worker", channel.worker.map(|worker| worker.to_string())),
    ];
    let content = html! {
        h1 { (channel.title) }
        ul.tiles.single { (tile(&app, channel, view.at)) }
        dl.facts {
            @for (name, value) in facts { @if let Some(value) = value { dt { (name) } dd { (value) } } }
            @for (name, value) in &channel.labels { dt { (name) } dd { (value) } }
        }
        @if session.role >= Role::Admin {
            form method="post" action=(app.path(&format!("/channels/{}/pause", channel.id))) {
                input type="hidden" name="csrf" value=(session.csrf);
                input type="hidden" name="paused" value=(!channel.paused);
                button { @if channel.paused { "Watch again" } @else { "Pause" } }
            }
        }
        p { a href=(app.path(&format!("/channels/{}/alarms", channel.id))) { "False alarms and threshold" } }
        h2 { "The last hour" }
        (chart::strip(&resampled(&scores, from, to), None))
        (chart::coverage(&spans, from, to))
        (chart::legend())
        h2 { "Incidents" }
        (incident_table(&app, &zone, &incidents))
    };
    Ok(page(&app, &session, &channel.title, content))
}

#[derive(Deserialize)]
pub struct PauseForm {
    csrf: String,
    paused: bool,
}

pub async fn pause(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<String>,
    Form(form): Form<PauseForm>,
) -> Result<Response, Failure> {
    visitor.may(Role::Admin, Some(&form.csrf))?;
    let back = app.path(&format!("/channels/{id}"));
    api::set_paused(&app, &visitor.0.user, id, form.paused).await?;
    Ok(Redirect::to(&back).into_response())
}

/// Scores as points of a line, each the highest of its time.
fn resampled(scores: &[(i64, f64)], from: i64, to: i64) -> Vec<Option<f64>> {
    let (first, last) = (from.div_euclid(1000), to.div_euclid(1000) + 1);
    let step = ((last - first) / POINTS).max(1);
    let mut points = vec![None; usize::try_from((last - first) / step + 1).unwrap_or(0)];
    for (second, score) in scores {
        let place = usize::try_from((second - first) / step).ok().and_then(|place| points.get_mut(place));
        if let Some(place) = place {
            *place = Some(place.map_or(*score, |highest: f64| highest.max(*score)));
        }
    }
    points
}

fn kind_words(kind: Kind) -> &'static str {
    match kind {
        Kind::Fake => "looked fake",
        Kind::Down => "was not watched",
    }
}

/// What a channel is called; its id if it is no longer set up.
fn title_of(view: &View, id: &str) -> String {
    view.channels.iter().find(|channel| channel.id == id).map_or(id, |channel| &channel.title).to_owned()
}

fn incident_table(app: &App, zone: &Zone, incidents: &[Incident]) -> Markup {
    let view = app.supervisor.shared.view();
    if incidents.is_empty() {
        return html! { p { "None." } };
    }
    html! {
        div.wide tabindex="0" { table {
            thead { tr { th { "Opened" } th { "Channel" } th { "What" } th { "Highest score" } th { "Lasted" } th { "Faces" } } }
            tbody {
                @for incident in incidents {
                    tr {
                        td { a href=(app.path(&format!("/incidents/{}", incident.id))) { (zone.time(incident.opened)) } }
                        td { (title_of(&view, &incident.channel)) }
                        td { (kind_words(incident.kind)) @if incident.closed.is_none() { " " span.badge.alarm { "open" } } }
                        td.number { @if let Some(peak) = incident.peak { (format!("{peak:.2}")) } }
                        td.number { (length(incident.closed.unwrap_or(incident.last_active) - incident.opened)) }
                        td.number { @if incident.kind == Kind::Fake { (incident.faces.len()) } }
                    }
                }
            }
        } }
    }
}

pub async fn incidents(
    State(app): State<App>,
    Visitor(session): Visitor,
    Query(which): Query<Which>,
) -> Result<Markup, Failure> {
    let zone = Zone::named(&app.server.time_zone);
    let filter = which.filter();
    let asked = filter.clone();
    let found = app.ask(move |store| store.incidents(&asked)).await?;
    let view = app.supervisor.shared.view();
    let more = (found.len() == filter.limit as usize).then(|| found.last().map(|last| last.opened)).flatten();
    let chosen = |field: &Option<String>, value: &str| field.as_deref() == Some(value);
    let content = html! {
        h1 { "Incidents" }
        form.filter method="get" {
            label { "Channel " select name="channel" {
                option value="" { "all" }
                @for channel in &view.channels { option value=(channel.id) selected[chosen(&filter.channel, &channel.id)] { (channel.title) } }
            } }
            label { "What " select name="kind" {
                option value="" { "all" }
                @for kind in [Kind::Fake, Kind::Down] { option value=(kind.as_str()) selected[chosen(&filter.kind, kind.as_str())] { (kind_words(kind)) } }
            } }
            label { input type="checkbox" name="open" value="true" checked[filter.open]; " open only" }
            button { "Show" }
        }
        (incident_table(&app, &zone, &found))
        @if let Some(before) = more {
            form method="get" {
                @if let Some(channel) = &filter.channel { input type="hidden" name="channel" value=(channel); }
                @if let Some(kind) = &filter.kind { input type="hidden" name="kind" value=(kind); }
                @if filter.open { input type="hidden" name="open" value="true"; }
                input type="hidden" name="before" value=(before);
                button { "Older" }
            }
        }
    };
    Ok(page(&app, &session, "Incidents", content))
}

pub async fn incident(
    State(app): State<App>,
    Visitor(session): Visitor,
    Path(id): Path<String>,
) -> Result<Markup, Failure> {
    let asked = id.clone();
    let found = app.ask(move |store| {
        let Some(incident) = store.incident(&asked)? else { return Ok(None) };
        let from = incident.opened - AROUND;
        let to = incident.closed.unwrap_or(incident.last_active) + AROUND;
        let spans = store.coverage(&incident.channel, from, to)?;
        let scores = store.scores(&incident.channel, from, to)?;
        let pictured = store.thumbnail(&asked)?.is_some();
        let clips = store.clips(&asked)?;
        Ok(Some((store.reviews(&asked)?, spans, scores, pictured, clips, from, to, incident)))
    });
    let Some((reviews, spans, scores, pictured, clips, from, to, incident)) = found.await? else {
        return Err(Failure::not_found("incident"));
    };
    let zone = Zone::named(&app.server.time_zone);
    let threshold =
        app.supervisor.config.borrow().channels.get(&incident.channel).and_then(|channel| channel.fake_threshold);
    let view = app.supervisor.shared.view();
    let title = format!("{} {}", title_of(&view, &incident.channel), kind_words(incident.kind));
    let playable = clips.iter().any(|clip| clip.video().is_some());
    let content = html! {
        h1 { (title) }
        @if pictured && !playable {
            img.thumbnail alt="the picture when the incident was noticed" src=(app.path(&format!("/api/v1/incidents/{id}/thumbnail.jpg")));
        }
        dl.facts {
            dt { "Opened" } dd { (zone.time(incident.opened)) }
            dt { "Closed" } dd { @if let Some(at) = incident.closed { (zone.time(at)) } @else { span.badge.alarm { "still open" } } }
            dt { "Lasted" } dd { (length(incident.closed.unwrap_or(incident.last_active) - incident.opened)) }
            @if let Some(reason) = &incident.reason { dt { "Reason" } dd { (reason) } }
            @if let Some(peak) = incident.peak {
                dt { "Highest score" } dd { (format!("{peak:.3}")) @if let Some(at) = incident.peak_at { " at " (zone.time(at)) } }
                dt { "Alerts" } dd { (incident.alerts) @if incident.flaps > 0 { "; quiet in between " (times(incident.flaps)) } }
            }
            @if let Some(model) = &incident.model { dt { "Model" } dd { (model) } }
        }
        @for clip in &clips { (clip_player(&app, &zone, clip)) }
        h2 { "Score and coverage" }
        p.note { "From " (zone.time(from)) " to " (zone.time(to)) }
        (chart::strip(&resampled(&scores, from, to), threshold))
        (chart::coverage(&spans, from, to))
        (chart::legend())
        @if !incident.faces.is_empty() {
            h2 { "Faces" }
            div.wide tabindex="0" { table {
                thead { tr { th { "Face" } th { "First" } th { "Last" } th { "Highest score" } } }
                tbody { @for face in &incident.faces {
                    tr { td { (face.track_id) } td { (zone.time(face.first)) } td { (zone.time(face.last)) } td.number { (format!("{:.3}", face.peak)) } }
                } }
            } }
        }
        h2 { "Review" }
        (review_list(&zone, &reviews))
        @if session.role >= Role::Reviewer { (review_form(&app, &session, &id)) }
    };
    Ok(page(&app, &session, &title, content))
}

/// A clip with what was seen in it. The script draws score and boxes in step with the picture.
fn clip_player(app: &App, zone: &Zone, clip: &Clip) -> Markup {
    let file = |name: &str| app.path(&format!("/api/v1/incidents/{}/evidence/{name}", clip.incident));
    let reports = format!("{}.jsonl", clip.part);
    let pictures = clip.files.iter().filter(|file| file.name.ends_with(".jpg"));
    let poster = pictures.clone().next().map(|picture| file(&picture.name));
    let length = clip.ended.map(|ended| length(ended - clip.began));
    html! {
        section.clip id={ "clip-" (clip.part) } {
            h2 { "Clip" @if clip.part > 1 { " " (clip.part) } }
            @if let Some(video) = clip.video() {
                div.screen {
                    video controls muted playsinline preload="metadata" poster=[&poster] src=(file(&video.name)) data-reports=(file(&reports)) {}
                    div.boxes aria-hidden="true" {}
                }
                svg.strip.seek viewBox="0 0 1000 20" preserveAspectRatio="none" aria-hidden="true" {}
                p.note { span.now aria-live="off" {} " " a.share hidden { "Link to this second" } }
            } @else if clip.state == ClipState::Recording {
                p { "It is being recorded; reload the page when it is over." }
            } @else {
                p { "There are no pictures." }
            }
            p.note {
                "The feed as it arrived"
                @if let Some(codec) = &clip.codec { " (" (codec) ")" }
                @if let Some(length) = length { ", " (length) " from " (zone.time(clip.began)) }
                ". " (self::length(clip.pre_roll)) " of it lie before the alert ("
                (self::length(clip.pre_roll_wanted)) " were wanted)."
            }
            @if !clip.missing.is_empty() {
                p.note { strong { "What is missing: " } (clip.missing.join("; ")) "." }
            }
            @if clip.state == ClipState::Ready {
                p.note {
                    @for kept in &clip.files {
                        @if !kept.name.ends_with(".jpg") { a href=(file(&kept.name)) download { (kept.name) } " · " }
                    }
                    a href=(file("manifest.json")) download { "manifest.json" } " · "
                    a href=(file("SHA256SUMS")) download { "SHA256SUMS" }
                }
            }
            ul.pictures { @for picture in pictures {
                li { a href=(file(&picture.name)) { img loading="lazy" alt="a picture of the clip" src=(file(&picture.name)); } }
            } }
        }
    }
}

fn review_list(zone: &Zone, reviews: &[Review]) -> Markup {
    html! {
        @if reviews.is_empty() { p { "Nobody has looked at it yet." } }
        ol.reviews { @for review in reviews {
            li {
                (zone.time(review.at)) " · " strong { (review.user) } " · " (review.action.as_str())
                @if let Some(value) = &review.value { ": " strong { (value) } }
                @if let Some(note) = &review.note { p.written { (note) } }
            }
        } }
    }
}

fn review_form(app: &App, session: &Session, id: &str) -> Markup {
    let button = |action: ReviewAction, value: Option<&str>, words: &str| {
        html! {
            button name="decision" value=(match value { Some(value) => format!("{}:{value}", action.as_str()), None => action.as_str().into() }) { (words) }
        }
    };
    html! {
        form.review method="post" action=(app.path(&format!("/incidents/{id}"))) {
            input type="hidden" name="csrf" value=(session.csrf);
            label { "Note " textarea name="note" rows="3" maxlength="2000" {} }
            label { "Assign to " input name="to" maxlength="64"; }
            div.buttons {
                (button(ReviewAction::Acknowledge, None, "Acknowledge"))
                @for verdict in VERDICTS { (button(ReviewAction::Verdict, Some(verdict), &verdict.replace('-', " "))) }
                (button(ReviewAction::Note, None, "Note only"))
                (button(ReviewAction::Assign, None, "Assign"))
                (button(ReviewAction::Hold, None, "Hold"))
                (button(ReviewAction::Release, None, "Release"))
            }
            p.note { "What is held is never deleted. Decisions are added, never rewritten." }
        }
    }
}

#[derive(Deserialize)]
pub struct ReviewForm {
    csrf: String,
    decision: String,
    note: String,
    to: String,
}

pub async fn review(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<String>,
    Form(form): Form<ReviewForm>,
) -> Result<Response, Failure> {
    visitor.may(Role::Reviewer, Some(&form.csrf))?;
    let (word, value) = form.decision.split_once(':').unwrap_or((&form.decision, ""));
    let action = ReviewAction::ALL.into_iter().find(|action| action.as_str() == word);
    let action = action.ok_or_else(|| Failure::not_found("decision"))?;
    let value = if action == ReviewAction::Assign { form.to.clone() } else { value.to_owned() };
    let new = NewReview { action, value: Some(value), note: Some(form.note) };
    let back = app.path(&format!("/incidents/{id}"));
    api::add_review(&app, &visitor.0.user, id, new).await?;
    Ok(Redirect::to(&back).into_response())
}

#[derive(Deserialize)]
pub struct Day {
    day: Option<String>,
}

pub async fn coverage(
    State(app): State<App>,
    Visitor(session): Visitor,
    Query(asked): Query<Day>,
) -> Result<Markup, Failure> {
    let zone = Zone::named(&app.server.time_zone);
    let now = system_time();
    let day = asked.day.and_then(|day| day.parse().ok()).unwrap_or_else(|| zone.today(now));
    let (from, to) = zone.bounds(day).ok_or_else(|| Failure::not_found("day"))?;
    let view = app.supervisor.shared.view();
    let ids: Vec<_> = view.channels.iter().map(|channel| (channel.id.clone(), channel.title.clone())).collect();
    let rows = app
        .ask(move |store| {
            let spans = ids.into_iter().map(|(id, title)| Ok((title, store.coverage(&id, from, to)?)));
            spans.collect::<crate::store::Result<Vec<_>>>()
        })
        .await?;
    let link = |day: Option<jiff::civil::Date>, words: &str| {
        html! {
            @if let Some(day) = day { a href=(app.path(&format!("/coverage?day={day}"))) { (words) } }
        }
    };
    let content = html! {
        h1 { "Coverage" }
        form.filter method="get" {
            (link(day.yesterday().ok(), "← day before"))
            label { "Day " input type="date" name="day" value=(day); }
            button { "Show" }
            (link(day.tomorrow().ok(), "day after →"))
        }
        p.note { "From midnight to midnight in " (app.server.time_zone) ": " (length(to - from)) ". Empty is not on record." }
        (chart::legend())
        @for (title, spans) in &rows {
            h2 { (title) }
            (chart::coverage(spans, from, to))
        }
        div.wide tabindex="0" { table {
            thead { tr { th { "Channel" } @for kind in ledger::Kind::ALL { th { (chart::words(kind)) } } th { "not on record" } } }
            tbody { @for (title, spans) in &rows {
                @let sums = totals(spans, from, to);
                tr {
                    td { (title) }
                    @for sum in sums { td.number { @if sum >= 50 { (length(sum)) } @else if sum > 0 { "< 0.1 s" } } }
                    td.number { (length((to.min(now.max(from)) - from - sums.iter().sum::<i64>()).max(0))) }
                }
            } }
        } }
    };
    Ok(page(&app, &session, "Coverage", content))
}

pub async fn health(State(app): State<App>, Visitor(session): Visitor) -> Result<Markup, Failure> {
    let zone = Zone::named(&app.server.time_zone);
    let view = app.supervisor.shared.view();
    let (backlog, log) = app.ask(|store| Ok((store.backlog()?, store.audit_log(30)?))).await?;
    let sinks: Vec<_> = app.supervisor.config.borrow().sinks.keys().cloned().collect();
    let now = system_time();
    let content = html! {
        h1 { "Health" }
        dl.facts {
            dt { "Running since" } dd { (zone.time(view.started)) }
            dt { "Recording" } dd { @if let Some(why) = &view.recording_trouble { span.badge.bad { (why) } } @else { span.badge.good { "works" } } }
            dt { "Clips" } dd { @if let Some(why) = &view.clip_trouble { span.badge.bad { (why) } } @else { span.badge.good { "are written" } } }
            @if let Some(free) = view.free_bytes { dt { "Room left on the disk" } dd { (gigabytes(free)) } }
            dt { "Configuration" } dd { @if view.config_trouble.is_some() { span.badge.bad { "the newest is wrong" } } @else { span.badge.good { "as loaded" } } }
            dt { "Clock" } dd { @if view.clock_steps == 0 { "was not set while running" } @else { "was set " (times(view.clock_steps)) " while running" } }
            @if view.scores_lost > 0 { dt { "Scores lost" } dd { (view.scores_lost) " s" } }
        }
        @if let Some(trouble) = &view.config_trouble { pre.trouble { (trouble) } }
        h2 { "Workers" }
        div.wide tabindex="0" { table {
            thead { tr { th { "Worker" } th { "State" } th { "Process" } th { "Channels" } th { "Memory" } th { "Replaced" } th { "Last end" } } }
            tbody { @for worker in &view.workers {
                tr {
                    td { (worker.number) }
                    td { @if worker.ready { span.badge.good { "works" } } @else { span.badge.bad { "not there" } } }
                    td.number { @if let Some(id) = worker.process { (id) } }
                    td.number { (worker.channels) }
                    td.number { (worker.memory_bytes >> 20) " MiB" }
                    td.number { (worker.restarts) }
                    td { (worker.last_end.as_deref().unwrap_or("")) }
                }
            } }
        } }
        h2 { "Sinks" }
        @if sinks.is_empty() { p { "None is set up." } }
        @else { div.wide tabindex="0" { table {
            thead { tr { th { "Sink" } th { "Waiting" } th { "Oldest" } th { "Last error" } } }
            tbody { @for sink in &sinks {
                @let waiting = backlog.iter().find(|backlog| backlog.sink == *sink);
                tr {
                    td { (sink) }
                    td.number { (waiting.map_or(0, |backlog| backlog.waiting)) }
                    td.number { @if let Some(waiting) = waiting { (length(now - waiting.oldest)) } }
                    td { (waiting.and_then(|backlog| backlog.last_error.as_deref()).unwrap_or("")) }
                }
            } }
        } } }
        h2 { "Who did what" }
        ul.reviews { @for (at, who, what) in &log { li { (zone.time(*at)) " · " strong { (who) } " · " (what) } } }
    };
    Ok(page(&app, &session, "Health", content))
}

fn times(count: u64) -> String {
    if count == 1 { "once".into() } else { format!("{count} times") }
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_time_keeps_its_highest_scores() {
        let scores: Vec<_> = (0..7200).map(|second| (second, if second == 4321 { 0.9 } else { 0.1 })).collect();
        let points = resampled(&scores, 0, 7_200_000);
        assert!(points.len() as i64 <= POINTS + 2);
        assert_eq!(points.iter().flatten().filter(|score| **score == 0.9).count(), 1);
        assert_eq!(resampled(&[], 0, 1000).iter().flatten().count(), 0);
    }
}
