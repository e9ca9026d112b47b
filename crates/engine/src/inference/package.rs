//! A model package: a folder with `model.toml` and ONNX files. It holds everything between a crop and a calibrated
//! score, so that a new model is a new folder and no new code.
//!
//! # The format of `model.toml`
//!
//! Unknown keys are refused. "–" in the last column means that the key must be there.
//!
//! | table | key | meaning | if left out |
//! |---|---|---|---|
//! | `[model]` | `name`, `version` | shown as `name@version`; no `@` or white space in them | – |
//! | | `kind` | `"sequence"`: a logit for a window of crops; `"frame"`: a logit for each crop, the window's logit is their mean | – |
//! | | `licence`, `description` | text | `""` |
//! | `[input]` | `width`, `height` | size of a crop in pixels, 16..1024 | – |
//! | | `color` | order of the channels: `"rgb"` or `"bgr"` | `"rgb"` |
//! | | `range` | `[low, high]`: pixel value 0 becomes `low`, 255 becomes `high` | `[0.0, 1.0]` |
//! | | `mean`, `std` | per channel, in the model's order and in units of `range`: the graph sees `(x − mean) / std` | `[0, 0, 0]`, `[1, 1, 1]` |
//! | | `margin` | with `alignment = "box"`: side of the crop's square as a multiple of the face box's longer side, 1..4; else left out | – |
//! | | `feature` | what the graph makes of the colours before it judges them (`"rgb"`, `"laplacian"`, `"noise-residual"` …): lower-case letters, digits and `-`. Only told: a crop is always handed over as colours, the feature is part of the graph | `"rgb"` |
//! | | `alignment` | how the face lies in the crop. `"box"`: upright, around the middle of its box; `"five-point"`: turned and scaled so that eyes, nose and mouth come nearest to the places they have in dlib's face chips, scaled to `width` × `height` ([how](crate::analysis::alignment)); needs `face-source=detect` | `"box"` |
//! | `[window]` | `frames` | crops in a full window, 1..1000 | – |
//! | | `rate_hz` | crops a second, 0.1..120; the window counts time, not frames | – |
//! | | `least_frames` | crops needed for an early score, 1..`frames`: less than `frames` counts as the time that so many crops take at `rate_hz`, in which a slower feed has fewer of them, but at least 4 | `frames` |
//! | `[encoder]` | `file`, `sha256` | ONNX file in the folder, and its checksum in hexadecimal | – |
//! | | `input` | name of the input, float32 `[N, 3, height, width]`, N free | – |
//! | | `output` | `sequence`: features `[N, feature_length]`; `frame`: class scores `[N]`, `[N, 1]` or `[N, 2]` | – |
//! | | `feature_length` | numbers in one crop's feature; only for `sequence`, and needed there | – |
//! | | `frame_output` | `sequence`: a further output with class scores for each crop | none |
//! | | `where_output` | `sequence`: a further output, `[N, g, g]` of 0..1: how likely each part of the crop was changed; rows from the top, columns from the left | none |
//! | `[head]` | `file`, `sha256` | as above | – |
//! | | `input` | float32 `[N, T, feature_length]`, N free or 1, T free or `frames` | – |
//! | | `output` | class scores `[N]`, `[N, 1]` or `[N, 2]` | – |
//! | | `kinds_output` | a further output, `[N, K]` of 0..1: how likely each kind of manipulation is, should the face be fake | none |
//! | | `kinds` | with `kinds_output`: the K kinds' names, in its order. Known are `"swap"`, `"lips"` and `"generated"`; others are reported as they are written: lower-case letters, digits and `-` | – |
//! | `[encoder.on.DEVICE]`, `[head.on.DEVICE]`, `[whole.on.DEVICE]` | `file`, `sha256` | what stands in the place of the graph's file on this device (`cpu`, `cuda`, `tensorrt`, `openvino`), such as the same weights in 16 or 8 bits: the same inputs and outputs, float32 as well | none |
//! | `[whole]` | `file`, `sha256`, `input`, `output` | in the place of encoder *and* head: one graph over `[N, T, 3, height, width]`, N free or 1, T free or `frames`. All crops are computed again for each score, so it is `frames` times slower | – |
//! | `[output]` | `fake_index` | which of two class scores is the fake class, 0 or 1; 0 if there is only one | – |
//! | | `softmax` | whether class scores are probabilities (softmax or sigmoid in the graph) rather than logits | `false` |
//! | `[calibration]` | `slope`, `bias` | P(fake) = sigmoid(`slope` × logit + `bias`), `slope` > 0; logit is fake minus real | `1.0`, `0.0` |
//! | | `fake_threshold` | P(fake) from which a face is called fake, 0..1 | `0.7` |
//! | | `authentic_threshold` | P(fake) up to which a face is called authentic, 0..`fake_threshold`; "uncertain" lies between | `0.3` |
//! | | `hysteresis` | how far P(fake) must come back over a threshold to leave a state, 0..0.5 | `0.05` |
//! | | `fitted_on` | what slope, bias and thresholds were fitted on | `""` |
//! | `[metrics]` | any | what was measured, on what, when; not read by the plugin | empty |
//!
//! A `sequence` model has `[encoder]` and `[head]`, or `[whole]`. A `frame` model has `[encoder]` only.
//! Normalisation may be in the graph instead: then `range = [0.0, 255.0]` hands over the pixel values as they are.
//!
//! # Example
//!
//! A `sequence` model whose encoder also scores each crop:
//!
//! ```toml
#![doc = include_str!("example-model.toml")]
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::device::Device;
use super::error::{InferenceError, Searched};
use super::graph::{GraphFile, read_limited};
use super::places;
use crate::analysis::cropper::{Alignment, CropSpec};
use crate::analysis::sampler::ChannelOrder;

