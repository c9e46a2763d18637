"""Lower ONNX operators to MIL, one family of operators per file."""
