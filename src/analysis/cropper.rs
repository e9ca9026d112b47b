//! Sampling pixels out of a frame.
