//! Values at random, many of them.

use std::fmt::Debug;
use std::time::Duration;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};

/// Runs `test` on `cases` values of `strategy`; with DEEPFAKE_FUZZ_SECONDS on as many as that time of the processor allows. Panics with
/// the smallest value found for which it fails.
#[track_caller]
pub fn check<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value) -> TestCaseResult)
where
    S::Value: Debug,
{
    let budget = std::env::var("DEEPFAKE_FUZZ_SECONDS").ok();
    let budget = budget.map(|seconds| Duration::from_secs(seconds.parse().expect("DEEPFAKE_FUZZ_SECONDS is a number")));
    let (began, mut done) = (processor_time(), 0u64);
    loop {
        let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
        if let Err(error) = runner.run(&strategy, &test) {
            panic!("after {done} cases or more: {error}");
        }
        done += u64::from(cases);
        let spent = processor_time() - began;
        if budget.is_none_or(|budget| spent >= budget) {
            println!("{done} cases in {:.0} s of the processor", spent.as_secs_f64());
            return;
        }
    }
}

/// That this process has used.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place for the answer is valid.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
