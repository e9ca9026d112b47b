//! Writes the documentation that can be read off the code: `docs/elements.md`, and the parts of
//! other pages that stand between `<!-- generated: NAME -->` and `<!-- end -->`.
//!
//!     cargo xtask document            # write
//!     cargo xtask document --check    # fail if anything would change
//!
//! Elements and properties come from the registered elements themselves, as `gst-inspect-1.0` sees
//! them, the report's fields from the doc comments in `crates/report/src/lib.rs`, models and their
//! figures from `models/*/model.toml`.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, bail};
use deepfake_engine::inference::ModelPackage;
use gst::glib::{self, prelude::*};
use gst::prelude::*;

pub fn run(check: bool) -> anyhow::Result<()> {
    gst::init()?;
    gstdeepfake::plugin_register_static()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");

    let factories = factories();
    let parts = [
        ("README.md", "elements", elements_table(&factories)),
        ("docs/embedding.md", "report", report_tables()),
        ("docs/models.md", "models", models_table(&root.join("models"))),
    ];
    let mut files = vec![("docs/elements.md", elements_page(&factories))];
    for (name, part, content) in parts {
        let page = std::fs::read_to_string(root.join(name)).context(name)?;
        files.push((name, fill(&page, name, part, &content)));
    }

    let mut stale = vec![];
    for (name, content) in files {
        let path = root.join(name);
        if std::fs::read_to_string(&path).is_ok_and(|old| old == content) {
            continue;
        }
        if check {
            stale.push(name);
        } else {
            std::fs::write(&path, content).with_context(|| format!("{name} cannot be written"))?;
            println!("wrote {name}");
        }
    }
    if !stale.is_empty() {
        bail!("{} does not say what the code says; run: make docs", stale.join(", "));
    }
    Ok(())
}

/// Replaces what stands between the markers of `part` in the page `name`.
fn fill(page: &str, name: &str, part: &str, content: &str) -> String {
    let start = format!("<!-- generated: {part} -->\n");
    let (before, rest) = page.split_once(&start).unwrap_or_else(|| panic!("{name} has no {start:?}"));
    let (_, after) = rest.split_once("<!-- end -->").expect("a generated part ends with <!-- end -->");
    format!("{before}{start}{content}<!-- end -->{after}")
}

/// The plugin's elements by name.
fn factories() -> Vec<gst::ElementFactory> {
    let mut factories: Vec<_> = gst::Registry::get()
        .features_by_plugin("deepfake")
        .into_iter()
        .filter_map(|feature| feature.downcast::<gst::ElementFactory>().ok())
        .collect();
    factories.sort_by_key(|factory| factory.name());
    factories
}

fn elements_table(factories: &[gst::ElementFactory]) -> String {
    let mut out = String::from("| element | what it does |\n|---|---|\n");
    for factory in factories {
        let name = factory.name();
        let description = factory.metadata("description").unwrap_or_default();
        writeln!(out, "| [`{name}`](docs/elements.md#{name}) | {} |", cell(description)).unwrap();
    }
    out
}

