"""Compare an architecture's saved package, run by our runtime, with ONNX Runtime on the original file.

The way is a user's: torch writes an ONNX file (or the pipeline gets the module), the pipeline makes an fp32 package of
it, the package is read from disk. A half-precision package is gated on photographs.
"""

from __future__ import annotations

import io
import math
import time
import warnings
from dataclasses import dataclass, replace
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
from portrait_export.verify.gates import Gate
from portrait_export.verify.metrics import psnr_db
from portrait_export.workflows.export import export_coreml
from portrait_export.workflows.requests import CoreMLRequest, ParityRequest
from tests.frontend.architectures import Architecture, make

MEAN, STD = np.array((0.485, 0.456, 0.406), np.float32), np.array((0.229, 0.224, 0.225), np.float32)


FACTORY = """from tests.frontend.architectures import ARCHITECTURES, make

def net():
    return make(next(a for a in ARCHITECTURES if a.name == {name!r}), small={small})
"""


@dataclass(frozen=True)
class Outcome:
    """What became of one architecture.

    Attributes:
        psnr_db: of the package's values against the reference; None where it was refused.
        spread: standard deviation of the reference over its pixels: a flat map would prove nothing.
        nodes, parameters: of the ONNX file; 0 nodes of a module.
        seconds: for the export, from the ONNX file to the package.
        refusal: the error's words, empty where there was none.
        half: the gates of the half-precision package; empty where they were not asked for.
    """

    psnr_db: float | None
    spread: float
    nodes: int
    parameters: int
    seconds: float
    refusal: str = ""
    half: tuple[Gate, ...] = ()


def measure(architecture: Architecture, folder: Path, *, small: bool, photos: Path | None = None) -> Outcome:
    """Export one architecture into an empty folder and compare. Raises nothing that the exporter says itself.

    With `photos`, a half-precision package is made, too, and its masks are gated on them.
    """
    side = architecture.small_size if small else architecture.size
    options, counts = written(architecture, side, folder, small=small)
    start = time.perf_counter()
    try:
        package = export(architecture, options, folder / "out")
    except PortraitError as error:
        words = "; ".join([error.message, *error.context])
        return Outcome(None, 0.0, *counts, time.perf_counter() - start, words)
    seconds = time.perf_counter() - start
    picture = test_picture(side)
    reference = reference_mask(architecture, options, picture, small=small)
    name = "mask" if architecture.probability else "logits"
    found = np.asarray(runtime.load(package).predict({"image": Image.fromarray(picture)})[name])
    psnr = psnr_db(reference, found.reshape(reference.shape))
    outcome = Outcome(psnr, float(reference.std()), *counts, seconds)
    return outcome if photos is None else replace(outcome, half=half_gates(architecture, options, folder, photos))


def written(
    architecture: Architecture, side: int, folder: Path, *, small: bool
) -> tuple[ForeignOptions, tuple[int, int]]:
    """The network as a user has it, and how many nodes and parameters it has."""
    how = ForeignOptions(
        mean=tuple(MEAN.tolist()),
        std=tuple(STD.tolist()),
        activation=architecture.activation or None,
        fix_inputs=tuple((name, value) for name, _, value in architecture.feeds),
    )
    if architecture.module:
        path = folder / "net.py"
        path.write_text(FACTORY.format(name=architecture.name, small=small))
        parameters = sum(tensor.numel() for tensor in make(architecture, small=small).parameters())
        return replace(how, torch=f"{path}:net", size=(side, side)), (0, parameters)
    path = folder / "net.onnx"
    write_onnx(architecture, side, path, small=small)
    graph = onnx.load(path).graph
    counts = len(graph.node), sum(math.prod(tensor.dims) for tensor in graph.initializer)
    return replace(how, onnx=path), counts


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


def export(architecture: Architecture, options: ForeignOptions, folder: Path) -> Path:
    """The fp32 package that the pipeline makes of a network."""
    output = "multiarray" if architecture.probability else "logits"
    request = CoreMLRequest(ModelSource(foreign=options), output=output, precision="fp32", out=folder, parity=None)
    return export_coreml(request, Silence()).package.path


def half_gates(architecture: Architecture, options: ForeignOptions, folder: Path, photos: Path) -> tuple[Gate, ...]:
    """The gates of the package that the pipeline makes without options: half precision, a mask."""
    request = CoreMLRequest(ModelSource(foreign=options), out=folder / "half", parity=ParityRequest(data=photos))
    parity = export_coreml(request, Silence()).parity
    return () if parity is None else tuple(parity.gates)


def test_picture(side: int) -> np.ndarray:
    """(side, side, 3) uint8: seeded colours that vary smoothly, with grain."""
    generator = np.random.default_rng(7)
    coarse = Image.fromarray(generator.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.float32)
    return np.clip(smooth + generator.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)


def reference_mask(
    architecture: Architecture, options: ForeignOptions, picture: np.ndarray, *, small: bool
) -> np.ndarray:
    """Logits or P(person), (h, w), by ONNX Runtime of the untouched file, or by the module."""
    pixels = ((picture.astype(np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1)[None]
    if architecture.module:
        with torch.no_grad():
            outputs = [make(architecture, small=small)(torch.from_numpy(pixels)).numpy()]
    else:
        feeds = {name: np.full(shape, value, np.float32) for name, shape, value in architecture.feeds}
        outputs = onnxruntime.InferenceSession(options.onnx).run(None, {"picture": pixels, **feeds})
    one = next(value for value in outputs if value.ndim == 4 and value.shape[1] in (1, 2))[0]
    if len(one) == 1:
        return one[0]
    return one[1] if architecture.probability else one[1] - one[0]
