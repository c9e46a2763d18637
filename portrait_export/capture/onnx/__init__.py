"""Tools for ONNX models: load, check, edit, trace, describe, count their cost and give advice."""