fn elements_page(factories: &[gst::ElementFactory]) -> String {
    let mut out = String::from(
        "# Elements\n\n\
         Written from the code by `make docs`; `make test` checks that it is current. \
         `gst-inspect-1.0 NAME` shows the same.\n\n\
         Properties marked *before start* can be set in the states NULL and READY only, all others at any time.\n",
    );
    for factory in factories {
        let metadata = |key| factory.metadata(key).unwrap_or_default();
        writeln!(out, "\n## {}\n\n{}.\n", factory.name(), metadata("long-name")).unwrap();
        writeln!(out, "{}.\n", metadata("description").trim_end_matches('.')).unwrap();
        writeln!(out, "Class `{}`, rank {}.\n", metadata("klass"), rank(factory.rank())).unwrap();

        writeln!(out, "### Pads\n").unwrap();
        let mut templates: Vec<_> = factory.static_pad_templates().into_iter().collect();
        templates.sort_by_key(|template| template.name_template());
        for template in templates {
            let direction = template.direction().to_value();
            let (_, direction) = glib::EnumValue::from_value(&direction).expect("an enum");
            let caps = template.caps();
            if caps.is_any() {
                writeln!(out, "- `{}` ({}): anything", template.name_template(), direction.nick()).unwrap();
                continue;
            }
            writeln!(out, "- `{}` ({})\n", template.name_template(), direction.nick()).unwrap();
            for (structure, features) in caps.iter_with_features() {
                let features =
                    if features.is_any() || features.is_empty() { String::new() } else { format!(", with {features}") };
                writeln!(out, "  - {}", media(structure, &features)).unwrap();
            }
        }

        write!(out, "\n### Properties\n\n{}", properties_table(factory)).unwrap();
        let enums = enums_tables(factory);
        if !enums.is_empty() {
            out.push_str(&enums);
        }
    }
    // No empty line at the end.
    format!("{}\n", out.trim_end())
}

/// One line of a pad's caps: `video/x-raw`: format = I420, …; width = 16 to 7680.
fn media(structure: &gst::StructureRef, features: &str) -> String {
    let fields: Vec<String> = structure
        .iter()
        .map(|(field, value)| {
            let text = value.serialize().map(|text| text.to_string()).unwrap_or_default();
            format!("{field} `{}`", text.replace("(string)", "").replace("(int)", "").replace("(fraction)", ""))
        })
        .collect();
    let fields = if fields.is_empty() { String::new() } else { format!(": {}", fields.join("; ")) };
    format!("`{}`{features}{fields}", structure.name())
}

fn rank(rank: gst::Rank) -> String {
    if rank == gst::Rank::NONE { "none (never chosen by itself)".into() } else { format!("{rank:?}") }
}

/// The element's own properties, without those of its base classes.
fn own_properties(factory: &gst::ElementFactory) -> Vec<(glib::ParamSpec, gst::Element)> {
    let element = factory.create().build().expect("an element of our own can be made");
    let mut properties: Vec<_> = element.list_properties().iter().cloned().collect();
    properties.retain(|property| property.owner_type() == element.type_());
    properties.sort_by(|a, b| a.name().cmp(b.name()));
    properties.into_iter().map(|property| (property, element.clone())).collect()
}

fn properties_table(factory: &gst::ElementFactory) -> String {
    let properties = own_properties(factory);
    if properties.is_empty() {
        return "None.\n".into();
    }
    let mut out = String::from("| property | type and range | default | what it does |\n|---|---|---|---|\n");
    for (property, _) in properties {
        let blurb = property.blurb().unwrap_or_default();
        writeln!(
            out,
            "| `{}` | {} | {} | {}.{} |",
            property.name(),
            cell(&type_and_range(&property)),
            cell(&default(&property)),
            cell(blurb.trim_end_matches('.')),
            restrictions(&property),
        )
        .unwrap();
    }
    out
}

/// Every enumeration that a property of the element takes, with its values explained.
fn enums_tables(factory: &gst::ElementFactory) -> String {
    let mut out = String::new();
    for (property, _) in own_properties(factory) {
        let Some(class) = glib::EnumClass::with_type(property.value_type()) else { continue };
        // GStreamer's own are explained there.
        if !class.type_().name().starts_with("GstDeepfake") {
            continue;
        }
        writeln!(out, "\nValues of `{}`:\n", property.name()).unwrap();
        for value in class.values() {
            writeln!(out, "- `{}`: {}", value.nick(), value.name()).unwrap();
        }
    }
    out
}

