//! A model package at work: crops in, features out; windows in, logits out.

use std::collections::BTreeMap;
use std::sync::Arc;

use ndarray::{
    Array2, Array4, ArrayView2, ArrayView3, ArrayView4, ArrayViewD, ArrayViewMut4, Axis, IxDyn, concatenate,
};

use super::device::{Device, Placement, SessionOptions};
use super::error::InferenceError;
use super::graph::{GraphInfo, Outputs, show_shape};
use super::package::{Encoder, Graph, Graphs, Kinds, ModelPackage};
use super::worker::Worker;

/// Index of the encoder, or of the only graph, in the worker.
const FIRST: usize = 0;
/// Index of the head in the worker.
const HEAD: usize = 1;

/// Rows of one batch: memory for what lies between a graph's layers grows with them, and speed no longer does.
const MAX_ROWS: usize = 16;

/// Probabilities nearer to 0 or 1 than this say no more than float32 can.
const MIN_PROBABILITY: f32 = 1e-7;

/// A model, loaded, checked against its graphs and tried once. The worker behind it is shared by the process.
#[derive(Debug)]
pub struct Model {
    package: ModelPackage,
    worker: Arc<Worker>,
    outputs: OutputIndices,
}

/// Outputs by their place in the graph.
#[derive(Debug)]
struct OutputIndices {
    first: usize,
    frame: Option<usize>,
    where_map: Option<usize>,
    head: usize,
    kinds: Option<usize>,
}

/// What the encoder makes of one crop.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// What the window keeps; `Model::feature_length` numbers.
    pub feature: Vec<f32>,
    /// Fake-minus-real logit of this crop alone, where the model says one. Not calibrated for single crops.
    pub frame_logit: Option<f32>,
    /// How likely each part of the crop was changed, 0..1, where the model says it: square, rows from the top.
    pub where_map: Option<Array2<f32>>,
}

/// What the head makes of one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// Fake minus real.
    pub logit: f32,
    /// How likely each of the [package's kinds](ModelPackage::kinds) is, 0..1, should the face be fake. Empty where the
    /// model does not say it.
    pub kinds: Vec<f32>,
}

impl Model {
    /// Loads the package's graphs, compares them with `model.toml`, and runs them once on a grey picture: broken
    /// weights, a device that cannot run them, or an engine that takes minutes to build show here and not in the
    /// middle of a stream.
    ///
    /// # Errors
    /// [`InferenceError`], with file, key, cause and how to fix it.
    pub fn load(package: ModelPackage, options: &SessionOptions) -> Result<Self, InferenceError> {
        let files = package.graphs.all().into_iter().map(Graph::read).collect::<Result<_, _>>()?;
        Self::with_worker(package, Worker::shared_graphs(files, options)?)
    }

    /// As [`load`](Self::load), with the package's graphs already loaded.
    ///
    /// # Errors
    /// Those of `load`.
    pub fn with_worker(package: ModelPackage, worker: Arc<Worker>) -> Result<Self, InferenceError> {
        let package = package.on(worker.device());
        let outputs = check(&package, worker.graphs())?;
        let model = Self { package, worker, outputs };
        model.try_out()?;
        Ok(model)
    }

    pub fn package(&self) -> &ModelPackage {
        &self.package
    }

    /// Device that runs the graphs, or did until it was lost.
    pub fn device(&self) -> Device {
        self.worker.device()
    }

    /// On what the graphs run right now. A device may be lost and come back.
    pub fn placement(&self) -> Placement {
        self.worker.placement()
    }

    /// Numbers in one crop's feature.
    pub fn feature_length(&self) -> usize {
        match &self.package.graphs {
            Graphs::Split { encoder, .. } => encoder.feature_length,
            Graphs::Whole(_) => 3 * self.package.input.height * self.package.input.width,
            Graphs::Frame(_) => 1,
        }
    }

    /// P(fake), 0..1, of a fake-minus-real logit.
    pub fn probability(&self, logit: f32) -> f32 {
        self.package.calibration.probability(logit)
    }

