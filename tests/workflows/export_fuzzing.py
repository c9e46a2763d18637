"""Export random networks, and judge what comes of each: a right package, a refusal, or a fault."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

import portrait_export as pe
from portrait_export.workflows.requests import CoreMLExport

from .random_networks import network

PASSED, REFUSED, SKIPPED = "passed", "refused", "not run by ONNX Runtime"
HALF = "gates failed in half precision only"
CRASHED, WRONG, FAILED = "crashed", "wrong mask with all gates passed", "gates failed in full precision"
FAULTS = (CRASHED, WRONG, FAILED)
MASK_BAR = 0.02  # largest mean difference of P(person) of a package that passed, as an 8-bit mask in half precision
THREADS = 1


@dataclass(frozen=True)
class Outcome:
    """What came of one network.

    Attributes:
        seed: of the network.
        kind: one of the constants above.
        reason: the error, or the difference.
    """

    seed: int
    kind: str
    reason: str = ""


def outcome(seed: int, folder: Path, photos: Path, *, steps: int = 8) -> Outcome:
    """Export the network of a seed and compare the package with ONNX Runtime on the original file."""
    file = folder / f"random_{seed}.onnx"
    onnx.save(network(seed, steps=steps), file)
    pictures = sorted(photos.glob("*.png"))
    try:
        expected = [_by_onnx_runtime(file, picture) for picture in pictures]
    except Exception as error:
        return Outcome(seed, SKIPPED, str(error).splitlines()[0])
    reason = ""
    for precision in ("fp16", "fp32"):
        try:
            export = _export(file, photos, folder / f"out_{seed}", precision)
        except pe.PortraitError as error:
            return Outcome(seed, REFUSED, "; ".join([error.message, *error.context]))
        except Exception:
            return Outcome(seed, CRASHED, traceback.format_exc())
        if export.passed:
            break
        reason = ", ".join(f"{gate.name} {gate.value:.4g}" for gate in export.gates if not gate.passed)
    else:
        return Outcome(seed, FAILED, reason)
    differences = [
        float(np.abs(_by_package(export.package.path, picture) - mask).mean())
        for picture, mask in zip(pictures, expected, strict=True)
    ]
    worst = max(differences)
    if worst > MASK_BAR:
        return Outcome(seed, WRONG, f"{worst:.4f}")
    return Outcome(seed, HALF if reason else PASSED, reason or f"{worst:.4f}")


def _export(file: Path, photos: Path, out: Path, precision: str) -> CoreMLExport:
    return pe.export(
        onnx=file, mean=0, std=1, activation="sigmoid", precision=precision, data=photos, out=out, force=True
    )


def _pixels(picture: Path, side: int = 32) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(picture).convert("RGB").resize((side, side)))


def _by_onnx_runtime(file: Path, picture: Path) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    image = _pixels(picture).astype(np.float32).transpose(2, 0, 1)[None] / 255
    return np.asarray(session.run(None, {"x": image})[0])[0, 0]


def _by_package(package: Path, picture: Path) -> np.ndarray:
    from PIL import Image

    from portrait_export import runtime

    outputs = runtime.load(package).predict({"image": Image.fromarray(_pixels(picture))})
    return np.asarray(outputs["mask"], np.float32) / 255
