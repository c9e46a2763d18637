"""Run grown programs and compare every value with what coremltools infers for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from portrait_export.errors import PortraitError
from portrait_export.mil.package import write_package
from portrait_export.runtime.model import CoreMLProgram
from tests.runtime.grammar import Grown

# Up to twelve float32 operations in a chain, in other orders of summation; no step or steep function is of an inexact
# value. Over 2,000 programs the only larger difference was a cosine of such a value, which is not grown any more.
RTOL, OF_SCALE = 1e-4, 1e-5


def write(grown: Grown, folder: Path) -> Path:
    """Save a grown program as a package; what was there is replaced. It can be saved once."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    weights = None if grown.model.weights_dir is None else Path(grown.model.weights_dir)
    write_package(folder, grown.model.get_spec().SerializeToString(), weights)
    shutil.rmtree(grown.model.package_path)  # coremltools keeps its temporary packages until Python exits
    return folder


def run(grown: Grown, package: Path) -> str:
    """`result`, or `bad: …` with the first value that is not what coremltools infers, or the error."""
    try:
        program = CoreMLProgram.load(package)
        fused = {name for name in grown.expected if name not in program.names}
        found = program.trace(grown.given, [name for name in grown.expected if name not in fused])
        names = [name for name, _ in program.plan.outputs]
        plain, fast = program.trace(grown.given, names), program.predict_and_keep(grown.given, names)[1]
    except PortraitError as error:
        return f"bad: {error}"  # the program is valid
    except Exception as error:  # exactly what must not happen
        return f"bad: {type(error).__name__}: {error}"
    if not all(name.startswith("sigmoid_") for name in fused):  # which coremltools makes a silu of, with its product
        return f"bad: the program lacks {', '.join(sorted(fused))}"
    for name, number in found.items():
        problem = difference(number, grown.expected[name])
        if problem:
            return f"bad: {name}: {problem}; operators {', '.join(grown.operators)}"
    for name in names:
        problem = difference(fast[name], plain[name])
        if problem:
            return f"bad: the fused {name}: {problem}; operators {', '.join(grown.operators)}"
    return "result"


def difference(found: np.ndarray, expected: np.ndarray) -> str:
    """What differs, or an empty text. NaN equals NaN, and an infinity itself."""
    if found.shape != expected.shape:
        return f"shape {list(found.shape)} instead of {list(expected.shape)}"
    ours, theirs = found.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(ours) & np.isfinite(theirs)
    scale = max(1.0, float(np.abs(theirs[finite]).max())) if finite.any() else 1.0
    with np.errstate(invalid="ignore"):
        near = np.abs(ours - theirs) <= RTOL * np.abs(theirs) + OF_SCALE * scale
    same = (finite & near) | (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    if same.all():
        return ""
    place = int(np.flatnonzero(~same)[0])
    return f"{ours.flat[place]:.9g} instead of {theirs.flat[place]:.9g} at element {place}, {int((~same).sum())} such"
