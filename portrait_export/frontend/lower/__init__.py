"""Lowerings of ONNX operators to MIL, one family per file."""
