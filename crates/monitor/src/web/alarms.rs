//! How often a channel raises false alarms, and which threshold would raise fewer.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use maud::{Markup, html};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::{Caller, Visitor};
use super::times::length;
use super::{App, Failure, pages};
use crate::channel::ledger::{Kind, totals};
use crate::channel::threshold::{self, Outcome};
use crate::config::Channel;
use crate::store::{Filter, ReviewAction, Store};
use crate::supervisor::system_time;

const DAY: i64 = 86_400_000;
/// Incidents that are looked at.
const MAX_INCIDENTS: u32 = 5000;
/// Steps of the table, in hundredths.
const TABLE_STEP: usize = 5;

#[derive(Clone, Copy, Deserialize, IntoParams)]
pub struct Asked {
    /// Days to look back, at most 30; 7 unless given.
    days: Option<u16>,
    /// False alarms that are allowed in a week; 1 unless given.
    per_week: Option<f64>,
}

/// What a channel's alarms were, and what other thresholds would have raised.
#[derive(Serialize, ToSchema)]
pub struct Alarms {
    days: i64,
    /// Milliseconds in which a face was judged.
    analysed: i64,
    /// Incidents by the newest verdict.
    confirmed: usize,
    false_alarms: usize,
    unclear: usize,
    not_reviewed: usize,
    /// False alarms for each day of analysed time; `None` if nothing was analysed.
    false_alarms_per_day: Option<f64>,
    /// The channel's own; `None` if it is the model's.
    threshold: Option<f64>,
    allowed_per_week: f64,
    /// The lowest threshold with at most so many false alarms.
    proposed: Option<Outcome>,
    outcomes: Vec<Outcome>,
}

fn gather(store: &dyn Store, id: &str, settings: &Channel, asked: Asked, now: i64) -> crate::store::Result<Alarms> {
    let days = i64::from(asked.days.unwrap_or(7).clamp(1, 30));
    let allowed = asked.per_week.filter(|allowed| allowed.is_finite()).unwrap_or(1.0).clamp(0.01, 1000.0);
    let (from, to) = (now - days * DAY, now);
    let analysed = totals(&store.coverage(id, from, to)?, from, to)[Kind::Analysed as usize];
    let filter =
        Filter { channel: Some(id.into()), kind: Some("fake".into()), limit: MAX_INCIDENTS, ..Filter::default() };
    let (mut confirmed, mut false_alarms, mut unclear, mut not_reviewed) = (Vec::new(), 0, 0, 0);
    for incident in store.incidents(&filter)?.into_iter().filter(|incident| incident.opened >= from) {
        let reviews = store.reviews(&incident.id.to_string())?;
        let mut verdicts = reviews.into_iter().filter(|review| review.action == ReviewAction::Verdict);
        match verdicts.next_back().and_then(|verdict| verdict.value).as_deref() {
            Some("confirmed") => {
                // The scores that raised it came before it was opened.
                let end = incident.closed.unwrap_or(incident.last_active).max(incident.opened + 1000);
                confirmed.push((incident.opened - settings.keep_for.milliseconds(), end));
            }
            Some("false-alarm") => false_alarms += 1,
            Some(_) => unclear += 1,
            None => not_reviewed += 1,
        }
    }
    let scores = store.scores(id, from, to)?;
    let keep_for = settings.keep_for.milliseconds();
    let outcome = |threshold| threshold::outcome(&scores, &confirmed, analysed, keep_for, threshold);
    Ok(Alarms {
        days,
        analysed,
        confirmed: confirmed.len(),
        false_alarms,
        unclear,
        not_reviewed,
        false_alarms_per_day: (analysed > 0).then(|| false_alarms as f64 * DAY as f64 / analysed as f64),
        threshold: settings.fake_threshold,
        allowed_per_week: allowed,
        proposed: threshold::propose(&scores, &confirmed, analysed, keep_for, allowed / 7.0),
        outcomes: threshold::candidates().step_by(TABLE_STEP).map(outcome).collect(),
    })
}

async fn asked_for(app: &App, id: String, asked: Asked) -> Result<(Channel, Alarms), Failure> {
    let settings = app.supervisor.config.borrow().channels.get(&id).cloned();
    let settings = settings.ok_or_else(|| Failure::not_found("channel"))?;
    let known = settings.clone();
    let alarms = app.ask(move |store| gather(store, &id, &known, asked, system_time())).await?;
    Ok((settings, alarms))
}

/// How often a channel raised false alarms, and which threshold would raise fewer.
#[utoipa::path(get, path = "/api/v1/channels/{id}/alarms", params(("id" = String, Path,), Asked),
    responses((status = 200, body = Alarms), (status = 404)))]
