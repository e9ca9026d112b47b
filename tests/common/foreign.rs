//! Another user of ONNX Runtime in the same process.

// Not every test reads the log.
#![allow(dead_code)]

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What an application does that uses ONNX Runtime by itself: an environment without thread pools, which logs errors only.
pub struct ForeignEnvironment;

static HOST_LINES: AtomicUsize = AtomicUsize::new(0);

impl ForeignEnvironment {
    pub fn new(path: &Path) -> Self {
        extern "system" fn log(
            _: *mut std::ffi::c_void,
            level: ort::sys::OrtLoggingLevel,
            _: *const std::ffi::c_char,
            _: *const std::ffi::c_char,
            _: *const std::ffi::c_char,
            _: *const std::ffi::c_char,
        ) {
            if (level as u32) < (ort::sys::OrtLoggingLevel::ORT_LOGGING_LEVEL_ERROR as u32) {
                HOST_LINES.fetch_add(1, Ordering::SeqCst);
            }
        }
        let name = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: functions with the signatures of ONNX Runtime's C API; the environment is never released.
        unsafe {
            let library = libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
            let symbol = libc::dlsym(library, c"OrtGetApiBase".as_ptr());
            let get_base: unsafe extern "C" fn() -> *const ort::sys::OrtApiBase = std::mem::transmute(symbol);
            let api = ((*get_base()).GetApi)(ort::sys::ORT_API_VERSION);
            let mut environment = std::ptr::null_mut();
            let status = ((*api).CreateEnvWithCustomLogger)(
                log,
                std::ptr::null_mut(),
                ort::sys::OrtLoggingLevel::ORT_LOGGING_LEVEL_ERROR,
                c"host".as_ptr(),
                &mut environment,
            );
            assert!(status.0.is_null() && !environment.is_null());
        }
        Self
    }

    /// Lines below errors that its log was given.
    pub fn lines(&self) -> usize {
        HOST_LINES.load(Ordering::SeqCst)
    }
}