fn type_and_range(property: &glib::ParamSpec) -> String {
    fn range<T: PartialEq + std::fmt::Display>(name: &str, from: T, to: T, largest: T) -> String {
        if to == largest { format!("{name}, from {from}") } else { format!("{name}, {from} to {to}") }
    }
    if let Some(spec) = property.downcast_ref::<glib::ParamSpecUInt>() {
        return range("integer", spec.minimum(), spec.maximum(), u32::MAX);
    }
    if let Some(spec) = property.downcast_ref::<glib::ParamSpecInt>() {
        return range("integer", spec.minimum(), spec.maximum(), i32::MAX);
    }
    if let Some(spec) = property.downcast_ref::<glib::ParamSpecUInt64>() {
        return range("integer", spec.minimum(), spec.maximum(), u64::MAX);
    }
    if let Some(spec) = property.downcast_ref::<glib::ParamSpecInt64>() {
        return range("integer", spec.minimum(), spec.maximum(), i64::MAX);
    }
    if let Some(spec) = property.downcast_ref::<glib::ParamSpecFloat>() {
        return range("number", spec.minimum(), spec.maximum(), f32::MAX);
    }
    if let Some(spec) = property.downcast_ref::<glib::ParamSpecDouble>() {
        return range("number", spec.minimum(), spec.maximum(), f64::MAX);
    }
    if let Some(class) = glib::EnumClass::with_type(property.value_type()) {
        let values: Vec<_> = class.values().iter().map(|value| format!("`{}`", value.nick())).collect();
        return values.join(", ");
    }
    match property.value_type() {
        glib::Type::STRING => "text".into(),
        glib::Type::BOOL => "boolean".into(),
        other if other == gst::Structure::static_type() => "structure".into(),
        other => format!("`{}`", other.name()),
    }
}

fn default(property: &glib::ParamSpec) -> String {
    if !property.flags().contains(glib::ParamFlags::WRITABLE) {
        return "read only".into();
    }
    let value = property.default_value();
    if let Some((_, value)) = glib::EnumValue::from_value(value) {
        return format!("`{}`", value.nick());
    }
    if let Ok(text) = value.get::<Option<String>>() {
        return text.filter(|text| !text.is_empty()).map_or_else(|| "none".into(), |text| format!("`{text}`"));
    }
    if let Ok(flag) = value.get::<bool>() {
        return format!("`{flag}`");
    }
    if let Ok(number) = value.get::<f64>() {
        return format!("`{number}`");
    }
    if let Ok(number) = value.get::<f32>() {
        return format!("`{number}`");
    }
    let text = value.transform::<String>().ok().and_then(|text| text.get::<Option<String>>().ok().flatten());
    text.map_or_else(|| "none".into(), |text| format!("`{text}`"))
}

/// When the property cannot be set, if that is not "at any time".
fn restrictions(property: &glib::ParamSpec) -> &'static str {
    let flags = property.flags();
    if !flags.contains(glib::ParamFlags::WRITABLE) || flags.contains(gst::PARAM_FLAG_MUTABLE_PLAYING) {
        ""
    } else if flags.contains(gst::PARAM_FLAG_MUTABLE_PAUSED) {
        " *Not while playing.*"
    } else if flags.contains(gst::PARAM_FLAG_MUTABLE_READY) {
        " *Before start.*"
    } else {
        ""
    }
}

/// Fields of the frame's and of the face's report, from the doc comments of the two structures.
fn report_tables() -> String {
    let source = include_str!("../../report/src/lib.rs");
    format!(
        "Of a frame:\n\n{}\nOf each face in `faces`:\n\n{}",
        fields_table(source, "FrameReport"),
        fields_table(source, "FaceReport"),
    )
}

fn fields_table(source: &str, structure: &str) -> String {
    let (_, body) = source.split_once(&format!("pub struct {structure} {{\n")).expect("the report's structure");
    let (body, _) = body.split_once("\n}").expect("its end");
    let mut out = String::from("| field | GType | JSON | meaning |\n|---|---|---|---|\n");
    let mut comment = String::new();
    let mut renamed = None;
    for line in body.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            comment.push_str(text);
        } else if let Some((_, rest)) = line.split_once("rename = \"") {
            renamed = rest.split('"').next();
        } else if let Some((name, kind)) =
            line.strip_prefix("pub ").and_then(|field| field.trim_end_matches(',').split_once(": "))
        {
            let comment = std::mem::take(&mut comment);
            let name = renamed.take().unwrap_or(name);
            assert!(!comment.is_empty(), "{structure}::{name} has no comment in crates/report/src/lib.rs");
            let meaning =
                comment.trim().replace("`None`", "`null`").replace("[`SCHEMA`]", &deepfake_report::SCHEMA.to_string());
            writeln!(out, "| `{name}` | {} | {} | {} |", g_type(kind), json_type(kind), cell(&meaning)).unwrap();
        }
    }
    out
}

