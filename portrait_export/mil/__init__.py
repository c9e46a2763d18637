"""Compile, write, read and inspect .mlpackage folders. The only code that knows coremltools and its file formats."""
