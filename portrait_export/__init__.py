"""portrait-export: PyTorch portrait segmentation in, a Core ML package that provably gives the same mask out.

    checkpoint ─ capture ─▶ torch module ─▶ ONNX ─▶ simplified ONNX
               ─ frontend ─▶ MIL program ─ quantize ─▶ compressed MIL ─ mil ─▶ .mlpackage (on disk)
               ─ runtime ─▶ masks, computed from the bytes on disk ─ verify ─▶ parity report, exit code

The public names are imported when they are first used, so `import portrait_export` costs nothing:

    load(path)             a saved package as a CoreMLProgram with predict(), on any platform
    export_coreml(...)     the whole walk; CoreMLRequest says what is wanted, ModelSource of which network
    create_model(name)     a registered network with random weights; list_models(pattern) names them
    load_checkpoint(path)  a network with somebody's weights
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "load": "runtime",
    "CoreMLProgram": "runtime.model",
    "export_coreml": "workflows.export",
    "CoreMLRequest": "workflows.requests",
    "ParityRequest": "workflows.requests",
    "ModelSource": "inputs.sources",
    "create_model": "models.registry",
    "list_models": "models.registry",
    "load_checkpoint": "capture.checkpoint",
    "PortraitSpec": "preprocessing",
    "PortraitError": "errors",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    import importlib

    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_PUBLIC[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
