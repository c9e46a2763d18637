"""Export portrait segmentation models to Core ML and verify their masks.

It works from PyTorch models, and verifies on any platform.

    import portrait_export as pe

    export = pe.export("serseg_b0", quantize="int8", out="build")
    export.passed                                  # True if the package's masks match the model's

    package = pe.load(export.package.path)         # runs without Core ML, on Linux too
    package.predict("me.jpg").cutout().save("me.png")

Functions take the names of the command line's options as keyword arguments, print nothing, and return frozen values.
Every error is a `PortraitError`. Importing this module imports neither numpy nor torch; each function imports what it
needs.
"""

from .api.arguments import NetworkOptions
from .api.checking import audit, check_parity, evaluate, find_blame
from .api.exporting import export, export_coreai, export_onnx
from .api.networks import create_model, list_models, load_checkpoint
from .api.segmenting import Package, Segmentation, load, load_program, segment
from .api.sweeping import sweep
from .errors import PortraitError, UsageError
from .preprocessing import PortraitSpec
from .utils.stages import Observer, SilentObserver, Stage
from .utils.version import __version__

__all__ = [
    "NetworkOptions",
    "Observer",
    "Package",
    "PortraitError",
    "PortraitSpec",
    "Segmentation",
    "SilentObserver",
    "Stage",
    "UsageError",
    "__version__",
    "audit",
    "check_parity",
    "create_model",
    "evaluate",
    "export",
    "export_coreai",
    "export_onnx",
    "find_blame",
    "list_models",
    "load",
    "load_checkpoint",
    "load_program",
    "segment",
    "sweep",
]
