//! Finding and loading ONNX Runtime, once per process, when it is first needed.
//!
//! If `ORT_DYLIB_PATH` is set, it is that file or none. Else the newest `libonnxruntime.so*` of the first folder that
//! has a usable one: the `runtime` folder of each of the [`places`], then `LD_LIBRARY_PATH`, then
//! the system's library folders.
//!
//! A failure is not remembered: after the library was installed, the next [`get`] finds it.
//!
//! A process has one environment of ONNX Runtime. Where somebody else made it (an application, GStreamer's `onnxinference`), it is
//! used as it is: its log level stays, and where it has no thread pools for all sessions, each session has its own.

use std::ffi::{CStr, CString, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, Once, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use ort::environment::{Environment, GlobalThreadPoolOptions};
use ort::logging::LogLevel;
use ort::session::builder::SessionBuilder;

use super::error::{InferenceError, Searched};
use super::places;

/// The oldest ONNX Runtime that serves: 1.`MIN_MINOR`.
pub const MIN_MINOR: u32 = ort::MINOR_VERSION;

/// ONNX Runtime, loaded.
pub struct Runtime {
    pub(super) environment: Environment,
    path: PathBuf,
    version: String,
    /// Whether nobody else in the process made the environment.
    pub(super) is_own: bool,
    /// Whether sessions can share the environment's threads.
    pub(super) shares_threads: bool,
}

impl Runtime {
    /// For sessions of your own: there can be only one environment in a process.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The file it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For example `1.32.0`.
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// How grave a line of ONNX Runtime's log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Debug,
    Info,
    Warning,
    Error,
}

type LogHook = Arc<dyn Fn(Severity, &str) + Send + Sync>;

static RUNTIME: OnceLock<Runtime> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());
/// A line has come from an environment whose log is ours.
static HEARD: AtomicBool = AtomicBool::new(false);
static LOG: RwLock<Option<(Severity, LogHook)>> = RwLock::new(None);

/// The process's ONNX Runtime; loads it on the first call.
///
/// # Errors
/// [`InferenceError::RuntimeNotFound`] with every place searched, [`InferenceError::RuntimeStart`] if it is found but
/// broken.
pub fn get() -> Result<&'static Runtime, InferenceError> {
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    // A panic of another thread in here has left nothing half done.
    let _guard = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let runtime = load()?;
    Ok(RUNTIME.get_or_init(|| runtime))
}

/// Sends the lines of ONNX Runtime's own log that are at least as grave as `min` to `hook`, in the place of the hook
/// before. Without a hook they are dropped: errors reach the caller as results anyway.
///
/// The hook is called on any thread, and must not call back into this module.
pub fn set_log_hook(min: Severity, hook: impl Fn(Severity, &str) + Send + Sync + 'static) {
    *LOG.write().unwrap_or_else(PoisonError::into_inner) = Some((min, Arc::new(hook)));
    if let Some(runtime) = RUNTIME.get().filter(|runtime| runtime.is_own) {
        runtime.environment.set_log_level(log_level());
    }
}

/// What ONNX Runtime need not even format is below this.
pub(super) fn log_level() -> LogLevel {
    match LOG.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
        Some((Severity::Debug, _)) => LogLevel::Verbose,
        Some((Severity::Info, _)) => LogLevel::Info,
        Some((Severity::Warning, _)) => LogLevel::Warning,
        Some((Severity::Error, _)) | None => LogLevel::Error,
    }
}

fn log(level: LogLevel, location: &str, message: &str) {
    HEARD.store(true, Ordering::Relaxed);
    let severity = match level {
        LogLevel::Verbose => Severity::Debug,
        LogLevel::Info => Severity::Info,
        LogLevel::Warning => Severity::Warning,
        LogLevel::Error | LogLevel::Fatal => Severity::Error,
    };
    let hook = match LOG.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
        Some((min, hook)) if severity >= *min => hook.clone(),
        _ => return,
    };
    let line = format!("{location}: {message}");
    // The caller is C++, through which a panic must not unwind.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| hook(severity, &line)));
}

/// A library that can be used, as far as can be told without starting it.
struct Found {
    path: PathBuf,
    version: String,
}