/// More kinds of manipulation than this are a mistake.
const MAX_KINDS: usize = 16;

/// A `model.toml` larger than this is none.
const MAX_TOML_BYTES: u64 = 1 << 20;

/// A model package, read and checked by itself; [`Model::load`](super::Model::load) checks it against its graphs.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelPackage {
    /// The folder.
    pub dir: PathBuf,
    pub name: String,
    pub version: String,
    pub kind: Kind,
    pub licence: String,
    pub description: String,
    pub input: Input,
    pub window: Window,
    pub graphs: Graphs,
    pub output: Output,
    pub calibration: Calibration,
    /// What was measured, on what, when.
    pub metrics: toml::Table,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One logit for a window of crops.
    Sequence,
    /// One logit for each crop; a window's logit is their mean.
    Frame,
}

/// What the model wants to see.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    #[serde(default)]
    pub color: ChannelOrder,
    /// What the pixel values 0 and 255 become.
    #[serde(default = "unit_range")]
    pub range: [f32; 2],
    /// Per channel, in the model's order, in units of `range`.
    #[serde(default)]
    pub mean: [f32; 3],
    /// As `mean`.
    #[serde(default = "no_scale")]
    pub std: [f32; 3],
    /// Side of the crop's square as a multiple of the face box's longer side; only with [`Alignment::Box`].
    pub margin: Option<f32>,
    /// What the graph makes of the colours before it judges them; the plugin itself does nothing with it.
    #[serde(default = "rgb")]
    pub feature: String,
    #[serde(default)]
    pub alignment: Alignment,
}

/// The crops that make one score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Crops in a full window.
    pub frames: usize,
    /// Crops a second.
    pub rate_hz: f64,
    /// Crops needed for an early score.
    pub least_frames: usize,
}

/// The package's graphs.
#[derive(Clone, Debug, PartialEq)]
// One of a package: boxes would save nothing.
#[allow(clippy::large_enum_variant)]
pub enum Graphs {
    /// Crops to features, features of a window to a logit.
    Split { encoder: Encoder, head: Graph, kinds: Option<Kinds> },
    /// Crops of a window to a logit.
    Whole(Graph),
    /// Each crop to a logit.
    Frame(Graph),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Encoder {
    pub graph: Graph,
    /// Numbers in one crop's feature.
    pub feature_length: usize,
    /// Output with class scores for each crop.
    pub frame_output: Option<String>,
    /// Output that says of each part of the crop how likely it was changed.
    pub where_output: Option<String>,
}

/// How likely each kind of manipulation is, as a further output of the head says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kinds {
    pub output: String,
    /// In the output's order.
    pub names: Vec<String>,
}

/// One graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    pub file: OnnxFile,
    /// What stands in its place on these devices.
    pub on: BTreeMap<Device, OnnxFile>,
    /// Name of its input.
    pub input: String,
    /// Name of its (first) output.
    pub output: String,
}