    /// Encodes crops `[N, 3, height, width]`: channels in the model's order, pixel values 0..255. Range, mean and
    /// standard deviation are applied in here, in their place. All crops are one batch.
    ///
    /// # Errors
    /// [`InferenceError::Input`] if the shape does not fit; else as [`Worker::run`].
    pub fn encode(&self, mut crops: ArrayViewMut4<f32>) -> Result<Vec<Encoded>, InferenceError> {
        let input = &self.package.input;
        if crops.shape()[1..] != [3, input.height, input.width] {
            return Err(InferenceError::Input {
                path: self.package.graphs.all()[FIRST].file.path.clone(),
                cause: format!("takes crops of [N, 3, {}, {}], given {:?}", input.height, input.width, crops.shape()),
            });
        }
        if crops.is_empty() {
            return Ok(vec![]);
        }
        self.normalise(&mut crops);
        let crops = crops.view();
        match &self.package.graphs {
            Graphs::Whole(_) => Ok(crops
                .outer_iter()
                .map(|crop| Encoded { feature: crop.iter().copied().collect(), frame_logit: None, where_map: None })
                .collect()),
            Graphs::Frame(graph) => self.encode_batches(crops, |outputs, _| {
                let logits = self.logits(graph, &outputs[self.outputs.first])?;
                let encoded = |logit| Encoded { feature: vec![logit], frame_logit: Some(logit), where_map: None };
                Ok(logits.into_iter().map(encoded).collect())
            }),
            Graphs::Split { encoder, .. } => {
                self.encode_batches(crops, |outputs, count| self.encoded(encoder, outputs, count))
            }
        }
    }

    /// Runs the encoder over crops in batches that suit the device; `read` is given the outputs for so many of them.
    fn encode_batches(
        &self,
        crops: ArrayView4<f32>,
        read: impl Fn(&Outputs, usize) -> Result<Vec<Encoded>, InferenceError>,
    ) -> Result<Vec<Encoded>, InferenceError> {
        let count = crops.len_of(Axis(0));
        let mut encoded = Vec::with_capacity(count);
        for batch in crops.axis_chunks_iter(Axis(0), self.max_rows(FIRST).min(count)) {
            let count = batch.len_of(Axis(0));
            encoded.append(&mut self.worker.run(FIRST, batch.into_dyn(), |outputs| read(outputs, count))??);
        }
        Ok(encoded)
    }

    /// Rows of a batch for this graph.
    fn max_rows(&self, index: usize) -> usize {
        let takes_one = self.worker.graphs()[index].input.shape[0] == Some(1);
        let one_by_one = self.placement().active.is_some_and(Device::takes_one_by_one);
        if takes_one || one_by_one { 1 } else { MAX_ROWS }
    }

    /// The encoder's outputs for `count` crops.
    fn encoded(&self, encoder: &Encoder, outputs: &Outputs, count: usize) -> Result<Vec<Encoded>, InferenceError> {
        let features = &outputs[self.outputs.first];
        if features.shape() != [count, encoder.feature_length] {
            return Err(self.wrong_output(
                "encoder.feature_length",
                &encoder.graph,
                features.shape(),
                &format!("[{count}, {}]", encoder.feature_length),
            ));
        }
        let frame_logits = match self.outputs.frame {
            Some(index) => self.logits(&encoder.graph, &outputs[index])?.into_iter().map(Some).collect(),
            None => vec![None; count],
        };
        if frame_logits.len() != count {
            return Err(self.wrong_output(
                "encoder.frame_output",
                &encoder.graph,
                &[frame_logits.len()],
                &format!("[{count}]"),
            ));
        }
        let where_maps = match (self.outputs.where_map, &encoder.where_output) {
            (Some(index), Some(name)) => self.where_maps(&encoder.graph, name, &outputs[index], count)?,
            _ => vec![None; count],
        };
        Ok(features
            .outer_iter()
            .zip(frame_logits)
            .zip(where_maps)
            .map(|((feature, frame_logit), where_map)| Encoded {
                feature: feature.iter().copied().collect(),
                frame_logit,
                where_map,
            })
            .collect())
    }

