"""Compare our quantization recipes with coremltools' own.

    python benchmarks/compression.py [--model segformer_b0] [--size 512] [--recipes palette4,int4-block32]
        [--budgets 2.0,1.72] [--photographs evaluate|all] [--tune] [--out build/compression]

Each recipe compresses the same network for iOS18 in both ways, and each budget is compared with coremltools' recipe
whose package is nearest in size. The masks of each saved package are compared with the float network's, on photographs
with a person: those of the evaluate half of the calibration set, which no rounding was fitted to, or all. `ratio` is
the error of coremltools' package over ours: (1 - mean IoU) / (1 - mean IoU).

Packages and scores are kept in the output folder (`compression.json`), so that an interrupted run goes on where it was.
`s` is the processor time that each package took. What several share, such as measured layer inputs, counts for the
first of them, and our time includes the comparison of one mask.

coremltools' k-means needs scikit-learn for small weights, which is no dependency here; its palettes then are `uniform`,
and `kmeans` where scikit-learn is installed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import portrait_export as pe
from portrait_export.artifacts import EMPTY
from portrait_export.inputs.frames import load_frames
from portrait_export.inputs.runners import RememberingRunner
from portrait_export.inputs.sizes import load_sizes
from portrait_export.inputs.sources import ModelSource
from portrait_export.mil import coreml
from portrait_export.mil.package import saved_package
from portrait_export.runtime.runner import PackageRunner
from portrait_export.utils.files import write_json
from portrait_export.verify.metrics import mask_iou

THRESHOLD = 2048  # elements from which weights are compressed, as in our recipes
RESULTS, SECONDS = "compression.json", "seconds.json"


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


@dataclass(frozen=True)
class Score:
    """One package: its size, its masks on each half of the photographs, and the processor seconds that it took."""

    name: str
    sha256: str
    size_mb: float
    seconds: float
    ious: dict[str, list[float]]

    @property
    def every(self) -> list[float]:
        """The mask IoU of all photographs."""
        return [iou for half in self.ious.values() for iou in half]

    @property
    def error(self) -> float:
        """1 - mean mask IoU."""
        return 1 - float(np.mean(self.every))

    def cells(self) -> str:
        """Size, mean and worst mask IoU, and seconds."""
        return f"{self.size_mb:>6.2f}{1 - self.error:>9.4f}{min(self.every):>8.3f}{self.seconds:>6.0f}"


class Clock(pe.SilentObserver):
    """Keeps the processor seconds of each stage in a file; a package that was made before keeps its own."""

    def __init__(self, file: Path):
        self._file, self._start = file, 0.0

    def stage_started(self, name: str) -> None:
        """Start the clock."""
        self._start = time.process_time()

    def stage_finished(self, stage: pe.Stage) -> None:
        """Write what it shows."""
        if "made before" not in stage.summary:
            seconds = time.process_time() - self._start
            write_json(self._file, {**_read(self._file), stage.name: seconds})
            print(f"  {stage.name}: {seconds:.0f} s", file=sys.stderr, flush=True)


def _read(file: Path) -> dict[str, Any]:
    """The content of a JSON file; empty if there is none."""
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


class Judge:
    """Compares packages with the float network, and keeps what it found in a file."""

    def __init__(self, asked: argparse.Namespace, folder: Path):
        source = ModelSource(model=asked.model, size=(asked.size, asked.size))
        (self._model,) = load_sizes(source, ())
        self._file = folder / RESULTS
        self._reference = RememberingRunner(self._model.open_runner())
        self._frames = {half: self._photographs(half) for half in _halves(asked.photographs)}
        self._seconds = folder / SECONDS
        self._kept: dict[str, dict[str, Any]] = _read(self._file)

    @property
    def count(self) -> int:
        """How many photographs the masks are compared on."""
        return sum(len(frames) for frames in self._frames.values())

    def _photographs(self, half: str) -> list[Any]:
        frames = load_frames(None, self._model.spec, split=half, kinds=self._model.kinds)
        return [frames[index] for index, item in enumerate(frames.items) if item.kind != EMPTY]

    def seconds(self, name: str) -> float:
        """Those of one of our packages; 0 if they were not kept."""
        return float(_read(self._seconds).get(name, 0.0))

    def score(self, name: str, path: Path, seconds: float) -> Score:
        """The score of a package, from the file where the same package was compared on these photographs."""
        package = saved_package(path)
        kept = self._kept.get(name)
        if kept is not None and kept["sha256"] == package.sha256 and kept["ious"].keys() >= self._frames.keys():
            return Score(**{**kept, "ious": {half: kept["ious"][half] for half in self._frames}})
        runner = PackageRunner(path)
        ious = {half: [self._iou(runner, each.frame) for each in frames] for half, frames in self._frames.items()}
        score = Score(name, package.sha256, package.size_bytes / 1e6, seconds, ious)
        self._kept[name] = asdict(score)
        write_json(self._file, self._kept)
        return score

    def _iou(self, runner: PackageRunner, frame: Any) -> float:
        (found,), (expected,) = runner.run([frame]), self._reference.run([frame])
        return float(mask_iou(found.probability, expected.probability, self._model.spec.threshold))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="segformer_b0")
    parser.add_argument("--size", type=int, default=512, help="input side in pixels")
    parser.add_argument("--recipes", default=",".join(THEIRS))
    parser.add_argument("--budgets", default="", help="sizes in MB of packages of recipe mixed")
    parser.add_argument("--photographs", choices=("evaluate", "all"), default="evaluate")
    parser.add_argument("--tune", action="store_true", help="tune our recipes below 8 bits")
    parser.add_argument("--out", type=Path, default=Path("build/compression"))
    asked = parser.parse_args()
    names = asked.recipes.split(",")
    unknown = [name for name in names if name not in THEIRS]
    if unknown:
        parser.error(f"no pass of coremltools for {', '.join(unknown)}; there are {', '.join(THEIRS)}")
    _compare(asked, names, tuple(float(size) for size in asked.budgets.split(",") if size))


def _halves(photographs: str) -> tuple[str, ...]:
    return ("evaluate",) if photographs == "evaluate" else ("evaluate", "calibrate")


def _compare(asked: argparse.Namespace, names: Sequence[str], budgets: Sequence[float]) -> None:
    asked.out.mkdir(parents=True, exist_ok=True)
    judge = Judge(asked, asked.out)
    ours = _ours(asked, ["none", *names], budgets)
    plain = ours.pop("none")
    whole = judge.score("none", plain, 0.0)
    print(f"{asked.model} {asked.size}x{asked.size}, {judge.count} photographs; in half precision {whole.cells()}")
    head = f"{'MB':>6}{'mean':>9}{'worst':>8}{'s':>6}"
    print(f"{'recipe':<18}{head}   {head}{'ratio':>8}")
    theirs = {name: judge.score(f"coremltools {name}", *_theirs(plain, name, asked.out)) for name in names}
    for name, path in ours.items():
        score = judge.score(name, path, judge.seconds(name))
        recipe = name.partition("+")[0]
        nearest = min(theirs.values(), key=lambda each: abs(each.size_mb - score.size_mb))
        other = theirs.get(recipe, nearest)
        ratio = other.error / max(score.error, 1e-9)
        against = "" if recipe in theirs else f"  {other.name}"
        print(f"{name:<18}{score.cells()}   {other.cells()}{ratio:>8.1f}{against}", flush=True)


def _ours(asked: argparse.Namespace, recipes: Sequence[str], budgets: Sequence[float]) -> dict[str, Path]:
    """Our packages by the name of their point."""
    folder = asked.out / "ours"
    swept = pe.sweep(
        asked.model,
        size=(asked.size, asked.size),
        recipes=recipes,
        budgets=budgets,
        tune=asked.tune,
        photos=1,  # `Judge` compares the masks
        out=folder,
        observer=Clock(asked.out / SECONDS),
    )
    return {point.name: folder / point.package for point in swept.points}


def _theirs(plain: Path, name: str, folder: Path) -> tuple[Path, float]:
    """The package that coremltools makes of the uncompressed one, and the processor seconds that it took."""
    made = folder / "coremltools" / saved_package(plain).sha256[:12]
    path, partial = made / f"{name}.mlpackage", made / f"partial-{name}.mlpackage"
    start = time.process_time()
    if not path.exists():
        made.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        with coreml.quiet():
            model = coreml.coremltools().models.MLModel(str(plain), skip_model_load=True)
            THEIRS[name](coreml.optimize(), model).save(str(partial))
        partial.rename(path)
    return path, time.process_time() - start


if __name__ == "__main__":
    main()