/// One ONNX file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnnxFile {
    pub path: PathBuf,
    /// Lower-case hexadecimal.
    pub sha256: String,
}

/// How class scores are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Index of the fake class: 0 or 1.
    pub fake_index: usize,
    /// Whether they are probabilities rather than logits.
    #[serde(default)]
    pub softmax: bool,
}

/// From a logit to a probability and a verdict.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Calibration {
    pub slope: f32,
    pub bias: f32,
    /// P(fake) from which a face is called fake.
    pub fake_threshold: f32,
    /// P(fake) up to which a face is called authentic.
    pub authentic_threshold: f32,
    /// How far P(fake) must come back over a threshold to leave a state.
    pub hysteresis: f32,
    /// What all these were fitted on.
    pub fitted_on: String,
}

impl Default for Calibration {
    fn default() -> Self {
        Self {
            slope: 1.0,
            bias: 0.0,
            fake_threshold: 0.7,
            authentic_threshold: 0.3,
            hysteresis: 0.05,
            fitted_on: String::new(),
        }
    }
}

impl Calibration {
    /// P(fake), 0..1, of a fake-minus-real logit.
    pub fn probability(&self, logit: f32) -> f32 {
        1.0 / (1.0 + (-(self.slope * logit + self.bias)).exp())
    }
}

impl Input {
    /// The crops that the model takes.
    pub fn crop_spec(&self) -> CropSpec {
        CropSpec {
            width: self.width as u32,
            height: self.height as u32,
            alignment: self.alignment,
            margin: self.margin.unwrap_or(1.0),
            order: self.color,
        }
    }
}

fn unit_range() -> [f32; 2] {
    [0.0, 1.0]
}

fn no_scale() -> [f32; 3] {
    [1.0; 3]
}

fn rgb() -> String {
    "rgb".into()
}

