//! Packages come from anywhere: reading one says what is wrong and does nothing else.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use deepfake_engine::inference::{DeviceRequest, Model, ModelPackage, SessionOptions};
use ndarray::{Array2, Array4};
use proptest::prelude::*;

use crate::common::{Package, data, example_model, sha256};
use crate::{any_damage, damaged, fuzz};

/// Values that somebody may try.
const TRIED: [&str; 31] = [
    "0",
    "-1",
    "1e308",
    "nan",
    "inf",
    "-inf",
    "99999999999999999999",
    "18446744073709551615",
    "[]",
    "[1.0, 2.0]",
    "[255.0, 0.0]",
    "{}",
    "{a = 1}",
    "true",
    "\"\"",
    "\"\"\"",
    "\"../../etc/passwd\"",
    "\"/dev/zero\"",
    "\"encoder.onnx/../encoder.onnx\"",
    "\"frame\"",
    "\"sequence\"",
    "\"five-point\"",
    "[head]\n",
    "[whole]\n",
    "[encoder.on.cuda]\nfile = \"../encoder.onnx\"\nsha256 = ",
    "[[head]]\n",
    "[calibration]\n",
    "\nslope = -1.0\n",
    "\n",
    "=",
    "\u{feff}",
];

/// Accepted packages keep what the documentation of the format promises.
fn is_sound(package: &ModelPackage) -> Result<(), TestCaseError> {
    let ModelPackage { input, window, calibration, .. } = package;
    prop_assert!((16..=1024).contains(&input.width) && (16..=1024).contains(&input.height));
    prop_assert!(input.range.iter().chain(&input.mean).all(|value| value.is_finite()));
    prop_assert!(input.range[0] < input.range[1]);
    prop_assert!(input.std.iter().all(|value| value.is_finite() && *value > 0.0));
    prop_assert!(input.margin.is_none_or(|margin| (1.0..=4.0).contains(&margin)));
    prop_assert!((1..=1000).contains(&window.frames) && (1..=window.frames).contains(&window.least_frames));
    prop_assert!((0.1..=120.0).contains(&window.rate_hz));
    prop_assert!(calibration.slope > 0.0 && calibration.slope.is_finite() && calibration.bias.is_finite());
    prop_assert!(0.0 <= calibration.authentic_threshold);
    prop_assert!(calibration.authentic_threshold <= calibration.fake_threshold && calibration.fake_threshold <= 1.0);
    let likely = calibration.probability(3.0);
    prop_assert!((0.0..=1.0).contains(&likely) && likely >= calibration.probability(-3.0));
    for file in package.graphs.all().into_iter().flat_map(|graph| graph.on.values().chain([&graph.file])) {
        prop_assert_eq!(file.path.parent(), Some(package.dir.as_path()));
        let (real, dir) = (file.path.canonicalize().unwrap(), package.dir.canonicalize().unwrap());
        prop_assert_eq!(real.parent(), Some(dir.as_path()));
    }
    Ok(())
}

/// The package in `dir` is accepted and sound, or refused with a reason. Returns whether it is accepted.
fn is_sound_or_refused(dir: &Path) -> Result<bool, TestCaseError> {
    match ModelPackage::load(dir) {
        Ok(package) => is_sound(&package)?,
        Err(error) => {
            prop_assert!(error.to_string().len() > 10);
            return Ok(false);
        }
    }
    Ok(true)
}

/// The description of the tests' package, of those in the repository, and the documented one.
fn descriptions() -> Vec<Vec<u8>> {
    let models = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models");
    let mut paths: Vec<_> =
        std::fs::read_dir(models).unwrap().map(|entry| entry.unwrap().path().join("model.toml")).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    paths.push(example_model());
    // Only the first has its graphs beside it, and can be accepted.
    let tiny = vec![Package::sequence().toml.into_bytes(); paths.len()];
    tiny.into_iter().chain(paths.into_iter().map(|path| std::fs::read(path).unwrap())).collect()
}

#[test]
fn fuzz_descriptions() {
    let package = Package::sequence();
    let path = package.dir.path().join("model.toml");
    fuzz::check(500, (prop::sample::select(descriptions()), any_damage(&TRIED)), |(text, damage)| {
        std::fs::write(&path, damaged(&text, &damage)).unwrap();
        is_sound_or_refused(package.dir.path()).map(drop)
    });
}

