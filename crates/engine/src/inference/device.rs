//! Which processor runs the graphs. What is asked for and what is active are two things.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::OnceLock;
use std::thread::available_parallelism;

use ort::ep::cuda::ConvAlgorithmSearch;
use ort::ep::{self, ArenaExtendStrategy, ExecutionProvider, ExecutionProviderDispatch};
use serde::Deserialize;

/// Cores that this process may use. Asked of the system once, since that reads files.
pub fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| available_parallelism().map_or(1, usize::from))
}

/// What runs the graphs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    Cpu,
    /// NVIDIA GPU through CUDA and cuDNN.
    Cuda,
    /// NVIDIA GPU through TensorRT, what it cannot run through CUDA. Builds an engine on first use, which takes minutes.
    TensorRt,
    /// Intel processors through OpenVINO.
    OpenVino,
}

/// What the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeviceRequest {
    /// CUDA if it works, else OpenVINO if it works, else the CPU. TensorRT is only used when asked for by name.
    #[default]
    Auto,
    Cpu,
    Cuda,
    TensorRt,
    OpenVino,
}

/// How the sessions of a model are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionOptions {
    pub device: DeviceRequest,
    /// Whether a device that was asked for by name and does not work, or is lost later, is an error. With `false` the CPU takes
    /// over and [`Placement::reason`] says why.
    pub require_device: bool,
    /// CPU threads of one run of a graph; 0: all runs share as many as there are physical cores. With 1 the same input gives the same
    /// output bit for bit.
    pub threads: usize,
}

/// On what graphs run right now, and why not on what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// `None` while a required device is lost.
    pub active: Option<Device>,
    /// Why it is not the device that was asked for; `None` if it is.
    pub reason: Option<String>,
}

impl Placement {
    /// On the device that was asked for.
    pub(super) fn on(device: Device) -> Self {
        Self { active: Some(device), reason: None }
    }
}

impl SessionOptions {
    /// Whether nothing may take the place of this device.
    pub(super) fn requires(&self, device: Device) -> bool {
        self.require_device && device != Device::Cpu && self.device.named() == Some(device)
    }
}

impl Device {
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Cuda, Self::TensorRt, Self::OpenVino];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
            Self::OpenVino => "openvino",
        }
    }

    /// Whether the loaded ONNX Runtime was built with this device. It may still not work: only a session tells.
    pub(super) fn is_built_in(self) -> bool {
        match self {
            Self::Cpu => Ok(true),
            Self::Cuda => ep::CUDA::is_available(),
            Self::TensorRt => ep::TensorRT::is_available(),
            Self::OpenVino => ep::OpenVINO::is_available(),
        }
        .unwrap_or(false)
    }

    /// Whether a batch takes less time than its parts one by one. On CPUs it does not; TensorRT
    /// [takes them one by one](Self::takes_one_by_one).
    pub(super) fn gains_by_batches(self) -> bool {
        self == Self::Cuda
    }

    /// Whether each new size of a batch costs minutes: TensorRT builds an engine for it, in mid-stream.
    pub(super) fn takes_one_by_one(self) -> bool {
        self == Self::TensorRt
    }

    /// ONNX Runtime's providers for a session of the graph with this sha256, in order. `threads` as in [`SessionOptions`].
    ///
    /// The lines for CUDA and TensorRT have never run on a GPU: they are written after ONNX Runtime's documentation of its
    /// execution providers.
    pub(super) fn providers(self, threads: usize, sha256: &str) -> Vec<ExecutionProviderDispatch> {
        // Without `error_on_failure` a provider that cannot load is silently left out, and the CPU does its work.
        match self {
            Self::Cpu => vec![],
            Self::Cuda => vec![cuda().build().error_on_failure()],
            Self::TensorRt => {
                let mut tensorrt = ep::TensorRT::default();
                if self.is_built_in()
                    && let Some(cache) = cache()
                {
                    // What a cached engine is called says nothing of the weights in it: each graph has a folder of its own.
                    let engines = cache.join("tensorrt").join(sha256);
                    tensorrt = tensorrt
                        .with_engine_cache(true)
                        .with_engine_cache_path(engines.display())
                        // How fast each kernel is does not depend on the weights.
                        .with_timing_cache(true)
                        .with_timing_cache_path(cache.join("tensorrt").display());
                    // A failure shows when ONNX Runtime writes there.
                    let _ = std::fs::create_dir_all(&engines);
                }
                vec![tensorrt.build().error_on_failure(), cuda().build().error_on_failure()]
            }
            Self::OpenVino => {
                let mut openvino = ep::OpenVINO::default();
                if threads > 0 {
                    openvino = openvino.with_num_threads(threads);
                }
                vec![openvino.build().error_on_failure()]
            }
        }
    }
}