    /// The maps of `count` crops.
    fn where_maps(
        &self,
        graph: &Graph,
        name: &str,
        maps: &ArrayViewD<f32>,
        count: usize,
    ) -> Result<Vec<Option<Array2<f32>>>, InferenceError> {
        let key = "encoder.where_output";
        let &[crops, rows, columns] = maps.shape() else {
            return Err(self.wrong_output(key, graph, maps.shape(), &format!("[{count}, g, g]")));
        };
        if crops != count || rows != columns || rows == 0 {
            return Err(self.wrong_output(key, graph, maps.shape(), &format!("[{count}, g, g]")));
        }
        self.check_probabilities(key, graph, name, maps)?;
        let map = |map: ArrayViewD<f32>| {
            let values = map.iter().map(|value| value.clamp(0.0, 1.0)).collect();
            Array2::from_shape_vec((rows, columns), values).ok()
        };
        Ok(maps.outer_iter().map(map).collect())
    }

    /// Fake-minus-real logits of windows: as [`judge`](Self::judge), without the kinds.
    ///
    /// # Errors
    /// Those of `judge`.
    pub fn head(&self, windows: &[ArrayView2<f32>]) -> Result<Vec<f32>, InferenceError> {
        Ok(self.judge(windows)?.into_iter().map(|scored| scored.logit).collect())
    }

    /// Scores windows, [T, feature length] with the oldest crop first, in the order given. Windows of one length are one
    /// batch; lengths may differ from window to window.
    ///
    /// # Errors
    /// [`InferenceError::Input`] if a window is empty, too long or its features have another length; else as
    /// [`Worker::run`].
    pub fn judge(&self, windows: &[ArrayView2<f32>]) -> Result<Vec<Scored>, InferenceError> {
        let (graph, index) = match &self.package.graphs {
            Graphs::Split { head, .. } => (head, HEAD),
            Graphs::Whole(graph) | Graphs::Frame(graph) => (graph, FIRST),
        };
        for window in windows {
            let (frames, length) = window.dim();
            if !(1..=self.package.window.frames).contains(&frames) || length != self.feature_length() {
                return Err(InferenceError::Input {
                    path: graph.file.path.clone(),
                    cause: format!(
                        "takes windows of [1..{}, {}], given [{frames}, {length}]",
                        self.package.window.frames,
                        self.feature_length()
                    ),
                });
            }
        }
        if let Graphs::Frame(_) = &self.package.graphs {
            let scored = |window: &ArrayView2<f32>| Scored { logit: window.mean().expect("not empty"), kinds: vec![] };
            return Ok(windows.iter().map(scored).collect());
        }
        let mut by_length = BTreeMap::<usize, Vec<usize>>::new();
        for (position, window) in windows.iter().enumerate() {
            by_length.entry(window.nrows()).or_default().push(position);
        }
        let most = self.max_rows(index);
        let mut scored = vec![Scored { logit: 0.0, kinds: vec![] }; windows.len()];
        for positions in by_length.values().flat_map(|positions| positions.chunks(most)) {
            let views: Vec<_> = positions.iter().map(|&position| windows[position].insert_axis(Axis(0))).collect();
            let found = match views[..] {
                // The usual case: one face, and nothing to copy.
                [only] => self.run_head(graph, index, only)?,
                _ => self.run_head(graph, index, concatenate(Axis(0), &views).expect("equal shapes").view())?,
            };
            for (position, found) in positions.iter().zip(found) {
                scored[*position] = found;
            }
        }
        Ok(scored)
    }

    /// Runs a batch of equally long windows, [N, T, feature length].
    fn run_head(&self, graph: &Graph, index: usize, batch: ArrayView3<f32>) -> Result<Vec<Scored>, InferenceError> {
        let (count, frames, _) = batch.dim();
        let input = &self.package.input;
        let shape = match &self.package.graphs {
            Graphs::Whole(_) => IxDyn(&[count, frames, 3, input.height, input.width]),
            _ => IxDyn(batch.shape()),
        };
        let batch = batch.to_shape(shape).expect("as many elements");
        self.worker.run(index, batch.view(), |outputs| {
            let logits = self.logits(graph, &outputs[self.outputs.head])?;
            if logits.len() != count {
                let key = if index == HEAD { "head.output" } else { "whole.output" };
                return Err(self.wrong_output(key, graph, &[logits.len()], &format!("[{count}]")));
            }
            let kinds = match (self.outputs.kinds, &self.package.graphs) {
                (Some(index), Graphs::Split { kinds: Some(kinds), .. }) => {
                    self.kinds(graph, kinds, &outputs[index], count)?
                }
                _ => vec![vec![]; count],
            };
            Ok(logits.into_iter().zip(kinds).map(|(logit, kinds)| Scored { logit, kinds }).collect())
        })?
    }

