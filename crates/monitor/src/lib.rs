//! deepfake-monitor: watches many feeds round the clock, records what it saw and when it was not
//! watching.
//!
//! | module | what lives there |
//! |---|---|
//! | [`config`] | the configuration, read and checked |
//! | [`channel`] | liveness, states, coverage ledger and incidents of one feed: pure |
//! | [`store`] | what is recorded, and what may go |
//! | [`evidence`] | the files of clips |
//! | [`protocol`] | what supervisor and workers say to each other |
//! | [`worker`] | the process that decodes and analyses: GStreamer is only there |
//! | [`supervisor`] | assigns channels to workers, replaces workers, records |
//! | [`sink`] | events out |
//! | [`web`] | the page, the API, the metrics |

pub mod channel;
pub mod config;
pub mod evidence;
pub mod protocol;
pub mod sink;
pub mod store;
pub mod supervisor;
pub mod web;
#[cfg(feature = "worker")]
pub mod worker;
