"""Compare the masks of both formats with PyTorch's.

Packages run under our runtime, assets under Apple's.

    python benchmarks/core_ai.py [--models NAME …] [--recipes none int8 …] [--photos N] [--size HxW] [--out FILE]

For each bundled model and recipe: the mean mask IoU with PyTorch and the largest difference of P(person) on the same
photographs, the size on disk, and processor seconds per photograph. Then how far the two formats are from each other.
Needs the extra `coreai`. Apple's runtime takes 8 to 72 s per photograph of 512x512: with --out each result is kept in a
JSON file as soon as it is there, and a run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from portrait_export.artifacts import Prediction, Runner
from portrait_export.coreai.runner import CoreAIRunner
from portrait_export.inputs.frames import load_frames
from portrait_export.inputs.sources import ModelSource, load_model
from portrait_export.models.registry import list_models, model_spec
from portrait_export.runtime.runner import PackageRunner
from portrait_export.utils.files import write_json
from portrait_export.utils.stages import SilentObserver
from portrait_export.verify.metrics import mask_iou
from portrait_export.workflows.export import export_coreml
from portrait_export.workflows.export_coreai import export_coreai
from portrait_export.workflows.requests import CoreAIRequest, CoreMLRequest


@dataclass(frozen=True)
class Masks:
    """How far the masks of one side are from those of another, on the same photographs."""

    iou: float
    worst_iou: float
    largest_difference: float


@dataclass(frozen=True)
class Format:
    """One saved model: its masks against PyTorch's, its size, and processor seconds per photograph."""

    masks: Masks
    size_mb: float
    seconds: float


@dataclass(frozen=True)
class Row:
    """A model with one recipe in both formats."""

    model: str
    recipe: str
    photographs: tuple[str, ...]
    core_ml: Format
    core_ai: Format
    between: Masks


def processor_s() -> float:
    """Processor time of this process and of those that have ended."""
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def compared(expected: Sequence[Prediction], found: Sequence[Prediction], bar: float) -> Masks:
    """Compare two lists of predictions of the same photographs."""
    pairs = list(zip(expected, found, strict=True))
    ious = [mask_iou(a.probability, b.probability, bar) for a, b in pairs]
    largest = max(float(np.abs(a.probability - b.probability).max()) for a, b in pairs)
    return Masks(float(np.mean(ious)), min(ious), largest)


def row(name: str, recipe: str, photos: int, size: tuple[int, int] | None) -> Row:
    """Export a model in both formats and run them on the same photographs."""
    source = ModelSource(model=name, size=size)
    model = load_model(source)
    frames = [labelled.frame for labelled in load_frames(None, model.spec, kinds=model.kinds).spread(photos)]
    expected = model.open_runner().run(frames)

    def run(runner: Runner, size_bytes: int) -> tuple[Format, list[Prediction]]:
        start = processor_s()
        found = runner.run(frames)
        if isinstance(runner, CoreAIRunner):
            runner.close()  # its time counts once the process has ended
        seconds = (processor_s() - start) / len(frames)
        return Format(compared(expected, found, model.spec.threshold), size_bytes / 1e6, seconds), found

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        request = CoreMLRequest(source, recipe=recipe, parity=None, out=out / "ml")
        package = export_coreml(request, SilentObserver()).package
        core_ml, ours = run(PackageRunner(package.path), package.size_bytes)
        request_ai = CoreAIRequest(source, recipe=recipe, parity=None, out=out / "ai")
        asset = export_coreai(request_ai, SilentObserver()).package
        core_ai, theirs = run(CoreAIRunner(asset.path), asset.size_bytes)
    names = tuple(frame.name for frame in frames)
    return Row(name, recipe, names, core_ml, core_ai, compared(ours, theirs, model.spec.threshold))


def table(rows: Sequence[dict]) -> str:
    """The rows in Markdown: both formats against PyTorch, and against each other."""
    columns = ["model", "weights", "IoU, Core ML", "IoU, Core AI", "largest ΔP, ML / AI", "IoU, ML with AI"]
    columns += ["MB, ML / AI", "s, ML / AI"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for entry in rows:
        ml, ai, between = entry["core_ml"], entry["core_ai"], entry["between"]
        label = "fp16" if entry["recipe"] == "none" else entry["recipe"]
        lines.append(
            f"| {entry['model']} | {label} | {ml['masks']['iou']:.5f} | {ai['masks']['iou']:.5f} |"
            f" {ml['masks']['largest_difference']:.4f} / {ai['masks']['largest_difference']:.4f} |"
            f" {between['iou']:.5f} | {ml['size_mb']:.2f} / {ai['size_mb']:.2f} |"
            f" {ml['seconds']:.1f} / {ai['seconds']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    trained = [name for name in list_models() if model_spec(name).weights_path is not None]
    parser.add_argument("--models", nargs="+", default=trained)
    parser.add_argument("--recipes", nargs="+", default=["none", "int8"])
    parser.add_argument("--photos", type=int, default=4)
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))))
    parser.add_argument("--out", type=Path, help="keep each result in this JSON file, and do not compute it again")
    options = parser.parse_args()
    done = json.loads(options.out.read_text()) if options.out and options.out.exists() else []
    kept = {(entry["model"], entry["recipe"]): entry for entry in done}
    for name in options.models:
        for recipe in options.recipes:
            if (name, recipe) not in kept:
                kept[name, recipe] = asdict(row(name, recipe, options.photos, options.size))
            if options.out:
                write_json(options.out, list(kept.values()))
    print(table([kept[name, recipe] for name in options.models for recipe in options.recipes]))


if __name__ == "__main__":
    main()
