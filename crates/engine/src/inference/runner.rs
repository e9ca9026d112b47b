//! A session of one graph on one device, ready to run; and what it takes to make those of all graphs.

use ort::session::Session;

use super::device::Device;
use super::graph::{self, GraphFile};

/// The devices of a machine; in tests, which have none to lose, made-up ones.
pub(super) trait Devices: Send + Sync {
    /// A session of the graph on this device.
    ///
    /// # Errors
    /// Why there is none.
    fn open(&self, file: &GraphFile, device: Device, threads: usize) -> Result<Session, String>;
}

/// Those of this machine.
pub(super) struct Installed;

impl Devices for Installed {
    fn open(&self, file: &GraphFile, device: Device, threads: usize) -> Result<Session, String> {
        graph::open(file, device, threads)
    }
}

/// What sessions are made from.
pub(super) struct Plan {
    pub files: Vec<GraphFile>,
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
        let open = |file| self.devices.open(file, device, self.threads).map_err(|cause| (file, cause));
        let runner = |session| Runner { session, device };
        self.files.iter().map(|file| open(file.on(device)).map(runner)).collect()
    }
}

/// A session, and where it runs.
pub(super) struct Runner {
    pub session: Session,
    pub device: Device,
}
