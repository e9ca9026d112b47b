//! ONNX Runtime, model packages, and the workers that own sessions.
