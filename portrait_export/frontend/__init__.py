"""Lower ONNX models to MIL programs."""
