//! The folders in which models, detectors and ONNX Runtime are looked for.
//!
//! In this order:
//!
//! 1. each folder in `DEEPFAKE_PATH` (separated by colons);
//! 2. the checkout, if the library or the command lies in its `target/`: `models/` and `.deps/` there;
//! 3. `PREFIX/share/gst-plugin-deepfake`, if the library lies in `PREFIX/lib/[TRIPLET/]gstreamer-1.0` or the
//!    command in `PREFIX/bin`;
//! 4. `$XDG_DATA_HOME/gst-plugin-deepfake` (`~/.local/share/…` where it is not set);
//! 5. `/usr/local/share/gst-plugin-deepfake` and `/usr/share/gst-plugin-deepfake`.
//!
//! In each, models lie in `models/NAME` and detectors in `detectors/FILE`. ONNX Runtime lies in `onnxruntime/`,
//! or for an installed prefix in `PREFIX/lib/gst-plugin-deepfake/`.

use std::ffi::{CStr, OsString};
use std::path::{Path, PathBuf};

use super::error::{InferenceError, Searched};

const NAME: &str = "gst-plugin-deepfake";

/// One place: the folders in it need not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Model packages, a folder each.
    pub models: PathBuf,
    /// ONNX files of face detectors.
    pub detectors: PathBuf,
    /// May hold `libonnxruntime.so*`.
    pub runtime: PathBuf,
}

/// What decides on the places, apart so that it can be tested.
struct Surroundings {
    deepfake_path: Option<OsString>,
    xdg_data_home: Option<OsString>,
    home: Option<OsString>,
    /// Absolute path of the library or command that this code is in.
    binary: Option<PathBuf>,
}

/// All places, best first.
pub fn places() -> Vec<Place> {
    let here = Surroundings {
        deepfake_path: std::env::var_os("DEEPFAKE_PATH"),
        xdg_data_home: std::env::var_os("XDG_DATA_HOME"),
        home: std::env::var_os("HOME"),
        binary: own_binary(),
    };
    here.places()
}

/// The folder of model `name`: the first place that has a `models/NAME/model.toml`.
///
/// # Errors
/// [`InferenceError::NotInstalled`] with every place searched.
pub fn find_model(name: &str) -> Result<PathBuf, InferenceError> {
    let folders = places().into_iter().map(|place| place.models.join(name));
    first_existing("model", name, folders, |folder| folder.join("model.toml").is_file())
}

/// The file of detector `file`, for example `centerface.onnx`.
///
/// # Errors
/// [`InferenceError::NotInstalled`] with every place searched.
pub fn find_detector(file: &str) -> Result<PathBuf, InferenceError> {
    let files = places().into_iter().map(|place| place.detectors.join(file));
    first_existing("face detector", file, files, Path::is_file)
}

/// Folders of all installed models, those that [`find_model`] would take, sorted by name.
pub fn installed_models() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = vec![];
    for place in places() {
        let Ok(entries) = std::fs::read_dir(&place.models) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.join("model.toml").is_file() && !found.iter().any(|other| other.file_name() == path.file_name()) {
                found.push(path);
            }
        }
    }
    found.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    found
}

fn first_existing(
    what: &'static str,
    name: &str,
    candidates: impl Iterator<Item = PathBuf>,
    exists: impl Fn(&Path) -> bool,
) -> Result<PathBuf, InferenceError> {
    let mut searched = vec![];
    // A name such as `../x` would leave the places.
    let plain = is_plain_name(name);
    for path in candidates {
        if plain && exists(&path) {
            return Ok(path);
        }
        let cause = if path.is_dir() { "has no model.toml" } else { "does not exist" };
        searched.push(Searched { path, cause: cause.into() });
    }
    Err(InferenceError::NotInstalled { what, name: name.into(), searched })
}

/// Whether `name` names something right inside a folder.
pub(super) fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!(parts.next(), Some(std::path::Component::Normal(part)) if part == name)
        && parts.next().is_none()
        && !name.contains('\0')
}

impl Surroundings {
    fn places(&self) -> Vec<Place> {
        let mut places = vec![];
        for root in
            self.deepfake_path.iter().flat_map(std::env::split_paths).filter(|path| !path.as_os_str().is_empty())
        {
            places.push(if root.join(".deps").is_dir() { Place::checkout(&root) } else { Place::folder(&root) });
        }
        if let Some(binary) = &self.binary {
            places.extend(checkout_of(binary).map(Place::checkout));
            places.extend(prefix_of(binary).map(Place::prefix));
        }
        let data_home = match (&self.xdg_data_home, &self.home) {
            // The specification says to ignore relative paths.
            (Some(path), _) if Path::new(path).is_absolute() => Some(PathBuf::from(path)),
            (_, Some(home)) if !home.is_empty() => Some(Path::new(home).join(".local/share")),
            _ => None,
        };
        places.extend(data_home.map(|path| Place::folder(&path.join(NAME))));
        places.extend(["/usr/local", "/usr"].map(|prefix| Place::prefix(Path::new(prefix))));

        let mut unique: Vec<Place> = vec![];
        for place in places {
            if !unique.contains(&place) {
                unique.push(place);
            }
        }
        unique
    }
}

impl Place {
    fn folder(root: &Path) -> Self {
        Self { models: root.join("models"), detectors: root.join("detectors"), runtime: root.join("onnxruntime") }
    }

    fn checkout(root: &Path) -> Self {
        Self { models: root.join("models"), ..Self::folder(&root.join(".deps")) }
    }

    fn prefix(prefix: &Path) -> Self {
        Self { runtime: prefix.join("lib").join(NAME), ..Self::folder(&prefix.join("share").join(NAME)) }
    }
}

