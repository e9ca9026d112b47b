//! What tests, here and of other crates, need instead of a device.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ort::session::Session;

use super::device::{Device, DeviceRequest, SessionOptions};
use super::graph::{self, GraphFile};
use super::runner::{Devices, Plan};
use super::worker::Worker;

/// A graph of the tests.
pub fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(file)
}

/// A device that is lost in mid-stream, as far as can be had without one: what it runs is run by the CPU, but while it is
/// `broken` the encoder is a graph that ONNX Runtime fails over at the first bright crop.
#[derive(Default)]
pub struct Fragile {
    pub broken: AtomicBool,
    /// No device can do it.
    pub cursed: AtomicBool,
    /// Encoders opened on the device.
    pub opened: AtomicUsize,
}

impl Fragile {
    pub fn broken() -> Arc<Self> {
        Arc::new(Self { broken: AtomicBool::new(true), ..Self::default() })
    }

    /// A worker for the encoder and the head of the tests, on this device.
    pub fn worker(self: &Arc<Self>, require_device: bool) -> Arc<Worker> {
        let files = ["encoder.onnx", "head.onnx"].map(|file| GraphFile::read(&data(file)).unwrap());
        Arc::new(on_cuda(files.into(), self.clone(), require_device))
    }
}

impl Devices for Arc<Fragile> {
    fn open(&self, file: &GraphFile, device: Device, threads: usize) -> Result<Session, String> {
        let is_encoder = file.path.ends_with("encoder.onnx");
        let fails = match device {
            Device::Cpu => self.cursed.load(Ordering::SeqCst),
            _ => self.broken.load(Ordering::SeqCst),
        };
        let lost = GraphFile::read(&data("encoder-lost.onnx")).unwrap();
        let session = graph::open(if is_encoder && fails { &lost } else { file }, Device::Cpu, threads);
        if is_encoder && device != Device::Cpu {
            self.opened.fetch_add(1, Ordering::SeqCst);
        }
        session
    }
}

/// A worker of `cuda`, as `devices` have it.
pub(super) fn on_cuda(files: Vec<GraphFile>, devices: impl Devices + 'static, require_device: bool) -> Worker {
    let options = SessionOptions { device: DeviceRequest::Cuda, require_device, threads: 1 };
    let plan = Plan { files, threads: 1, devices: Box::new(devices) };
    Worker::start_on(vec![Device::Cuda, Device::Cpu], plan, &options).unwrap()
}