/// `model.toml` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelToml {
    model: ModelTable,
    input: Input,
    window: WindowTable,
    encoder: Option<EncoderTable>,
    head: Option<HeadTable>,
    whole: Option<GraphTable>,
    output: Output,
    #[serde(default)]
    calibration: Calibration,
    #[serde(default)]
    metrics: toml::Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelTable {
    name: String,
    version: String,
    kind: Kind,
    #[serde(default)]
    licence: String,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowTable {
    frames: usize,
    rate_hz: f64,
    least_frames: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EncoderTable {
    file: String,
    sha256: String,
    #[serde(default)]
    on: BTreeMap<Device, FileTable>,
    input: String,
    output: String,
    feature_length: Option<usize>,
    frame_output: Option<String>,
    where_output: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadTable {
    file: String,
    sha256: String,
    #[serde(default)]
    on: BTreeMap<Device, FileTable>,
    input: String,
    output: String,
    kinds_output: Option<String>,
    kinds: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GraphTable {
    file: String,
    sha256: String,
    #[serde(default)]
    on: BTreeMap<Device, FileTable>,
    input: String,
    output: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileTable {
    file: String,
    sha256: String,
}

impl ModelPackage {
    /// Loads the installed model of this name, or the package in the folder of this path.
    ///
    /// # Errors
    /// [`InferenceError::NotInstalled`] with every place searched, or as [`ModelPackage::load`].
    pub fn find(name_or_dir: &str) -> Result<Self, InferenceError> {
        let dir = Path::new(name_or_dir);
        if !places::is_plain_name(name_or_dir) {
            return Self::load(dir);
        }
        match places::find_model(name_or_dir) {
            Ok(dir) => Self::load(&dir),
            Err(_) if dir.is_dir() => Self::load(dir),
            Err(InferenceError::NotInstalled { what, name, mut searched }) => {
                let path = std::env::current_dir().map_or_else(|_| dir.into(), |here| here.join(dir));
                searched.push(Searched { path, cause: "does not exist".into() });
                Err(InferenceError::NotInstalled { what, name, searched })
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the package in `dir` and checks everything that can be checked without ONNX Runtime: the keys, their
    /// values, and the files' checksums.
    ///
    /// # Errors
    /// Names the file, the key, the cause and how to fix it.
    pub fn load(dir: &Path) -> Result<Self, InferenceError> {
        let path = dir.join("model.toml");
        if !path.is_file() {
            let (cause, fix) = if dir.is_dir() {
                ("it does not exist", "Give the folder of a model package, which holds a model.toml and ONNX files")
            } else {
                ("its folder does not exist", "Give the name of an installed model or an existing folder")
            };
            return Err(InferenceError::File { path, cause: cause.into(), fix });
        }
        let text = String::from_utf8(read_limited(&path, MAX_TOML_BYTES)?)
            .map_err(|_| InferenceError::Toml { path: path.clone(), cause: "it is not UTF-8 text".into() })?;
        let package = Self::parse(&path, &text)?;
        for graph in package.graphs.all() {
            graph.read()?;
        }
        Ok(package)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, InferenceError> {
        let toml: ModelToml = toml::from_str(text)
            .map_err(|error| InferenceError::Toml { path: path.into(), cause: error.to_string().trim_end().into() })?;
        let check = Check { path };
        let ModelTable { name, version, kind, licence, description } = toml.model;
        check.name("model.name", &name)?;
        check.name("model.version", &version)?;
        check.input(&toml.input)?;
        let window = check.window(&toml.window)?;
        let graphs = check.graphs(kind, toml.encoder, toml.head, toml.whole)?;
        check.range("output.fake_index", toml.output.fake_index, 0, 1)?;
        check.calibration(&toml.calibration)?;
        Ok(Self {
            dir: path.parent().unwrap_or(Path::new("")).into(),
            name,
            version,
            kind,
            licence,
            description,
            input: toml.input,
            window,
            graphs,
            output: toml.output,
            calibration: toml.calibration,
            metrics: toml.metrics,
        })
    }

    /// As it is on this device: its graphs' files are those that run there.
    pub(super) fn on(mut self, device: Device) -> Self {
        for graph in self.graphs.all_mut() {
            if let Some(file) = graph.on.get(&device) {
                graph.file = file.clone();
            }
        }
        self
    }

    /// Names of the kinds of manipulation that the model tells apart; none where it does not.
    pub fn kinds(&self) -> &[String] {
        match &self.graphs {
            Graphs::Split { kinds: Some(kinds), .. } => &kinds.names,
            _ => &[],
        }
    }

    /// `name@version`, as reports carry it.
    pub fn full_name(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// An error about `key` of this package's `model.toml`.
    pub(super) fn fault(&self, key: &str, cause: impl Into<String>, fix: impl Into<String>) -> InferenceError {
        InferenceError::Package {
            path: self.dir.join("model.toml"),
            key: key.into(),
            cause: cause.into(),
            fix: fix.into(),
        }
    }
}

impl Graphs {
    /// All files, in the order in which the worker knows them.
    pub fn all(&self) -> Vec<&Graph> {
        match self {
            Self::Split { encoder, head, .. } => vec![&encoder.graph, head],
            Self::Whole(graph) | Self::Frame(graph) => vec![graph],
        }
    }

    fn all_mut(&mut self) -> Vec<&mut Graph> {
        match self {
            Self::Split { encoder, head, .. } => vec![&mut encoder.graph, head],
            Self::Whole(graph) | Self::Frame(graph) => vec![graph],
        }
    }
}

impl Graph {
    /// Reads the files and compares their checksums.
    ///
    /// # Errors
    /// [`InferenceError::File`], [`InferenceError::Sha256`].
    pub fn read(&self) -> Result<GraphFile, InferenceError> {
        let mut file = self.file.read()?;
        file.on = self.on.iter().map(|(device, file)| Ok((*device, file.read()?))).collect::<Result<_, _>>()?;
        Ok(file)
    }
}

impl OnnxFile {
    fn read(&self) -> Result<GraphFile, InferenceError> {
        let file = GraphFile::read(&self.path)?;
        if file.sha256 != self.sha256 {
            return Err(InferenceError::Sha256 {
                path: self.path.clone(),
                expected: self.sha256.clone(),
                actual: file.sha256,
            });
        }
        Ok(file)
    }
}

/// The rules for single values, each broken one an error that names its key.
struct Check<'a> {
    path: &'a Path,
}

impl Check<'_> {
    fn fault(&self, key: &str, cause: impl Into<String>, fix: impl Into<String>) -> InferenceError {
        InferenceError::Package { path: self.path.into(), key: key.into(), cause: cause.into(), fix: fix.into() }
    }

    fn range<T: PartialOrd + std::fmt::Display>(
        &self,
        key: &str,
        value: T,
        low: T,
        high: T,
    ) -> Result<(), InferenceError> {
        // Written so that NaN is refused too.
        if value >= low && value <= high {
            return Ok(());
        }
        Err(self.fault(key, format!("{value} makes no sense"), format!("Give a value from {low} to {high}")))
    }

    fn name(&self, key: &str, name: &str) -> Result<(), InferenceError> {
        if name.is_empty() || name.contains(|c: char| c == '@' || c.is_whitespace() || c.is_control()) {
            return Err(self.fault(key, format!("`{name}` is no name"), "Use letters, digits, dots, `-` and `_`"));
        }
        Ok(())
    }

    fn input(&self, input: &Input) -> Result<(), InferenceError> {
        self.range("input.width", input.width, 16, 1024)?;
        self.range("input.height", input.height, 16, 1024)?;
        match (input.alignment, input.margin) {
            (Alignment::Box, Some(margin)) => self.range("input.margin", margin, 1.0, 4.0)?,
            (Alignment::Box, None) => {
                return Err(self.fault(
                    "input.margin",
                    "it is missing",
                    "Give the side of the crop's square as a multiple of the face box's longer side",
                ));
            }
            (Alignment::FivePoint, Some(_)) => {
                return Err(self.fault(
                    "input.margin",
                    "the landmarks alone decide what a five-point crop shows",
                    "Remove it, or set alignment = \"box\"",
                ));
            }
            (Alignment::FivePoint, None) => {}
        }
        let [low, high] = input.range;
        if !(low.is_finite() && high.is_finite() && low < high) {
            return Err(self.fault(
                "input.range",
                format!("{low}..{high} is empty"),
                "Give [low, high] with low < high",
            ));
        }
        if !is_name(&input.feature) {
            return Err(self.fault(
                "input.feature",
                format!("`{}` is no name of a feature", input.feature),
                "Use lower-case letters and digits, with `-` between words, such as \"noise-residual\"",
            ));
        }
        for channel in 0..3 {
            if !input.mean[channel].is_finite() {
                return Err(self.fault("input.mean", "not a finite number", "Give three finite numbers"));
            }
            if !(input.std[channel].is_finite() && input.std[channel] > 0.0) {
                return Err(self.fault("input.std", "not positive", "Give three numbers above 0"));
            }
        }
        Ok(())
    }

    fn window(&self, window: &WindowTable) -> Result<Window, InferenceError> {
        self.range("window.frames", window.frames, 1, 1000)?;
        self.range("window.rate_hz", window.rate_hz, 0.1, 120.0)?;
        let least_frames = window.least_frames.unwrap_or(window.frames);
        self.range("window.least_frames", least_frames, 1, window.frames)?;
        Ok(Window { frames: window.frames, rate_hz: window.rate_hz, least_frames })
    }

    fn graphs(
        &self,
        kind: Kind,
        encoder: Option<EncoderTable>,
        head: Option<HeadTable>,
        whole: Option<GraphTable>,
    ) -> Result<Graphs, InferenceError> {
        match (kind, encoder, head, whole) {
            (Kind::Sequence, Some(encoder), Some(head), None) => {
                let Some(feature_length) = encoder.feature_length else {
                    return Err(self.fault(
                        "encoder.feature_length",
                        "it is missing",
                        "Give the number of values in one crop's feature",
                    ));
                };
                self.range("encoder.feature_length", feature_length, 1, 1 << 16)?;
                let kinds = self.kinds(&head)?;
                let head = self.graph("head", head.into())?;
                let (frame_output, where_output) = (encoder.frame_output.clone(), encoder.where_output.clone());
                let graph = self.graph("encoder", encoder.into())?;
                Ok(Graphs::Split {
                    encoder: Encoder { graph, feature_length, frame_output, where_output },
                    head,
                    kinds,
                })
            }
            (Kind::Sequence, None, None, Some(whole)) => Ok(Graphs::Whole(self.graph("whole", whole)?)),
            (Kind::Frame, Some(encoder), None, None) => {
                for (key, given) in [
                    ("encoder.feature_length", encoder.feature_length.is_some()),
                    ("encoder.frame_output", encoder.frame_output.is_some()),
                    ("encoder.where_output", encoder.where_output.is_some()),
                ] {
                    if given {
                        return Err(self.fault(
                            key,
                            "a frame model has no features",
                            "Remove it; `output` names the class scores",
                        ));
                    }
                }
                Ok(Graphs::Frame(self.graph("encoder", encoder.into())?))
            }
            (Kind::Sequence, ..) => Err(self.fault(
                "model.kind",
                "a sequence model has the tables [encoder] and [head], or [whole], and no other mixture",
                "Add or remove the tables, or set kind = \"frame\"",
            )),
            (Kind::Frame, ..) => Err(self.fault(
                "model.kind",
                "a frame model has the table [encoder], and neither [head] nor [whole]",
                "Add or remove the tables, or set kind = \"sequence\"",
            )),
        }
    }

    fn kinds(&self, head: &HeadTable) -> Result<Option<Kinds>, InferenceError> {
        let (output, names) = match (&head.kinds_output, &head.kinds) {
            (None, None) => return Ok(None),
            (Some(output), Some(names)) => (output.clone(), names.clone()),
            (Some(_), None) => {
                return Err(self.fault("head.kinds", "it is missing", "Name the kinds that `kinds_output` speaks of"));
            }
            (None, Some(_)) => {
                return Err(self.fault("head.kinds_output", "it is missing", "Name the output, or remove `kinds`"));
            }
        };
        self.range("head.kinds", names.len(), 1, MAX_KINDS)?;
        for (index, name) in names.iter().enumerate() {
            if !is_name(name) {
                return Err(self.fault(
                    "head.kinds",
                    format!("`{name}` is no name of a kind"),
                    "Use lower-case letters and digits, with `-` between words, such as \"swap\"",
                ));
            }
            if names[..index].contains(name) {
                return Err(self.fault("head.kinds", format!("`{name}` stands there twice"), "Name each kind once"));
            }
        }
        Ok(Some(Kinds { output, names }))
    }

    fn graph(&self, table: &str, graph: GraphTable) -> Result<Graph, InferenceError> {
        let GraphTable { file, sha256, on, input, output } = graph;
        let on = on.into_iter().map(|(device, other)| Ok((device, self.file(&format!("{table}.on.{device}"), other)?)));
        Ok(Graph {
            on: on.collect::<Result<_, _>>()?,
            file: self.file(table, FileTable { file, sha256 })?,
            input,
            output,
        })
    }

    fn file(&self, table: &str, file: FileTable) -> Result<OnnxFile, InferenceError> {
        let FileTable { file, sha256 } = file;
        if !places::is_plain_name(&file) {
            return Err(self.fault(
                &format!("{table}.file"),
                format!("`{file}` is not the name of a file inside the package's folder"),
                "Put the file beside model.toml and give its bare name",
            ));
        }
        if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(self.fault(
                &format!("{table}.sha256"),
                format!("`{sha256}` is no checksum of 64 hexadecimal digits"),
                format!("Write what `sha256sum {file}` prints"),
            ));
        }
        Ok(OnnxFile { path: self.path.with_file_name(file), sha256: sha256.to_ascii_lowercase() })
    }

    fn calibration(&self, calibration: &Calibration) -> Result<(), InferenceError> {
        let Calibration { slope, bias, fake_threshold, authentic_threshold, hysteresis, .. } = *calibration;
        if !(slope.is_finite() && slope > 0.0) {
            return Err(self.fault(
                "calibration.slope",
                format!("{slope} is not above 0"),
                "A higher logit must mean a higher P(fake); set output.fake_index if the classes are swapped",
            ));
        }
        if !bias.is_finite() {
            return Err(self.fault("calibration.bias", format!("{bias} is not finite"), "Give a finite number"));
        }
        self.range("calibration.fake_threshold", fake_threshold, 0.0, 1.0)?;
        self.range("calibration.authentic_threshold", authentic_threshold, 0.0, fake_threshold)?;
        self.range("calibration.hysteresis", hysteresis, 0.0, 0.5)
    }
}

impl From<EncoderTable> for GraphTable {
    fn from(table: EncoderTable) -> Self {
        let EncoderTable { file, sha256, on, input, output, .. } = table;
        Self { file, sha256, on, input, output }
    }
}

impl From<HeadTable> for GraphTable {
    fn from(table: HeadTable) -> Self {
        let HeadTable { file, sha256, on, input, output, .. } = table;
        Self { file, sha256, on, input, output }
    }
}

/// Lower-case letters and digits, with `-` between words.
fn is_name(name: &str) -> bool {
    name.split('-')
        .all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()))
}
