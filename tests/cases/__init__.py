"""Small ONNX models with inputs, by family of operators: rows that the frontend's and the runtime's tests share."""
