//! Reading reports out of structures that anybody may have made.

use deepfake_report::testing::with;
use deepfake_report::{FaceReport, FrameReport, KindScores, Reason, SCHEMA, State, json, meta, structure};
use gst::prelude::*;
use proptest::prelude::*;

use crate::{any_damage, damaged, fuzz};

const FIELDS: [&str; 34] = [
    "schema",
    "pts",
    "model",
    "device",
    "faces",
    "running_time",
    "utc",
    "stream",
    "run",
    "element",
    "buffer_pts",
    "seen",
    "spike",
    "kind",
    "where",
    "swap",
    "track_id",
    "x",
    "y",
    "width",
    "height",
    "detection",
    "state",
    "reason",
    "score",
    "frame_score",
    "certainty",
    "window_fill",
    "window_size",
    "window_start",
    "window_end",
    "face",
    "Faces",
    "ключ",
];

/// A value that a structure's field may hold, in a form that can be printed when a case fails.
#[derive(Clone, Debug)]
enum Value {
    I32(i32),
    U32(u32),
    U64(u64),
    F64(f64),
    Bool(bool),
    Text(String),
    NullText,
    Fraction(i32, i32),
    Structure(Vec<(usize, Value)>),
    NullStructure,
    Array(Vec<Value>),
    List(Vec<Value>),
}

impl Value {
    fn to_send_value(&self) -> glib::SendValue {
        match self {
            Self::I32(value) => value.to_send_value(),
            Self::U32(value) => value.to_send_value(),
            Self::U64(value) => value.to_send_value(),
            Self::F64(value) => value.to_send_value(),
            Self::Bool(value) => value.to_send_value(),
            Self::Text(value) => value.to_send_value(),
            Self::NullText => None::<String>.to_send_value(),
            Self::Fraction(numerator, denominator) => gst::Fraction::new(*numerator, *denominator).to_send_value(),
            Self::Structure(fields) => make("face", fields).to_send_value(),
            Self::NullStructure => None::<gst::Structure>.to_send_value(),
            Self::Array(values) => gst::Array::new(alike(values)).to_send_value(),
            Self::List(values) => gst::List::new(alike(values)).to_send_value(),
        }
    }
}

/// Those of the first one's kind: GStreamer makes no mixed arrays, and looks at what is in arrays of arrays.
fn alike(values: &[Value]) -> impl Iterator<Item = glib::SendValue> {
    let most = if matches!(values.first(), Some(Value::Array(_) | Value::List(_))) { 1 } else { values.len() };
    let values: Vec<_> = values.iter().take(most).map(Value::to_send_value).collect();
    let first = values.first().map(|value| value.type_());
    values.into_iter().filter(move |value| Some(value.type_()) == first)
}

fn make(name: &str, fields: &[(usize, Value)]) -> gst::Structure {
    let mut structure = gst::Structure::new_empty(name);
    fill(&mut structure, fields);
    structure
}

fn fill(structure: &mut gst::StructureRef, fields: &[(usize, Value)]) {
    for (field, value) in fields {
        structure.set_value(FIELDS[*field], value.to_send_value());
    }
}

fn any_field() -> impl Strategy<Value = usize> {
    0..FIELDS.len()
}

fn any_value() -> impl Strategy<Value = Value> {
    let words: Vec<String> =
        State::ALL.map(State::as_str).into_iter().chain(Reason::ALL.map(Reason::as_str)).map(Into::into).collect();
    let leaf = prop_oneof![
        any::<i32>().prop_map(Value::I32),
        prop_oneof![Just(SCHEMA), any::<u32>()].prop_map(Value::U32),
        any::<u64>().prop_map(Value::U64),
        prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY)].prop_map(Value::F64),
        any::<bool>().prop_map(Value::Bool),
        prop_oneof![proptest::sample::select(words), "[^\0]{0,12}"].prop_map(Value::Text),
        Just(Value::NullText),
        (any::<i32>(), 1..i32::MAX).prop_map(|(numerator, denominator)| Value::Fraction(numerator, denominator)),
        Just(Value::NullStructure),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            proptest::collection::vec((any_field(), inner.clone()), 0..6).prop_map(Value::Structure),
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::vec(inner, 0..4).prop_map(Value::List),
        ]
    })
}

/// With few decimals: serde_json reads numbers of more than 15 digits back with their last bit off.
fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![0..=1_000_000i64, -1_000_000_000_000..=1_000_000_000_000i64]
        .prop_map(|millionths| millionths as f64 / 1e6)
}