fn load() -> Result<Runtime, InferenceError> {
    let Found { path, version } = find()?;
    let failed = |cause: String| InferenceError::RuntimeStart { path: path.clone(), cause };
    // `ort` panics in places where a library is not what it seems; `find` has looked at all that it asserts.
    let environment = ort::init_from(&path)
        .map_err(|error| failed(error.to_string()))?
        .with_name("deepfake")
        .with_telemetry(false)
        .with_global_thread_pool(thread_pool().map_err(|error| failed(error.to_string()))?)
        .with_logger(Arc::new(|level, _category: &str, _id: &str, location: &str, message: &str| {
            log(level, location, message);
        }))
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let shares_threads = try_session(&environment, false, None).is_ok();
    if !shares_threads {
        try_session(&environment, true, None).map_err(|error| failed(error.to_string()))?;
    }
    // One of ours says so in our log.
    let is_own = shares_threads
        && try_session(&environment, false, Some(LogLevel::Verbose)).is_ok()
        && HEARD.load(Ordering::Relaxed);
    if is_own {
        environment.set_log_level(log_level());
    }
    static AT_EXIT: Once = Once::new();
    // After the library was opened, so that it is called before the library's own destructors.
    // SAFETY: the function is one that may be called when the process ends.
    AT_EXIT.call_once(|| {
        let _ = unsafe { libc::atexit(wait_until_idle) };
    });
    Ok(Runtime { environment, path, version, is_own, shares_threads })
}

/// A graph that gives back its one number.
const IDENTITY: &[u8] = b"\x08\x08\x42\x02\x10\x0d\x3a\x37\
    \x0a\x10\x0a\x01x\x12\x01y\x22\x08Identity\x12\x01g\
    \x5a\x0f\x0a\x01x\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x01\
    \x62\x0f\x0a\x01y\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x01";

/// Makes a session, which tells what the environment offers and whose it is.
fn try_session(environment: &Environment, has_own_threads: bool, log: Option<LogLevel>) -> Result<(), ort::Error> {
    let mut builder = SessionBuilder::new(environment)?;
    if let Some(level) = log {
        builder = builder.with_log_level(level)?;
    }
    if has_own_threads {
        builder = builder.with_independent_thread_pool()?.with_intra_threads(1)?;
    }
    builder.commit_from_memory(IDENTITY).map(drop)
}

/// Somebody is at work with ONNX Runtime, whose destructors must not run meanwhile. The process waits for that when it ends.
pub struct Busy(());

static BUSY: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// How long the end of the process waits: an engine that is being built may take minutes.
const MAX_EXIT_WAIT: Duration = Duration::from_secs(5);

impl Busy {
    pub fn begin() -> Self {
        *BUSY.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Self(())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *BUSY.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        BUSY.1.notify_all();
    }
}

extern "C" fn wait_until_idle() {
    let busy = BUSY.0.lock().unwrap_or_else(PoisonError::into_inner);
    drop(BUSY.1.wait_timeout_while(busy, MAX_EXIT_WAIT, |busy| *busy > 0));
}

/// The threads of all sessions that were not given a number of their own: as many as there are cores, however many sessions.
fn thread_pool() -> Result<GlobalThreadPoolOptions, ort::Error> {
    // Idle threads that spin would take the cores from decoding and drawing between two frames.
    GlobalThreadPoolOptions::default().with_inter_threads(1)?.with_spin_control(false)
}

fn find() -> Result<Found, InferenceError> {
    let mut searched = vec![];
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        // `ort` would look beside the program first.
        let path = std::path::absolute(&path).unwrap_or_else(|_| path.into());
        match probe(&path) {
            Ok(version) => return Ok(Found { path, version }),
            Err(cause) => searched.push(Searched { path, cause: format!("named by ORT_DYLIB_PATH, {cause}") }),
        }
        return Err(InferenceError::RuntimeNotFound { searched });
    }
    for folder in folders() {
        let files = libraries(&folder);
        if files.is_empty() {
            let cause = if folder.is_dir() { "has no libonnxruntime.so*" } else { "does not exist" };
            searched.push(Searched { path: folder, cause: cause.into() });
        }
        for path in files {
            match probe(&path) {
                Ok(version) => return Ok(Found { path, version }),
                Err(cause) => searched.push(Searched { path, cause }),
            }
        }
    }
    Err(InferenceError::RuntimeNotFound { searched })
}

fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = places::places().into_iter().map(|place| place.runtime).collect();
    if let Some(path) = std::env::var_os("LD_LIBRARY_PATH") {
        folders.extend(std::env::split_paths(&path).filter(|path| path.is_absolute()));
    }
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    for prefix in ["/usr/local", "/usr"] {
        folders.extend(
            [format!("{prefix}/lib/{triplet}"), format!("{prefix}/lib64"), format!("{prefix}/lib")].map(PathBuf::from),
        );
    }
    let mut unique: Vec<PathBuf> = vec![];
    for folder in folders {
        if !unique.contains(&folder) {
            unique.push(folder);
        }
    }
    unique
}

