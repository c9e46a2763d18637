"""Compare the masks of Core ML packages and Core AI assets with PyTorch's.

Packages run under our runtime, assets under Apple's.

    python benchmarks/core_ai.py [--models NAME …] [--recipes none int8] [--photos N] [--size HxW]

For each bundled model and recipe: the mean mask IoU with PyTorch and the largest difference of P(person) on the same
photographs, the size on disk, and processor seconds per photograph. Needs the extra `coreai`.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from portrait_export.artifacts import Frame, Prediction
from portrait_export.coreai.runner import CoreAIRunner
from portrait_export.inputs.frames import load_frames
from portrait_export.inputs.sources import LoadedModel, ModelSource, load_model
from portrait_export.models.registry import list_models, model_spec
from portrait_export.runtime.runner import PackageRunner
from portrait_export.utils.stages import SilentObserver
from portrait_export.verify.metrics import mask_iou
from portrait_export.workflows.export import export_coreml
from portrait_export.workflows.export_coreai import export_coreai
from portrait_export.workflows.requests import CoreAIRequest, CoreMLRequest


class Row(NamedTuple):
    """One saved model against PyTorch."""

    model: str
    form: str
    iou: float
    largest: float
    size_mb: float
    seconds: float


def processor_s() -> float:
    """Processor time of this process and of those that have ended."""
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def row(
    model: LoadedModel,
    form: str,
    size_bytes: int,
    expected: Sequence[Prediction],
    found: Sequence[Prediction],
    seconds: float,
) -> Row:
    """Summarise one format on all photographs."""
    bar = model.spec.threshold
    pairs = list(zip(expected, found, strict=True))
    iou = float(np.mean([mask_iou(a.probability, b.probability, bar) for a, b in pairs]))
    largest = max(float(np.abs(a.probability - b.probability).max()) for a, b in pairs)
    return Row(model.name, form, iou, largest, size_bytes / 1e6, seconds / len(pairs))


def rows(name: str, recipe: str, photos: int, size: tuple[int, int] | None) -> Iterator[Row]:
    """Export a model in both formats and run them on the same photographs."""
    source = ModelSource(model=name, size=size)
    model = load_model(source)
    frames: list[Frame] = [
        labelled.frame for labelled in load_frames(None, model.spec, kinds=model.kinds).spread(photos)
    ]
    expected = model.open_runner().run(frames)
    label = "fp16" if recipe == "none" else recipe
    with tempfile.TemporaryDirectory() as folder:
        request = CoreMLRequest(source, recipe=recipe, parity=None, out=Path(folder) / "ml")
        package = export_coreml(request, SilentObserver()).package
        start = processor_s()
        found = PackageRunner(package.path).run(frames)
        yield row(model, f"Core ML {label}", package.size_bytes, expected, found, processor_s() - start)
        asset = export_coreai(
            CoreAIRequest(source, recipe=recipe, parity=None, out=Path(folder) / "ai"), SilentObserver()
        ).package
        start = processor_s()
        runner = CoreAIRunner(asset.path)
        found = runner.run(frames)
        runner.close()
        yield row(model, f"Core AI {label}", asset.size_bytes, expected, found, processor_s() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", nargs="+", default=[name for name in list_models() if model_spec(name).weights_path is not None]
    )
    parser.add_argument("--recipes", nargs="+", default=["none", "int8"])
    parser.add_argument("--photos", type=int, default=4)
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))))
    options = parser.parse_args()
    print("| model | format | mask IoU | largest difference of P | MB | processor s |")
    print("|---|---|---|---|---|---|")
    for name in options.models:
        for recipe in options.recipes:
            for r in rows(name, recipe, options.photos, options.size):
                numbers = f"{r.iou:.5f} | {r.largest:.4f} | {r.size_mb:.2f} | {r.seconds:.1f}"
                print(f"| {r.model} | {r.form} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
