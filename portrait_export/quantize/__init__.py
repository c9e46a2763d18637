"""Turn quantization recipes into coremltools' compression passes."""
