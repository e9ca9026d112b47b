//! What several tests need: the plugin in this process, a model package small enough to work out by hand what it says, and
//! what `make deps` installs.

// Every test is a crate of its own and uses only some of this.
#![allow(dead_code)]

pub mod rtsp;

use std::path::{Path, PathBuf};

use deepfake_engine::inference::{InferenceError, ModelPackage};
use sha2::{Digest, Sha256};

/// Starts GStreamer and registers the plugin; as often as one likes.
pub fn init() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        gst::init().unwrap();
        gstdeepfake::plugin_register_static().unwrap();
    });
}

/// The workspace's folder: this file is part of the tests of several packages.
pub fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().find(|folder| folder.join("Cargo.lock").is_file()).expect("the workspace has a Cargo.lock")
}

/// What `make deps` installs.
fn installed(name: &str) -> PathBuf {
    root().join(".deps").join(name)
}

/// A clip that `make deps` installs.
#[track_caller]
pub fn clip(name: &str) -> PathBuf {
    let path = installed("clips").join(name);
    assert!(path.is_file(), "{} is missing: run `make deps`", path.display());
    path
}

/// The installed face detector; `None`, loudly, where there is none.
pub fn detector() -> Option<PathBuf> {
    let path = installed("detectors/centerface.onnx");
    if !path.is_file() {
        eprintln!("SKIPPED: no {}; run `make deps`", path.display());
        return None;
    }
    Some(path)
}

/// Properties of `deepfakedetect`: the installed face detector, or faces from upstream where there is none.
pub fn faces() -> String {
    match detector() {
        Some(path) => format!("face-detector={}", path.display()),
        None => "face-source=upstream".into(),
    }
}

/// The tiny model under this name, written down. Its crops have 16×16 pixels; it scores from the second on.
pub fn model(name: &str) -> Package {
    let package = Package::sequence().change("\"tiny\"", &format!("\"{name}\""));
    package.read().unwrap();
    package
}

pub fn data(file: &str) -> PathBuf {
    root().join("tests/data").join(file)
}

/// The description that the documentation of the format shows.
pub fn example_model() -> PathBuf {
    root().join("crates/engine/src/inference/example-model.toml")
}

/// A package in a temporary folder, from parts that a test may change.
pub struct Package {
    pub dir: tempfile::TempDir,
    pub toml: String,
}

/// What this process has asked the C library for and not given back.
pub fn heap_bytes() -> usize {
    // SAFETY: it only reads what the allocator counts.
    let heap = unsafe { libc::mallinfo2() };
    heap.uordblks + heap.hblkhd
}

/// As `model.toml` has it.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn table(name: &str, file: &str, input: &str, output: &str) -> String {
    let sha256 = sha256(&std::fs::read(data(file)).unwrap());
    format!("[{name}]\nfile = \"{file}\"\nsha256 = \"{sha256}\"\ninput = \"{input}\"\noutput = \"{output}\"\n")
}

impl Package {
    pub fn new(kind: &str, graphs: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for line in graphs.lines() {
            if let Some(file) = line.strip_prefix("file = ") {
                let file = file.trim_matches('"');
                std::fs::copy(data(file), dir.path().join(file)).unwrap();
            }
        }
        let toml = format!(
            "[model]\nname = \"tiny\"\nversion = \"1.0\"\nkind = \"{kind}\"\n\
             [input]\nwidth = 16\nheight = 16\nmargin = 1.3\n\
             [window]\nframes = 4\nrate_hz = 15.0\nleast_frames = 2\n\
             [output]\nfake_index = 1\n{graphs}"
        );
        Self { dir, toml }
    }

    /// Mean colour, then (mean green, mean red) of the window as scores (real, fake).
    pub fn sequence() -> Self {
        Self::with_encoder("encoder.onnx", "features")
    }

    pub fn with_encoder(file: &str, output: &str) -> Self {
        let encoder = table("encoder", file, "crops", output);
        let head = table("head", "head.onnx", "windows", "scores");
        Self::new("sequence", &format!("{encoder}feature_length = 3\n{head}"))
    }

    #[track_caller]
    pub fn change(mut self, from: &str, to: &str) -> Self {
        assert!(self.toml.contains(from), "{}", self.toml);
        self.toml = self.toml.replacen(from, to, 1);
        self
    }

    /// The folder, as the property `model` takes it.
    pub fn path(&self) -> String {
        self.dir.path().display().to_string()
    }

    pub fn read(&self) -> Result<ModelPackage, InferenceError> {
        std::fs::write(self.dir.path().join("model.toml"), &self.toml).unwrap();
        ModelPackage::load(self.dir.path())
    }
}