fn any_face() -> impl Strategy<Value = FaceReport> {
    let numbers = (any_number(), any_number(), any_number(), any_number(), any_number(), any_number());
    let maybe = (proptest::option::of(any_number()), proptest::option::of(any_number()));
    let times = (proptest::option::of(any::<u64>()), proptest::option::of(any::<u64>()));
    let counts = (any::<u32>(), any::<u32>(), any::<u32>());
    let newer = (any::<bool>(), any::<bool>(), proptest::option::of(any_number()), proptest::option::of(any_number()));
    let words =
        (proptest::sample::select(&State::ALL[..]), proptest::option::of(proptest::sample::select(&Reason::ALL[..])));
    (numbers, maybe, times, counts, words, newer).prop_map(|(numbers, maybe, times, counts, words, newer)| {
        with(FaceReport::new(counts.0), |face| {
            face.x = numbers.0;
            face.y = numbers.1;
            face.width = numbers.2;
            face.height = numbers.3;
            face.detection = numbers.4;
            face.state = words.0;
            face.reason = words.1;
            face.score = maybe.0;
            face.frame_score = maybe.1;
            face.certainty = numbers.5;
            face.window_fill = counts.1;
            face.window_size = counts.2;
            face.window_start = times.0;
            face.window_end = times.1;
            (face.seen, face.spike) = (newer.0, newer.1);
            face.kind = newer.2.map(|swap| KindScores::new(swap, 0.5, 0.25));
            face.heat = newer.3.map(|heat| vec![vec![heat, 0.5], vec![]]);
        })
    })
}

fn any_report() -> impl Strategy<Value = FrameReport> {
    let names =
        ("[^\0]{0,20}", "[^\0]{0,20}", proptest::option::of("[^\0]{0,20}"), proptest::option::of("[^\0]{0,20}"));
    let times = (any::<u64>(), proptest::option::of(any::<u64>()));
    (times, names, proptest::collection::vec(any_face(), 0..5)).prop_map(|(times, names, faces)| {
        with(FrameReport::new(times.0, names.0, names.1, faces), |report| {
            report.running_time = times.1;
            report.stream = names.2;
            report.element = names.3;
        })
    })
}

#[test]
fn fuzz_reports_survive_structure_and_json() {
    gst::init().unwrap();
    fuzz::check(2000, any_report(), |report| {
        let mut written = gst::Structure::new_empty("deepfake-report");
        structure::write(&report, &mut written);
        prop_assert_eq!(structure::read(&written).unwrap(), report.clone());
        let line = json::line(&report);
        prop_assert!(!line.contains('\n'));
        prop_assert_eq!(serde_json::from_str::<FrameReport>(&line).unwrap(), report);
        Ok(())
    });
}

#[test]
fn fuzz_structures() {
    gst::init().unwrap();
    fuzz::check(2000, proptest::collection::vec((any_field(), any_value()), 0..24), |fields| {
        if let Err(error) = structure::read(&make("anything", &fields)) {
            prop_assert!(!error.to_string().is_empty());
        }
        Ok(())
    });
}

/// A line that is read in spite of damage is a report as good as any: it can be written, and read again.
#[test]
fn fuzz_lines() {
    const WORDS: [&str; 12] =
        ["null", "1e999", "-1", "NaN", "\"\"", "{}", "[", "}", ",", "\\u0000", "\"schema\":2,", "18446744073709551616"];
    fuzz::check(2000, (any_report(), any_damage(&WORDS)), |(report, damage)| {
        match serde_json::from_slice::<FrameReport>(&damaged(json::line(&report).as_bytes(), &damage)) {
            Ok(read) => {
                let line = json::line(&read);
                prop_assert_eq!(serde_json::from_str::<FrameReport>(&line).unwrap(), read);
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
        Ok(())
    });
}

/// A good report in which a few fields, of the frame or of a face, are gone or hold something else.
#[test]
fn fuzz_damaged_reports() {
    gst::init().unwrap();
    meta::register();
    let any_damage = || proptest::collection::vec((any_field(), proptest::option::of(any_value())), 0..3);
    fuzz::check(2000, (any_report(), any_damage(), any_damage()), |(report, frame_damage, face_damage)| {
        let damage = |structure: &mut gst::StructureRef, damage: &[(usize, Option<Value>)]| {
            for (field, value) in damage {
                match value {
                    Some(value) => fill(structure, &[(*field, value.clone())]),
                    None => structure.remove_field(FIELDS[*field]),
                }
            }
        };
        let mut buffer = gst::Buffer::new();
        let buffer = buffer.get_mut().unwrap();
        meta::attach(buffer, &report, 640, 480).unwrap();
        {
            let mut custom = gst::meta::CustomMeta::from_mut_buffer(buffer, meta::NAME).unwrap();
            let fields = custom.mut_structure();
            let mut faces: Vec<_> = report.faces.iter().map(structure::face_structure).collect();
            if let Some(face) = faces.first_mut() {
                damage(face, &face_damage);
            }
            fields.set("faces", gst::Array::new(faces));
            damage(fields, &frame_damage);
        }
        let custom = gst::meta::CustomMeta::from_buffer(buffer, meta::NAME).unwrap();
        let read = structure::read(custom.structure());
        prop_assert_eq!(meta::read(buffer).is_some(), read.is_ok());
        if let Err(error) = read {
            prop_assert!(!error.to_string().is_empty());
        }
        Ok(())
    });
}
