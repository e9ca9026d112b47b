//! What several benchmarks need.

// Each benchmark is a crate of its own and uses only some of this.
#![allow(dead_code)]

pub mod clip;
pub mod cpu;
pub mod graph;
pub mod page;
pub mod plot;
