"""Compare our quantization recipes with coremltools' own.

    python benchmarks/compression.py [--model segformer_b0] [--size 512] [--recipes palette4,int4-block32] [--tune]

Each recipe compresses the same network for iOS18 in both ways. The masks of each saved package are compared with those
of the uncompressed package, on photographs with a person of the evaluate half of the calibration set, which no rounding
was fitted to. `ratio` is the error of coremltools' package over ours: (1 - mean IoU) / (1 - mean IoU).

coremltools' k-means needs scikit-learn for small weights, which is no dependency here; its palettes then are `uniform`,
and `kmeans` where scikit-learn is installed.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import portrait_export as pe
from portrait_export.artifacts import LabelledFrame
from portrait_export.inputs.frames import load_frames
from portrait_export.mil import coreml
from portrait_export.mil.folder import package_size_bytes
from portrait_export.runtime.runner import PackageRunner
from portrait_export.verify.metrics import mask_iou

THRESHOLD = 2048  # elements from which weights are compressed, as in our recipes


def _linear(**options: Any) -> Callable[[Any, Any], Any]:
    return lambda tools, model: tools.linear_quantize_weights(
        model, tools.OptimizationConfig(tools.OpLinearQuantizerConfig(weight_threshold=THRESHOLD, **options))
    )


def _palette(bits: int, **options: Any) -> Callable[[Any, Any], Any]:
    mode = "kmeans" if find_spec("sklearn") else "uniform"
    return lambda tools, model: tools.palettize_weights(
        model, tools.OptimizationConfig(tools.OpPalettizerConfig(mode, bits, weight_threshold=THRESHOLD, **options))
    )


THEIRS: dict[str, Callable[[Any, Any], Any]] = {
    "int8": _linear(),
    "int8-block32": _linear(granularity="per_block", block_size=32),
    "int4-block32": _linear(dtype="int4", granularity="per_block", block_size=32),
    **{f"palette{bits}": _palette(bits) for bits in (8, 6, 4, 3, 2)},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="segformer_b0")
    parser.add_argument("--size", type=int, default=512, help="input side in pixels")
    parser.add_argument("--recipes", default=",".join(THEIRS))
    parser.add_argument("--tune", action="store_true", help="tune our recipes below 8 bits")
    asked = parser.parse_args()
    names = asked.recipes.split(",")
    unknown = [name for name in names if name not in THEIRS]
    if unknown:
        parser.error(f"no pass of coremltools for {', '.join(unknown)}; there are {', '.join(THEIRS)}")
    with tempfile.TemporaryDirectory() as folder:
        _compare(asked.model, asked.size, names, Path(folder), tune=asked.tune)


def _compare(model: str, side: int, names: Sequence[str], folder: Path, *, tune: bool) -> None:
    def export(recipe: str) -> Path:
        low = tune and recipe not in ("none", "int8", "int8-block32", "palette8")
        options: dict[str, Any] = {"size": (side, side), "target": "iOS18", "parity": False, "tune": low}
        return pe.export(model, quantize=recipe, out=folder / recipe, **options).package.path

    plain = export("none")
    runner = PackageRunner(plain)
    assert runner.spec is not None
    every = load_frames(None, runner.spec, split="evaluate")
    frames = [every[index] for index, item in enumerate(every.items) if item.kind != "empty"]
    exact = _masks(plain, frames)
    print(
        f"{model} {side}x{side}, {len(frames)} photographs; {package_size_bytes(plain) / 1e6:.2f} MB in half precision"
    )
    print(f"{'recipe':<14}{'MB':>6}{'mean':>9}{'worst':>8}   {'MB':>6}{'mean':>9}{'worst':>8}{'ratio':>8}")
    for name in names:
        ours, theirs = (_scores(path, frames, exact) for path in (export(name), _theirs(plain, name, folder)))
        ratio = (1 - theirs[1]) / max(1 - ours[1], 1e-9)
        cells = "   ".join(f"{size:>6.2f}{mean:>9.4f}{worst:>8.3f}" for size, mean, worst in (ours, theirs))
        print(f"{name:<14}{cells}{ratio:>8.1f}", flush=True)


def _theirs(plain: Path, name: str, folder: Path) -> Path:
    """The package that coremltools makes of the uncompressed one."""
    path = folder / f"{name}-coremltools.mlpackage"
    with coreml.quiet():
        model = coreml.coremltools().models.MLModel(str(plain), skip_model_load=True)
        THEIRS[name](coreml.optimize(), model).save(str(path))
    return path


def _masks(path: Path, frames: Sequence[LabelledFrame]) -> list[np.ndarray]:
    return [prediction.probability for prediction in PackageRunner(path).run([each.frame for each in frames])]


def _scores(path: Path, frames: Sequence[LabelledFrame], exact: Sequence[np.ndarray]) -> tuple[float, float, float]:
    """Size in MB, mean and worst mask IoU."""
    ious = [mask_iou(a, b) for a, b in zip(_masks(path, frames), exact, strict=True)]
    return package_size_bytes(path) / 1e6, float(np.mean(ious)), float(np.min(ious))


if __name__ == "__main__":
    main()