fn cuda() -> ep::CUDA {
    ep::CUDA::default()
        // The default times every algorithm for every new shape, and pictures around faces have many shapes.
        .with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic)
        // The default doubles what it takes each time; a GPU is shared with decoders, encoders and other processes.
        .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
}

/// The user's folder for what can be made again.
fn cache() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    Some(cache.join("gst-plugin-deepfake"))
}

impl DeviceRequest {
    pub const ALL: [Self; 5] = [Self::Auto, Self::Cpu, Self::Cuda, Self::TensorRt, Self::OpenVino];

    pub fn as_str(self) -> &'static str {
        self.named().map_or("auto", Device::as_str)
    }

    /// The device, where one is asked for by name.
    pub fn named(self) -> Option<Device> {
        match self {
            Self::Auto => None,
            Self::Cpu => Some(Device::Cpu),
            Self::Cuda => Some(Device::Cuda),
            Self::TensorRt => Some(Device::TensorRt),
            Self::OpenVino => Some(Device::OpenVino),
        }
    }

    /// Devices to try, in order; the CPU, which always works, is the last.
    pub(super) fn candidates(self) -> Vec<Device> {
        match self {
            // One that ONNX Runtime was built without needs no trial, and is no news either.
            Self::Auto => [Device::Cuda, Device::OpenVino, Device::Cpu]
                .into_iter()
                .filter(|device| device.is_built_in())
                .collect(),
            Self::Cpu => vec![Device::Cpu],
            Self::Cuda => vec![Device::Cuda, Device::Cpu],
            Self::TensorRt => vec![Device::TensorRt, Device::Cpu],
            Self::OpenVino => vec![Device::OpenVino, Device::Cpu],
        }
    }
}

impl From<Device> for DeviceRequest {
    fn from(device: Device) -> Self {
        match device {
            Device::Cpu => Self::Cpu,
            Device::Cuda => Self::Cuda,
            Device::TensorRt => Self::TensorRt,
            Device::OpenVino => Self::OpenVino,
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for DeviceRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for DeviceRequest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|request| request.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no device; use auto, cpu, cuda, tensorrt or openvino"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_is_read_back_from_its_name() {
        for request in DeviceRequest::ALL {
            assert_eq!(request.as_str().parse(), Ok(request));
        }
        for device in Device::ALL {
            assert_eq!(DeviceRequest::from(device).named(), Some(device));
            assert_eq!(device.as_str().parse(), Ok(DeviceRequest::from(device)));
        }
    }

    #[test]
    fn an_unknown_device_is_refused_with_the_known_ones() {
        assert!("gpu".parse::<DeviceRequest>().unwrap_err().contains("auto, cpu, cuda"));
    }

    #[test]
    fn a_named_device_is_tried_before_the_cpu() {
        assert_eq!(DeviceRequest::Cuda.candidates(), [Device::Cuda, Device::Cpu]);
        assert_eq!(DeviceRequest::TensorRt.candidates(), [Device::TensorRt, Device::Cpu]);
        assert_eq!(DeviceRequest::Cpu.candidates(), [Device::Cpu]);
    }
}