    /// How likely each kind is, for `count` windows.
    fn kinds(
        &self,
        graph: &Graph,
        kinds: &Kinds,
        scores: &ArrayViewD<f32>,
        count: usize,
    ) -> Result<Vec<Vec<f32>>, InferenceError> {
        let key = "head.kinds_output";
        if scores.shape() != [count, kinds.names.len()] {
            return Err(self.wrong_output(key, graph, scores.shape(), &format!("[{count}, {}]", kinds.names.len())));
        }
        self.check_probabilities(key, graph, &kinds.output, scores)?;
        Ok(scores.outer_iter().map(|row| row.iter().map(|value| value.clamp(0.0, 1.0)).collect()).collect())
    }

    fn check_probabilities(
        &self,
        key: &str,
        graph: &Graph,
        output: &str,
        values: &ArrayViewD<f32>,
    ) -> Result<(), InferenceError> {
        match values.iter().find(|value| !is_probability(**value)) {
            None => Ok(()),
            Some(value) => Err(self.package.fault(
                key,
                format!("`{output}` of {} gives {value}, which is not within 0..1", graph.file.path.display()),
                "End that output in a sigmoid or softmax, or remove the key",
            )),
        }
    }

    /// From pixel values to what the graph wants to see.
    fn normalise(&self, crops: &mut ArrayViewMut4<f32>) {
        let input = &self.package.input;
        let [low, high] = input.range;
        for (channel, mut plane) in crops.axis_iter_mut(Axis(1)).enumerate() {
            let scale = (high - low) / 255.0 / input.std[channel];
            let offset = (low - input.mean[channel]) / input.std[channel];
            if (scale, offset) == (1.0, 0.0) {
                continue;
            }
            plane.mapv_inplace(|value| value * scale + offset);
        }
    }

    /// Class scores `[N]`, `[N, 1]` or `[N, 2]` as fake-minus-real logits.
    fn logits(&self, graph: &Graph, scores: &ArrayViewD<f32>) -> Result<Vec<f32>, InferenceError> {
        let output = self.package.output;
        let count = scores.shape().first().copied().unwrap_or(0);
        let wrong = || self.wrong_output("output.fake_index", graph, scores.shape(), "[N], [N, 1] or [N, 2]");
        if count == 0 || !scores.len().is_multiple_of(count) || scores.ndim() > 2 {
            return Err(wrong());
        }
        let classes = scores.len() / count;
        let table = scores.to_shape((count, classes)).map_err(|_| wrong())?;
        if classes == 0 || classes > 2 || output.fake_index >= classes {
            return Err(wrong());
        }
        if output.softmax {
            let sum_is_one = |row: ndarray::ArrayView1<f32>| classes == 1 || (row.sum() - 1.0).abs() < 1e-3;
            let are_probabilities = |row: ndarray::ArrayView1<f32>| row.iter().copied().all(is_probability);
            if !table.rows().into_iter().all(|row| are_probabilities(row) && sum_is_one(row)) {
                return Err(self.package.fault(
                    "output.softmax",
                    format!("the class scores of {} are no probabilities", graph.file.path.display()),
                    "Set softmax = false if the graph gives logits",
                ));
            }
        }
        Ok(table
            .rows()
            .into_iter()
            .map(|row| {
                let fake = row[output.fake_index];
                match (output.softmax, classes) {
                    (false, 1) => fake,
                    (false, _) => fake - row[1 - output.fake_index],
                    (true, _) => {
                        let fake = fake.clamp(MIN_PROBABILITY, 1.0 - MIN_PROBABILITY);
                        (fake / (1.0 - fake)).ln()
                    }
                }
            })
            .collect())
    }

    fn wrong_output(&self, key: &str, graph: &Graph, given: &[usize], wanted: &str) -> InferenceError {
        self.package.fault(
            key,
            format!("{} gives an output of {given:?}, not {wanted}", graph.file.path.display()),
            "Change the key, or export the graph with that shape",
        )
    }

