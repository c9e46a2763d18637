"""Quantization: a recipe's name in, coremltools' compression passes out."""
