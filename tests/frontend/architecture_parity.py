"""Compare an architecture's saved package, run by our runtime, with ONNX Runtime on the original file.

The way is a user's: torch writes an ONNX file, the pipeline makes an fp32 package of it, the package is read from disk.
"""

from __future__ import annotations

import io
import math
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from PIL import Image

from portrait_export import runtime
from portrait_export.capture.foreign.options import ForeignOptions
from portrait_export.cli.render import Silence
from portrait_export.errors import PortraitError
from portrait_export.inputs.sources import ModelSource
from portrait_export.verify.metrics import psnr_db
from portrait_export.workflows.export import export_coreml
from portrait_export.workflows.requests import CoreMLRequest
from tests.frontend.architectures import Architecture, make

MEAN, STD = np.array((0.485, 0.456, 0.406), np.float32), np.array((0.229, 0.224, 0.225), np.float32)


@dataclass(frozen=True)
class Outcome:
    """What became of one architecture.

    Attributes:
        psnr_db: of the package's values against the ONNX file's; None where it was refused.
        spread: standard deviation of the reference over its pixels: a flat map would prove nothing.
        nodes, parameters: of the ONNX file.
        seconds: for the export, from the ONNX file to the package.
        refusal: the error's words, empty where there was none.
    """

    psnr_db: float | None
    spread: float
    nodes: int
    parameters: int
    seconds: float
    refusal: str = ""


def measure(architecture: Architecture, folder: Path, *, small: bool) -> Outcome:
    """Export one architecture into an empty folder and compare. Raises nothing that the exporter says itself."""
    side = architecture.small_size if small else architecture.size
    path = folder / "net.onnx"
    write_onnx(architecture, side, path, small=small)
    model = onnx.load(path)
    counts = len(model.graph.node), sum(math.prod(tensor.dims) for tensor in model.graph.initializer)
    picture = test_picture(side)
    reference = reference_mask(architecture, path, picture)
    start = time.perf_counter()
    try:
        package = export(architecture, path, folder / "out")
    except PortraitError as error:
        words = "; ".join([error.message, *error.context])
        return Outcome(None, float(reference.std()), *counts, time.perf_counter() - start, words)
    seconds = time.perf_counter() - start
    name = "mask" if architecture.probability else "logits"
    found = np.asarray(runtime.load(package).predict({"image": Image.fromarray(picture)})[name])
    return Outcome(psnr_db(reference, found.reshape(reference.shape)), float(reference.std()), *counts, seconds)


def write_onnx(architecture: Architecture, side: int, path: Path, *, small: bool) -> None:
    """What torch's own exporter writes of the net."""
    net = make(architecture, small=small)
    more = [torch.full(shape, value) for _, shape, value in architecture.feeds]
    names = ["picture", *(name for name, _, _ in architecture.feeds)]
    buffer: Any = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (torch.zeros(1, 3, side, side), *more), buffer,
            dynamo=False, opset_version=17, input_names=names,
        )  # fmt: skip
    path.write_bytes(buffer.getvalue())


def export(architecture: Architecture, path: Path, folder: Path) -> Path:
    """The package that the pipeline makes of an ONNX file."""
    options = ForeignOptions(
        onnx=path,
        mean=tuple(MEAN.tolist()),
        std=tuple(STD.tolist()),
        fix_inputs=tuple((name, value) for name, _, value in architecture.feeds),
    )
    output = "multiarray" if architecture.probability else "logits"
    request = CoreMLRequest(ModelSource(foreign=options), output=output, precision="fp32", out=folder, parity=None)
    return export_coreml(request, Silence()).package.path


def test_picture(side: int) -> np.ndarray:
    """(side, side, 3) uint8: seeded colours that vary smoothly, with grain."""
    generator = np.random.default_rng(7)
    coarse = Image.fromarray(generator.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.float32)
    return np.clip(smooth + generator.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)


def reference_mask(architecture: Architecture, path: Path, picture: np.ndarray) -> np.ndarray:
    """What ONNX Runtime computes of the untouched file: logits or P(person), (h, w)."""
    session = onnxruntime.InferenceSession(path)
    pixels = ((picture.astype(np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1)[None]
    feeds = {name: np.full(shape, value, np.float32) for name, shape, value in architecture.feeds}
    outputs = session.run(None, {"picture": pixels, **feeds})
    one = next(value for value in outputs if value.ndim == 4 and value.shape[1] in (1, 2))[0]
    if len(one) == 1:
        return one[0]
    return one[1] if architecture.probability else one[1] - one[0]
