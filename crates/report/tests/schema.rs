//! The published JSON Schemas say what is written, and take what a later version may write.

use deepfake_report::alert::{Action, Alert, AlertSettings, AlertWatch};
use deepfake_report::{FrameReport, Reason, State, json, testing};
use serde_json::{Map, Value};

const REPORT: &str = include_str!("../schema/report.json");
const ALERT: &str = include_str!("../schema/alert.json");
const LINE: &str = include_str!("../schema/line.json");

/// What is wrong with `value`, by the part of JSON Schema that the published files use; another
/// keyword is a mistake in them.
fn faults(schema: &Value, value: &Value, root: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        let is_met = match keyword.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" | "default" | "examples" => true,
            "$ref" => {
                found.extend(faults(resolve(rule.as_str().unwrap(), root), value, root, at));
                true
            }
            "type" => match rule {
                Value::String(kind) => is_a(value, kind),
                Value::Array(kinds) => kinds.iter().any(|kind| is_a(value, kind.as_str().unwrap())),
                _ => panic!("{at}: type {rule}"),
            },
            "const" => value == rule,
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
            "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= rule.as_u64().unwrap()),
            "required" => rule.as_array().unwrap().iter().all(|field| value.get(field.as_str().unwrap()).is_some()),
            "anyOf" => rule.as_array().unwrap().iter().any(|choice| faults(choice, value, root, at).is_empty()),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(faults(rule, item, root, &format!("{at}/{index}")));
                }
                true
            }
            "properties" => {
                for (field, rule) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(field) {
                        found.extend(faults(rule, value, root, &format!("{at}/{field}")));
                    }
                }
                true
            }
            other => panic!("{at}: this test does not know {other:?}"),
        };
        if !is_met {
            found.push(format!("{at}: {value} is not {keyword} {rule}"));
        }
    }
    found
}

/// References into the same file, or to the report's file.
fn resolve<'a>(reference: &str, root: &'a Value) -> &'a Value {
    if reference == "report.json" {
        return Box::leak(Box::new(parse(REPORT)));
    }
    let path = reference.strip_prefix('#').unwrap_or_else(|| panic!("a reference to elsewhere: {reference}"));
    // Definitions of the report are looked up in its own file, from wherever it was reached.
    root.pointer(path).unwrap_or_else(|| {
        let report: &Value = Box::leak(Box::new(parse(REPORT)));
        report.pointer(path).unwrap_or_else(|| panic!("no {reference}"))
    })
}

fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        _ => panic!("type {kind}"),
    }
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("a schema is JSON")
}

#[track_caller]
fn assert_valid(schema: &str, value: &Value) {
    let schema = parse(schema);
    let faults = faults(&schema, value, &schema, "");
    assert!(faults.is_empty(), "{faults:#?}");
}

fn value(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

fn alerts() -> Vec<Alert> {
    let mut watch = AlertWatch::new(AlertSettings::default());
    let mut alerts = Vec::new();
    for step in 0..40u64 {
        let pts = step * 100_000_000;
        let face = testing::with(testing::face(1), |face| face.window_end = Some(pts));
        alerts.extend(watch.update(&FrameReport::new(pts, "m@1", "cpu", vec![face]).into(), 0.8));
    }
    alerts.extend(watch.clear());
    alerts
}

#[test]
fn what_is_written_is_valid() {
    for mut report in testing::reports() {
        assert_valid(REPORT, &value(&json::line(&report)));
        report.buffer_pts = Some(7);
        assert_valid(LINE, &value(&json::line(&report)));
    }
    assert_valid(LINE, &value(&json::line_not_analysed(Some(7))));
    assert_valid(LINE, &value(&json::line_not_analysed(None)));
    let alerts = alerts();
    assert_eq!(alerts.iter().map(|alert| alert.action).collect::<Vec<_>>(), [Action::Raised, Action::Cleared]);
    for alert in alerts {
        assert_valid(ALERT, &serde_json::to_value(alert).unwrap());
    }
}

#[test]
fn what_a_later_version_may_write_is_valid() {
    assert_valid(REPORT, &value(include_str!("data/future.json")));
}

#[test]
fn what_is_no_report_is_not_valid() {
    let schema = parse(REPORT);
    let good = value(&json::line(&testing::reports()[1]));
    let mut bad = Vec::new();
    for (at, value) in [
        ("/schema", Value::from(2)),
        ("/pts", Value::Null),
        ("/faces/0/state", Value::from(3)),
        ("/faces/0/score", Value::from(1.5)),
        ("/faces/1/kind/lips", Value::from(-1)),
        ("/faces/1/where", Value::from(0.5)),
    ] {
        let mut report = good.clone();
        *report.pointer_mut(at).unwrap() = value;
        bad.push(report);
    }
    let mut without = good.clone();
    without.as_object_mut().unwrap().remove("faces");
    bad.push(without);
    for report in bad {
        assert!(!faults(&schema, &report, &schema, "").is_empty(), "{report}");
    }
}

/// Every field and word of the types is in the files: they cannot fall behind.
#[test]
fn every_field_and_word_is_described() {
    let schema = parse(REPORT);
    let mut report = testing::reports().remove(1);
    report.buffer_pts = Some(7);
    let report = value(&json::line(&report));
    let described = |schema: &Value, value: &Value, names: &str| {
        let properties: &Map<String, Value> = schema["properties"].as_object().unwrap();
        let fields: Vec<_> = value.as_object().unwrap().keys().collect();
        assert_eq!(properties.keys().collect::<Vec<_>>(), fields, "{names}");
        assert!(properties.values().all(|it| it.get("description").is_some()), "{names}");
    };
    described(&schema, &report, "report");
    described(&schema["$defs"]["face"], &report["faces"][1], "face");
    described(&schema["$defs"]["kind"], &report["faces"][1]["kind"], "kind");
    described(&parse(ALERT), &serde_json::to_value(&alerts()[0]).unwrap(), "alert");
    let words = |name: &str| schema["$defs"][name]["anyOf"][0]["enum"].as_array().unwrap().clone();
    assert_eq!(words("state"), State::ALL.map(State::as_str));
    assert_eq!(words("reason"), Reason::ALL.map(Reason::as_str));
}