/// The values of `model.toml`, one or two of them another.
#[test]
fn fuzz_values_of_descriptions() {
    let package = Package::sequence();
    let path = package.dir.path().join("model.toml");
    let value = prop_oneof![
        2 => prop::sample::select(&TRIED[..]).prop_map(String::from),
        1 => any::<i64>().prop_map(|value| value.to_string()),
        2 => (0..2000i64).prop_map(|value| value.to_string()),
        2 => any::<f32>().prop_map(|value| format!("{value:?}")),
        1 => "\\PC{0,20}",
    ];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), value), 1..3);
    fuzz::check(500, changes, |changes| {
        let mut lines: Vec<String> = package.toml.lines().map(String::from).collect();
        lines.push("[calibration]\nslope = 1.0".into());
        for (place, value) in changes {
            let index = place.index(lines.len());
            if let Some((key, _)) = lines[index].rsplit_once('=') {
                lines[index] = format!("{key}= {value}");
            }
        }
        std::fs::write(&path, lines.join("\n")).unwrap();
        is_sound_or_refused(package.dir.path()).map(drop)
    });
}

/// Names of graphs lead to no other folder, whatever they are made of.
#[test]
fn fuzz_names_of_graphs() {
    let package = Package::sequence();
    let dir = package.dir.path();
    // Something to be found where nothing may be looked for.
    std::fs::create_dir(dir.join("inside")).unwrap();
    std::fs::copy(data("encoder.onnx"), dir.join("inside/encoder.onnx")).unwrap();
    const PARTS: [&str; 14] =
        ["..", ".", "/", "//", "inside", "encoder.onnx", "\\", "~", "\0", " ", "\n", "%2e%2e", "\u{2215}", "$HOME"];
    let absolute = dir.display().to_string();
    let parts = prop::collection::vec(prop::sample::select(&PARTS[..]), 0..6);
    fuzz::check(500, (parts, any::<bool>()), |(parts, from_root)| {
        let name = if from_root { format!("{absolute}{}", parts.concat()) } else { parts.concat() };
        let line = format!("file = {}", toml::Value::String(name.clone()));
        std::fs::write(dir.join("model.toml"), package.toml.replacen("file = \"encoder.onnx\"", &line, 1)).unwrap();
        if is_sound_or_refused(dir)? {
            prop_assert_eq!(name, "encoder.onnx");
        }
        Ok(())
    });
}

/// Keeps a graph that asks for the memory of the whole machine from getting it.
fn limit_memory() {
    static ONCE: LazyLock<()> = LazyLock::new(|| {
        let most = libc::rlimit { rlim_cur: 8 << 30, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: sets a number of this process.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const most) }, 0);
    });
    *ONCE;
}

/// Graphs whose bytes are damaged, but whose checksum is right: a package of somebody who means harm.
#[test]
fn fuzz_graphs() {
    limit_memory();
    let files = ["encoder.onnx", "head.onnx"];
    let whole = files.map(|file| std::fs::read(data(file)).unwrap());
    let package = Package::sequence();
    let dir = package.dir.path();
    const WORDS: [&str; 10] =
        ["", "\x08\x01", "\u{7f}", "Loop", "If", "Cast", "Reshape", "ai.onnx.ml", "\x0a\x00", "crops"];
    let options = SessionOptions { device: DeviceRequest::Cpu, require_device: false, threads: 1 };
    fuzz::check(300, (0..2usize, any_damage(&WORDS)), |(which, damage)| {
        let bytes = damaged(&whole[which], &damage);
        std::fs::write(dir.join(files[which]), &bytes).unwrap();
        let described = package.toml.replacen(&sha256(&whole[which]), &sha256(&bytes), 1);
        std::fs::write(dir.join("model.toml"), described).unwrap();
        let loaded = ModelPackage::load(dir).and_then(|package| Model::load(package, &options));
        std::fs::copy(data(files[which]), dir.join(files[which])).unwrap();
        let model = match loaded {
            Ok(model) => model,
            Err(error) => {
                prop_assert!(error.to_string().len() > 10);
                return Ok(());
            }
        };
        for value in [0.0, 255.0] {
            let Ok(encoded) = model.encode(Array4::from_elem((2, 3, 16, 16), value).view_mut()) else { continue };
            prop_assert!(encoded.iter().all(|one| one.feature.len() == 3 && one.feature.iter().all(|v| v.is_finite())));
        }
        if let Ok(logits) = model.head(&[Array2::from_elem((3, 3), 0.5).view()]) {
            prop_assert!(logits.len() == 1 && !logits[0].is_nan());
        }
        Ok(())
    });
}
