"""PyTorch module (or a user's ONNX file) in, checked and simplified ONNX out."""