/// The checkout in whose `target/` the binary was built.
fn checkout_of(binary: &Path) -> Option<&Path> {
    binary
        .ancestors()
        .filter(|path| path.file_name().is_some_and(|name| name == "target"))
        .filter_map(Path::parent)
        .find(|root| root.join("models").is_dir() || root.join(".deps").is_dir())
}

/// The prefix into which the binary was installed.
fn prefix_of(binary: &Path) -> Option<&Path> {
    let named = |path: &Path, names: &[&str]| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| names.contains(&name))
    };
    let folder = binary.parent()?;
    if named(folder, &["bin"]) {
        return folder.parent();
    }
    if !named(folder, &["gstreamer-1.0"]) {
        return None;
    }
    // lib/gstreamer-1.0, or lib/TRIPLET/gstreamer-1.0
    folder.ancestors().skip(1).take(2).find(|path| named(path, &["lib", "lib64"]))?.parent()
}

/// Absolute path of the library or command that this function was linked into.
fn own_binary() -> Option<PathBuf> {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: the address is one of our own functions, and `info` is written before it is read: dladdr() returns
    // non-zero only then, and `dli_fname` is a C string that lives as long as the library is loaded.
    let name = unsafe {
        if libc::dladdr(own_binary as *const libc::c_void, info.as_mut_ptr()) == 0 {
            return None;
        }
        let info = info.assume_init();
        if info.dli_fname.is_null() {
            return None;
        }
        CStr::from_ptr(info.dli_fname).to_string_lossy().into_owned()
    };
    // For the main program the linker only knows argv[0], which need not be a path.
    if name.contains(".so") { Path::new(&name).canonicalize().ok() } else { std::env::current_exe().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings(binary: &Path) -> Surroundings {
        Surroundings { deepfake_path: None, xdg_data_home: None, home: None, binary: Some(binary.into()) }
    }

    fn models(surroundings: &Surroundings) -> Vec<PathBuf> {
        surroundings.places().into_iter().map(|place| place.models).collect()
    }

    #[test]
    fn deepfake_path_comes_first_and_may_name_several_folders() {
        let here =
            Surroundings { deepfake_path: Some("/a::/b".into()), ..surroundings(Path::new("/opt/x/bin/deepfake")) };
        let found = models(&here);
        assert_eq!(found[0], Path::new("/a/models"));
        assert_eq!(found[1], Path::new("/b/models"));
        assert_eq!(found[2], Path::new("/opt/x/share/gst-plugin-deepfake/models"));
    }

    #[test]
    fn a_binary_in_target_finds_its_checkout() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("models")).unwrap();
        for binary in ["target/release/libgstdeepfake.so", "target/debug/deps/places-0123", "target/debug/deepfake"] {
            let place = &surroundings(&root.path().join(binary)).places()[0];
            assert_eq!(place.models, root.path().join("models"));
            assert_eq!(place.detectors, root.path().join(".deps/detectors"));
            assert_eq!(place.runtime, root.path().join(".deps/onnxruntime"));
        }
    }

    #[test]
    fn a_target_folder_without_models_is_no_checkout() {
        let root = tempfile::tempdir().unwrap();
        let found = models(&surroundings(&root.path().join("target/release/libgstdeepfake.so")));
        assert_eq!(found[0], Path::new("/usr/local/share/gst-plugin-deepfake/models"));
    }

    #[test]
    fn an_installed_library_finds_its_prefix() {
        for binary in [
            "/opt/y/lib/gstreamer-1.0/libgstdeepfake.so",
            "/opt/y/lib/x86_64-linux-gnu/gstreamer-1.0/libgstdeepfake.so",
            "/opt/y/lib64/gstreamer-1.0/libgstdeepfake.so",
            "/opt/y/bin/deepfake",
        ] {
            let place = &surroundings(Path::new(binary)).places()[0];
            assert_eq!(place.models, Path::new("/opt/y/share/gst-plugin-deepfake/models"), "{binary}");
            assert_eq!(place.runtime, Path::new("/opt/y/lib/gst-plugin-deepfake"), "{binary}");
        }
    }

    #[test]
    fn the_data_home_is_used_and_a_relative_one_is_not() {
        let here = |xdg: &str| Surroundings {
            deepfake_path: None,
            xdg_data_home: Some(xdg.into()),
            home: Some("/home/me".into()),
            binary: None,
        };
        assert_eq!(models(&here("/data"))[0], Path::new("/data/gst-plugin-deepfake/models"));
        assert_eq!(models(&here("data"))[0], Path::new("/home/me/.local/share/gst-plugin-deepfake/models"));
    }

    #[test]
    fn the_system_is_searched_last_and_only_once() {
        let found = models(&surroundings(Path::new("/usr/bin/deepfake")));
        assert_eq!(
            found,
            [
                Path::new("/usr/share/gst-plugin-deepfake/models"),
                Path::new("/usr/local/share/gst-plugin-deepfake/models")
            ]
        );
    }

    #[test]
    fn names_that_leave_a_folder_are_not_plain() {
        for name in ["a", "cnn-lstm", "a.onnx", "..a"] {
            assert!(is_plain_name(name), "{name}");
        }
        for name in ["", ".", "..", "../a", "a/b", "/a", "a/", "./a", "a\0"] {
            assert!(!is_plain_name(name), "{name:?}");
        }
    }

    #[test]
    fn what_is_not_installed_is_reported_with_every_place() {
        let error = find_detector("no-such-detector.onnx").unwrap_err();
        let text = error.to_string();
        for place in places() {
            assert!(text.contains(&place.detectors.display().to_string()), "{text}");
        }
        assert!(text.contains("DEEPFAKE_PATH") && text.contains("make deps"), "{text}");
    }
}
