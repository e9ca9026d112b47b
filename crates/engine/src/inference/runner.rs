//! A session of one graph on one device, ready to run; and what it takes to make those of all graphs.

use std::sync::Arc;

use ndarray::ArrayViewD;
use ort::memory::AllocationDevice;
use ort::session::Session;

use super::device::Device;
use super::error::InferenceError;
use super::graph::{self, GraphFile, GraphInfo, Outputs};
use super::table::{self, FeaturePort, FeatureTable, Row};

/// The devices of a machine; in tests, which have none to lose, made-up ones.
pub(super) trait Devices: Send + Sync {
    /// A session of the graph on this device.
    ///
    /// # Errors
    /// Why there is none.
    fn open(&self, file: &GraphFile, device: Device, threads: usize) -> Result<Session, String>;

    /// The device's own memory, where features can stay in it.
    fn memory(&self, device: Device) -> Option<AllocationDevice<'static>>;
}

/// Those of this machine.
pub(super) struct Installed;

impl Devices for Installed {
    fn open(&self, file: &GraphFile, device: Device, threads: usize) -> Result<Session, String> {
        graph::open(file, device, threads)
    }

    fn memory(&self, device: Device) -> Option<AllocationDevice<'static>> {
        device.memory()
    }
}

/// What sessions are made from.
pub(super) struct Plan {
    pub files: Vec<GraphFile>,
    /// Where the first file is an encoder and the second its head: the features that go from one to the other.
    pub features: Option<FeaturePort>,
    /// CPU threads of one run; 0: those that all share.
    pub threads: usize,
    pub devices: Box<dyn Devices>,
}

impl Plan {
    /// Sessions of all graphs on one device, each of the file that is meant for it.
    ///
    /// # Errors
    /// The first file that does not load, and why.
    pub fn open(&self, device: Device) -> Result<Vec<Runner>, (&GraphFile, String)> {
        let files = self.files.iter().map(|file| file.on(device));
        let open = |file| self.devices.open(file, device, self.threads).map_err(|cause| (file, cause));
        let sessions = files.map(open).collect::<Result<Vec<_>, _>>()?;
        let table = sessions.first().and_then(|encoder| self.table(encoder, device));
        let part = |index| match (&table, index) {
            (Some(table), 0) => Part::Encoder(table.clone()),
            (Some(table), 1) => Part::Head(table.clone()),
            _ => Part::Alone,
        };
        let runner = |(index, session)| Runner { session, device, part: part(index) };
        Ok(sessions.into_iter().enumerate().map(runner).collect())
    }

    /// Where the encoder's features stay on the device. Where there is no room for them they go by way of the host.
    fn table(&self, encoder: &Session, device: Device) -> Option<Arc<FeatureTable>> {
        let features = self.features.clone()?;
        let memory = self.devices.memory(device)?;
        // Not through TensorRT, whose memory is CUDA's: it would build an engine for each number of rows.
        let gather = self.devices.open(&table::gather_graph().ok()?, Device::Cuda, self.threads).ok()?;
        FeatureTable::new(features, memory, encoder, gather).ok().map(Arc::new)
    }
}

/// What is to be run.
pub struct Request<'a> {
    pub input: ArrayViewD<'a, f32>,
    /// Where the features of which a head's input consists lie as well, window after window.
    pub rows: Option<Vec<Row>>,
}

impl<'a> From<ArrayViewD<'a, f32>> for Request<'a> {
    fn from(input: ArrayViewD<'a, f32>) -> Self {
        Self { input, rows: None }
    }
}

/// A session, and where it runs.
pub(super) struct Runner {
    pub session: Session,
    pub device: Device,
    part: Part,
}

/// What its graph is to the features that stay on the device.
enum Part {
    Alone,
    Encoder(Arc<FeatureTable>),
    Head(Arc<FeatureTable>),
}

impl Runner {
    /// Runs it and has `read` look at the outputs.
    ///
    /// # Errors
    /// As [`graph::run`].
    pub fn run<R>(
        &mut self,
        info: &GraphInfo,
        request: &Request,
        read: impl FnOnce(&Outputs) -> R,
    ) -> Result<R, InferenceError> {
        let input = request.input.view();
        match (&self.part, &request.rows) {
            (Part::Encoder(table), _) => table.encode(&mut self.session, info, input, read),
            (Part::Head(table), Some(rows)) if table.holds(rows) => {
                table.judge(&mut self.session, info, rows, input, read)
            }
            _ => graph::run(&mut self.session, info, input, read),
        }
    }
}