pub async fn alarms(
    State(app): State<App>,
    _: Caller,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<impl IntoResponse, Failure> {
    asked_for(&app, id, asked).await.map(|(_, alarms)| Json(alarms))
}

pub async fn page(
    State(app): State<App>,
    Visitor(session): Visitor,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Markup, Failure> {
    let (settings, alarms) = asked_for(&app, id.clone(), asked).await?;
    let title = format!("Alarms of {}", settings.title);
    let facts = [
        ("Analysed", length(alarms.analysed)),
        ("Confirmed", alarms.confirmed.to_string()),
        ("False alarms", alarms.false_alarms.to_string()),
        ("Unclear", alarms.unclear.to_string()),
        ("Not reviewed", alarms.not_reviewed.to_string()),
        (
            "False alarms per day of analysed time",
            alarms.false_alarms_per_day.map_or("unknown".into(), |rate| format!("{rate:.2}")),
        ),
        ("Threshold", alarms.threshold.map_or("the model's own".into(), |threshold| format!("{threshold:.2}"))),
    ];
    let content = html! {
        h1 { (title) }
        p { a href=(app.path(&format!("/channels/{id}"))) { "Back to the channel" } }
        form.filter method="get" {
            label { "Days " select name="days" {
                @for days in [1, 7, 30] { option value=(days) selected[days == alarms.days] { (days) } }
            } }
            label { "Allowed false alarms " select name="per_week" {
                @for (value, words) in [(7.0, "one a day"), (1.0, "one a week"), (0.25, "one in four weeks")] {
                    option value=(value) selected[value == alarms.allowed_per_week] { (words) }
                }
            } }
            button { "Show" }
        }
        dl.facts { @for (name, value) in facts { dt { (name) } dd { (value) } } }
        h2 { "Proposal" }
        @if let Some(proposed) = &alarms.proposed {
            p {
                "From " code { "fake-threshold = " (format!("{:.2}", proposed.threshold)) } " in "
                code { "[channel." (id) "]" } " on, this time would have had " (proposed.false_alarms)
                " false alarms and missed " (proposed.missed) " of " (alarms.confirmed) " confirmed incidents."
            }
        } @else {
            p { "Too little was analysed to propose a threshold, or even the highest raises more than is allowed." }
        }
        h2 { "Other thresholds" }
        div.wide tabindex="0" { table {
            thead { tr { th { "Threshold" } th { "Alarms that nobody confirmed" } th { "Per day" } th { "Confirmed but missed" } } }
            tbody { @for outcome in &alarms.outcomes {
                tr {
                    td.number { (format!("{:.2}", outcome.threshold)) }
                    td.number { (outcome.false_alarms) }
                    td.number { (format!("{:.2}", outcome.per_day)) }
                    td.number { (outcome.missed) }
                }
            } }
        } }
        p.note { "An estimate from the highest score of each second. An alarm that nobody has confirmed counts as false: review first, then choose." }
    };
    Ok(pages::page(&app, &session, &title, content))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::incident::{Alert, Incidents, Rules};
    use crate::channel::ledger::Span;
    use crate::store::sqlite::Sqlite;
    use crate::store::{Record, Review};

    #[test]
    fn verdicts_and_recorded_scores_give_rates_and_a_proposal() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("monitor.toml");
        std::fs::write(&file, "[channel.studio]\nsource = \"rtsp://h/x\"\n").unwrap();
        let settings = crate::config::load(&file).unwrap().channels.remove("studio").unwrap();
        let store = Sqlite::open(&folder.path().join("monitor.db")).unwrap();
        let now = 1_800_000_000_000;
        let from = now - 7 * DAY;
        let span = Span { start: from, end: now, kind: Kind::Analysed, reason: None };
        store.record(&[Record::Coverage { channel: "studio".into(), span }]).unwrap();
        let alert =
            Alert { action: "raised".into(), kind: "sustained".into(), track_id: 1, score: Some(0.9), model: None };
        let rules = Rules { keep_for: 30_000, down_after: 1000 };
        // One confirmed at 0.9, two false ones at 0.7 and 0.8, one that nobody looked at.
        for (hour, score, verdict) in
            [(1, 0.9, Some("confirmed")), (2, 0.7, Some("false-alarm")), (3, 0.8, Some("false-alarm")), (4, 0.6, None)]
        {
            let at = from + hour * 3_600_000;
            let (mut incident, change) = Incidents::new("studio", rules, Vec::new()).alert(at, 1, &alert).remove(0);
            incident.closed = Some(at + 5000);
            let id = incident.id.to_string();
            let second =
                |offset: i64| Record::Score { channel: "studio".into(), second: at.div_euclid(1000) + offset, score };
            store.record(&(-3..3).map(second).collect::<Vec<_>>()).unwrap();
            store.record(&[Record::Incident { incident, change, at, sinks: Vec::new() }]).unwrap();
            if let Some(verdict) = verdict {
                let action = ReviewAction::Verdict;
                let review = Review { at, user: "anna".into(), action, value: Some(verdict.into()), note: None };
                store.review(&id, &review, &[]).unwrap();
            }
        }
        let asked = Asked { days: None, per_week: Some(1.0) };
        let alarms = gather(&store, "studio", &settings, asked, now).unwrap();
        assert_eq!((alarms.confirmed, alarms.false_alarms, alarms.unclear, alarms.not_reviewed), (1, 2, 0, 1));
        assert!((alarms.false_alarms_per_day.unwrap() - 2.0 / 7.0).abs() < 1e-9);
        let proposed = alarms.proposed.unwrap();
        assert_eq!((proposed.threshold, proposed.false_alarms, proposed.missed), (0.71, 1, 0));
        assert_eq!(alarms.outcomes[0].false_alarms, 3);
    }
}