/// Of the field in a `GstStructure`; a field that is `None` is left out of it.
fn g_type(kind: &str) -> String {
    if let Some(inner) = kind.strip_prefix("Option<").and_then(|kind| kind.strip_suffix('>')) {
        return format!("{} or absent", g_type(inner));
    }
    match kind {
        "bool" => "`gboolean`",
        "u32" => "`guint`",
        "u64" => "`guint64`",
        "f32" | "f64" => "`gdouble`",
        "String" | "State" | "Reason" => "`gchararray`",
        "KindScores" => "`GstStructure` of `gdouble`",
        "Vec<Vec<f64>>" => "`GstValueArray` of `GstValueArray` of `gdouble`",
        other if other.starts_with("Vec<") => "`GstValueArray` of `GstStructure`",
        other => panic!("no GType for the type {other}"),
    }
    .into()
}

fn json_type(kind: &str) -> String {
    if let Some(inner) = kind.strip_prefix("Option<").and_then(|kind| kind.strip_suffix('>')) {
        return format!("{} or null", json_type(inner));
    }
    match kind {
        "bool" => "boolean",
        "u32" | "u64" => "integer",
        "f32" | "f64" => "number",
        "String" | "State" | "Reason" => "text",
        "KindScores" => "object of numbers",
        "Vec<Vec<f64>>" => "list of lists of numbers",
        other if other.starts_with("Vec<") => "list",
        other => panic!("no JSON name for the type {other}"),
    }
    .into()
}

/// The model packages with the figures that each carries.
fn models_table(folder: &Path) -> String {
    // Packages that each machine makes for itself are not part of the project's page.
    let ignored = std::fs::read_to_string(folder.join("../.gitignore")).expect(".gitignore");
    let is_ours = |path: &Path| {
        let line = format!("/models/{}", path.file_name().expect("a folder has a name").to_string_lossy());
        ignored.lines().all(|ignored| ignored.trim_end_matches('/') != line)
    };
    let mut packages: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("an entry of models/").path())
        .filter(|path| path.join("model.toml").is_file() && is_ours(path))
        .map(|path| ModelPackage::load(&path).unwrap_or_else(|error| panic!("{error}")))
        .collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));

    let mut out = String::from(
        "| model | crops | window | AUC [95 % interval] | real clips called fake | fakes found | measured on |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for package in packages {
        let metric = |name: &str| package.metrics.get(name).and_then(toml::Value::as_float);
        let percent = |name| metric(name).map_or_else(|| "-".into(), |share| format!("{:.0} %", share * 100.0));
        let auc = match (metric("auc"), metric("auc_low"), metric("auc_high")) {
            (Some(auc), Some(low), Some(high)) => format!("{auc:.2} [{low:.2}, {high:.2}]"),
            _ => "-".into(),
        };
        let (name, input, window) = (&package.name, &package.input, &package.window);
        writeln!(
            out,
            "| [`{name}`](../models/{name}) {} | {}×{} | {} crops, {:.1} s | {auc} | {} | {} | {} |",
            package.version,
            input.width,
            input.height,
            window.frames,
            window.frames as f64 / window.rate_hz,
            percent("fpr_at_fake_threshold"),
            percent("tpr_at_fake_threshold"),
            cell(package.metrics.get("on").and_then(toml::Value::as_str).unwrap_or("-")),
        )
        .unwrap();
    }
    out
}

/// Text for a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