/// The folder's `libonnxruntime.so*`, newest version first.
fn libraries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return vec![] };
    let mut found: Vec<(Vec<u32>, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix("libonnxruntime.so")?;
            let version = match version.strip_prefix('.') {
                Some(numbers) => numbers.split('.').map(|number| number.parse().ok()).collect::<Option<Vec<u32>>>()?,
                None if version.is_empty() => vec![],
                None => return None,
            };
            Some((version, entry.path()))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}

/// Version of the library, or why it cannot be used.
fn probe(path: &Path) -> Result<String, String> {
    if !path.exists() {
        return Err("does not exist".into());
    }
    if !path.is_file() {
        return Err("is not a file".into());
    }
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| "has a zero byte in its path".to_string())?;
    // SAFETY: runs the library's constructors, as any use of it does.
    let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL) };
    if library.is_null() {
        return Err(format!("cannot be opened: {}", dl_error()));
    }
    let version = version_of(library);
    if version.is_err() {
        // SAFETY: opened above, and nothing of it is kept. A library that serves is kept open for good instead.
        unsafe { libc::dlclose(library) };
    }
    version
}

fn version_of(library: *mut c_void) -> Result<String, String> {
    // SAFETY: `OrtGetApiBase` has had this signature since 1.0; what it returns lives as long as the library.
    let (base, version) = unsafe {
        let symbol = libc::dlsym(library, c"OrtGetApiBase".as_ptr());
        if symbol.is_null() {
            return Err("is not ONNX Runtime: it has no OrtGetApiBase".into());
        }
        let get_base: unsafe extern "C" fn() -> *const ort::sys::OrtApiBase = std::mem::transmute(symbol);
        let base = get_base();
        if base.is_null() {
            return Err("is broken: OrtGetApiBase returns nothing".into());
        }
        let version = ((*base).GetVersionString)() as *const c_char;
        if version.is_null() {
            return Err("is broken: it has no version".into());
        }
        (base, CStr::from_ptr(version).to_string_lossy().into_owned())
    };
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    let (Some(Some(major)), Some(Some(minor))) = (numbers.next(), numbers.next()) else {
        return Err(format!("is broken: its version is `{version}`"));
    };
    if (major, minor) < (1, MIN_MINOR) {
        return Err(format!("is version {version}, too old: 1.{MIN_MINOR} or newer is needed"));
    }
    // SAFETY: as above.
    if unsafe { ((*base).GetApi)(ort::sys::ORT_API_VERSION) }.is_null() {
        return Err(format!("is version {version}, which does not serve the interface of 1.{MIN_MINOR}"));
    }
    Ok(version)
}

fn dl_error() -> String {
    // SAFETY: dlerror() returns null or a C string that is valid until the thread's next dl call.
    unsafe {
        let text = libc::dlerror();
        if text.is_null() { "unknown error".into() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_library_of_a_folder_is_taken_and_providers_are_not() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "libonnxruntime.so",
            "libonnxruntime.so.1",
            "libonnxruntime.so.1.9.0",
            "libonnxruntime.so.1.32.0",
            "libonnxruntime.so.bak",
            "libonnxruntime_providers_shared.so",
        ] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let names: Vec<_> = libraries(folder.path()).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
        assert_eq!(
            names,
            ["libonnxruntime.so.1.32.0", "libonnxruntime.so.1.9.0", "libonnxruntime.so.1", "libonnxruntime.so"]
        );
    }

    #[test]
    fn what_is_no_library_is_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libonnxruntime.so");
        assert!(probe(&path).unwrap_err().contains("does not exist"));
        for bytes in [vec![], vec![b'x'; 5000]] {
            std::fs::write(&path, bytes).unwrap();
            let cause = probe(&path).unwrap_err();
            assert!(cause.starts_with("cannot be opened: ") && cause.contains("libonnxruntime.so"), "{cause}");
        }
        assert!(probe(folder.path()).unwrap_err().contains("not a file"));
    }

    #[test]
    fn a_library_of_something_else_is_refused() {
        let libc = std::fs::read_to_string("/proc/self/maps")
            .unwrap()
            .lines()
            .filter_map(|line| line.split_whitespace().nth(5))
            .find(|path| path.contains("/libc.so"))
            .map(PathBuf::from)
            .unwrap();
        assert!(probe(&libc).unwrap_err().contains("OrtGetApiBase"));
    }
}
