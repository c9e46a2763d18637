"""MIL programs in memory and .mlpackage folders on disk. The one place that knows coremltools and its file formats."""