    /// Runs everything once.
    fn try_out(&self) -> Result<(), InferenceError> {
        let input = &self.package.input;
        let mut grey = Array4::from_elem((1, 3, input.height, input.width), 127.5);
        let feature = self.encode(grey.view_mut())?.remove(0).feature;
        for frames in [self.package.window.least_frames, self.package.window.frames] {
            let window = Array2::from_shape_fn((frames, feature.len()), |(_, index)| feature[index]);
            self.head(&[window.view()])?;
        }
        Ok(())
    }
}

/// Sums of many float32 numbers may come out a little beyond 0..1.
fn is_probability(value: f32) -> bool {
    (-1e-4..=1.0001).contains(&value)
}

/// Compares `model.toml` with what the graphs say of themselves; gives the outputs' indices.
///
/// Messages take paths from the package: the worker's are those of whoever loaded the same bytes first.
fn check(package: &ModelPackage, infos: &[GraphInfo]) -> Result<OutputIndices, InferenceError> {
    let input = &package.input;
    let crop = [Some(3), Some(input.height), Some(input.width)];
    let first = &infos[FIRST];
    match &package.graphs {
        Graphs::Split { encoder, head, kinds } => {
            let feature = Some(encoder.feature_length);
            let mut crops = vec![None];
            crops.extend(crop);
            check_input(package, "encoder", &encoder.graph, first, &crops, &[])?;
            let first_output = output(package, "encoder.output", &encoder.graph.output, &encoder.graph, first)?;
            let shape = &first.outputs[first_output].shape;
            let fits = shape.len() == 2 && shape[1].is_none_or(|length| Some(length) == feature);
            if !fits {
                return Err(package.fault(
                    "encoder.feature_length",
                    format!(
                        "is {}, but output `{}` of {} is {}",
                        encoder.feature_length,
                        encoder.graph.output,
                        encoder.graph.file.path.display(),
                        show_shape(shape)
                    ),
                    "Change the key, or export the graph with features of [N, feature_length]",
                ));
            }
            let frame = match &encoder.frame_output {
                Some(name) => Some(class_output(package, "encoder.frame_output", name, &encoder.graph, first)?),
                None => None,
            };
            check_input(package, "head", head, &infos[HEAD], &[None, None, feature], &[0, 1])?;
            let where_map = match &encoder.where_output {
                Some(name) => Some(where_output(package, name, &encoder.graph, first)?),
                None => None,
            };
            let kinds = match kinds {
                Some(kinds) => Some(kinds_output(package, kinds, head, &infos[HEAD])?),
                None => None,
            };
            let head = class_output(package, "head.output", &head.output, head, &infos[HEAD])?;
            Ok(OutputIndices { first: first_output, frame, where_map, head, kinds })
        }
        Graphs::Whole(graph) => {
            let mut window = vec![None, None];
            window.extend(crop);
            check_input(package, "whole", graph, first, &window, &[0, 1])?;
            let index = class_output(package, "whole.output", &graph.output, graph, first)?;
            Ok(OutputIndices { first: index, frame: None, where_map: None, head: index, kinds: None })
        }
        Graphs::Frame(graph) => {
            let mut crops = vec![None];
            crops.extend(crop);
            check_input(package, "encoder", graph, first, &crops, &[])?;
            let index = class_output(package, "encoder.output", &graph.output, graph, first)?;
            Ok(OutputIndices { first: index, frame: Some(index), where_map: None, head: index, kinds: None })
        }
    }
}

