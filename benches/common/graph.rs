//! ONNX graphs by themselves: a session of our own, run in the thread that asks, with nothing around it.

use std::path::Path;

use deepfake_engine::inference::runtime;
use ndarray::ArrayD;
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::value::TensorRef;

pub struct Graph(Session);

impl Graph {
    /// On one thread of the CPU, set up as the workers set up theirs.
    pub fn load(file: &Path) -> Self {
        let open = || -> Result<Session, Box<dyn std::error::Error>> {
            Ok(SessionBuilder::new(runtime::get()?.environment())?
                .with_intra_op_spinning(false)?
                .with_inter_threads(1)?
                .with_intra_threads(1)?
                .with_deterministic_compute(true)?
                .commit_from_memory(&std::fs::read(file)?)?)
        };
        Self(open().unwrap_or_else(|error| panic!("{} does not load: {error}", file.display())))
    }

    /// Runs the graph. Its outputs are not looked at.
    pub fn run(&mut self, input: &ArrayD<f32>) {
        let tensor = TensorRef::from_array_view(input).expect("a contiguous array");
        self.0.run(ort::inputs![tensor]).expect("the graph runs");
    }

    /// Runs the graph and copies its outputs.
    pub fn outputs(&mut self, input: &ArrayD<f32>) -> Vec<ArrayD<f32>> {
        let tensor = TensorRef::from_array_view(input).expect("a contiguous array");
        let values = self.0.run(ort::inputs![tensor]).expect("the graph runs");
        (0..values.len())
            .map(|index| values[index].try_extract_array::<f32>().expect("outputs are float32").into_owned())
            .collect()
    }
}
