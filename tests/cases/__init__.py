"""Small ONNX models with inputs, by family of operators, shared by the tests of the frontend and the runtime."""
