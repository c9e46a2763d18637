"""Export random networks, and judge what comes of each: a right package, a refusal, or a fault."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

import portrait_export as pe

from .random_networks import network

PASSED, FAILED, REFUSED, SKIPPED = "passed", "gates failed", "refused", "not run by ONNX Runtime"
CRASHED, WRONG = "crashed", "wrong mask with all gates passed"
FAULTS = (CRASHED, WRONG)
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
    try:
        export = pe.export(
            onnx=file, mean=0, std=1, activation="sigmoid", data=photos, out=folder / f"out_{seed}", force=True
        )
    except pe.PortraitError as error:
        return Outcome(seed, REFUSED, "; ".join([error.message, *error.context]))
    except Exception:
        return Outcome(seed, CRASHED, traceback.format_exc())
    if not export.passed:
        return Outcome(seed, FAILED, ", ".join(gate.name for gate in export.gates if not gate.passed))
    differences = [
        float(np.abs(_by_package(export.package.path, picture) - mask).mean())
        for picture, mask in zip(pictures, expected, strict=True)
    ]
    worst = max(differences)
    return Outcome(seed, PASSED if worst <= MASK_BAR else WRONG, f"{worst:.4f}")


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
