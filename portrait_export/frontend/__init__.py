"""ONNX in, MIL program out: one lowering per operator, everything unsupported reported together."""