/// `wanted` holds the sizes that the input must have, or leave free; where it says `None` the graph must leave the
/// dimension free. Of the dimensions in `may_be_fixed`, number 0 may also be 1 and number 1 the window's length.
fn check_input(
    package: &ModelPackage,
    table: &str,
    graph: &Graph,
    info: &GraphInfo,
    wanted: &[Option<usize>],
    may_be_fixed: &[usize],
) -> Result<(), InferenceError> {
    let port = &info.input;
    if port.name != graph.input {
        return Err(package.fault(
            &format!("{table}.input"),
            format!("is `{}`, but the input of {} is called `{}`", graph.input, graph.file.path.display(), port.name),
            "Change the key, or export the graph with that name",
        ));
    }
    let window = package.window;
    let fits = port.shape.len() == wanted.len()
        && port.shape.iter().zip(wanted).enumerate().all(|(dimension, (have, want))| match (have, want) {
            (Some(have), Some(want)) => have == want,
            (None, _) => true,
            (Some(1), None) if dimension == 0 => may_be_fixed.contains(&0),
            (Some(frames), None) if dimension == 1 && *frames == window.frames => may_be_fixed.contains(&1),
            (Some(_), None) => false,
        });
    if !fits {
        return Err(package.fault(
            &format!("{table}.input"),
            format!(
                "`{}` of {} is {}, not {}",
                port.name,
                graph.file.path.display(),
                show_shape(&port.shape),
                show_shape(wanted)
            ),
            "Change width, height, frames or feature_length, or export the graph with that shape (`?`: free)",
        ));
    }
    let fixed_length = may_be_fixed.contains(&1) && port.shape[1].is_some();
    if fixed_length && window.least_frames != window.frames {
        return Err(package.fault(
            "window.least_frames",
            format!(
                "{} takes windows of {} crops only, so there is no early score",
                graph.file.path.display(),
                window.frames
            ),
            format!("Set it to {}, or export the graph with a free number of crops", window.frames),
        ));
    }
    Ok(())
}

fn output(
    package: &ModelPackage,
    key: &str,
    name: &str,
    graph: &Graph,
    info: &GraphInfo,
) -> Result<usize, InferenceError> {
    info.outputs.iter().position(|port| port.name == name).ok_or_else(|| {
        let names: Vec<_> = info.outputs.iter().map(|port| format!("`{}`", port.name)).collect();
        package.fault(
            key,
            format!("{} has no output `{name}`; it has {}", graph.file.path.display(), names.join(", ")),
            "Name one of them, or export the graph with that name",
        )
    })
}

/// As [`output`], of class scores.
fn class_output(
    package: &ModelPackage,
    key: &str,
    name: &str,
    graph: &Graph,
    info: &GraphInfo,
) -> Result<usize, InferenceError> {
    let index = output(package, key, name, graph, info)?;
    let shape = &info.outputs[index].shape;
    let classes = match shape[..] {
        [_] => Some(1),
        [_, classes] => classes,
        _ => Some(0),
    };
    if classes.is_some_and(|classes| !(1..=2).contains(&classes)) {
        return Err(package.fault(
            key,
            format!("`{name}` of {} is {}, not [N], [N, 1] or [N, 2]", graph.file.path.display(), show_shape(shape)),
            "Name the output with the class scores",
        ));
    }
    if classes.is_some_and(|classes| package.output.fake_index >= classes) {
        return Err(package.fault(
            "output.fake_index",
            format!(
                "is {}, but `{name}` of {} has one class score",
                package.output.fake_index,
                graph.file.path.display()
            ),
            "Set it to 0",
        ));
    }
    Ok(index)
}

/// As [`output`], of a map of each crop.
fn where_output(package: &ModelPackage, name: &str, graph: &Graph, info: &GraphInfo) -> Result<usize, InferenceError> {
    let key = "encoder.where_output";
    let index = output(package, key, name, graph, info)?;
    let shape = &info.outputs[index].shape;
    let fits = match shape[..] {
        [_, Some(rows), Some(columns)] => rows == columns && rows > 0,
        [_, _, _] => true,
        _ => false,
    };
    if fits {
        return Ok(index);
    }
    Err(package.fault(
        key,
        format!("`{name}` of {} is {}, not [N, g, g]", graph.file.path.display(), show_shape(shape)),
        "Name the output with a square map of each crop",
    ))
}

/// As [`output`], of the kinds.
fn kinds_output(
    package: &ModelPackage,
    kinds: &Kinds,
    graph: &Graph,
    info: &GraphInfo,
) -> Result<usize, InferenceError> {
    let key = "head.kinds_output";
    let index = output(package, key, &kinds.output, graph, info)?;
    let (shape, count) = (&info.outputs[index].shape, kinds.names.len());
    if shape.len() == 2 && shape[1].is_none_or(|given| given == count) {
        return Ok(index);
    }
    Err(package.fault(
        key,
        format!(
            "`{}` of {} is {}, not [N, {count}], one number for each of `kinds`",
            kinds.output,
            graph.file.path.display(),
            show_shape(shape)
        ),
        "Name as many kinds as the output has numbers, or name another output",
    ))
}
