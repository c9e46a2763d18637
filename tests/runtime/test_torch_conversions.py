"""Convert small torch modules with coremltools, run the saved packages, and compare the results with torch.

Torch is the oracle. Each family (`torch_cases.py`) is converted once for each setting; every row is its own test.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from portrait_export.runtime import load
from tests.runtime.packages import from_torch
from tests.runtime.torch_cases import FAMILIES, Together


@dataclass(frozen=True)
class Setting:
    """What a family is converted for, and how far the result may be from torch, in parts of its largest magnitude."""

    target: str
    precision: str
    tolerance: float


# Largest deviations measured over all rows: 3e-6 in fp32 programs, 4e-3 in fp16 programs.
FP32_OF_SCALE, FP16_OF_SCALE = 2e-5, 1e-2
SETTINGS = {
    "iOS15_fp32": Setting("iOS15", "FLOAT32", FP32_OF_SCALE),
    "iOS17_fp16": Setting("iOS17", "FLOAT16", FP16_OF_SCALE),
    "iOS18_fp32": Setting("iOS18", "FLOAT32", FP32_OF_SCALE),
    "iOS26_fp16": Setting("iOS26", "FLOAT16", FP16_OF_SCALE),
}

# Rows whose result may jump where half precision moves a value across a step; they are compared in fp32 only.
STEPS = {
    ("reduction", "argmax"),
    ("reduction", "argmin_kept"),
    ("elementwise", "floor"),
    ("elementwise", "ceil"),
    ("elementwise", "round"),
    ("elementwise", "div_floor"),
    ("elementwise", "remainder"),
    ("elementwise", "equal"),
    ("grid", "nearest"),
    ("indexing", "topk_indices"),
    ("indexing", "argsort"),
}

CASES = [
    pytest.param(family, row, setting, id=f"{family}-{row}-{setting}")
    for setting in SETTINGS
    for family in FAMILIES
    for row in FAMILIES[family].rows
    if not (SETTINGS[setting].precision == "FLOAT16" and (family, row) in STEPS)
]


@cache
def _results(folder: Path, family: str, setting: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Row → (ours, torch's), from one package."""
    rows, examples = FAMILIES[family].rows, FAMILIES[family].inputs
    chosen = SETTINGS[setting]
    package = from_torch(
        folder / f"{family}-{setting}.mlpackage",
        Together(rows),
        examples,
        target=chosen.target,
        precision=chosen.precision,
    )
    program = load(package)
    outputs = program.predict({feature.name: x for feature, x in zip(program.inputs, examples, strict=True)})
    ours = [outputs[feature.name] for feature in program.outputs]  # rows with equal results share a name
    with torch.no_grad():
        theirs = [row(*examples).numpy() for row in rows.values()]
    return dict(zip(rows, zip(ours, theirs, strict=True), strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("torch")


@pytest.mark.parametrize(("family", "row", "setting"), CASES)
def test_agrees_with_torch(folder: Path, family: str, row: str, setting: str) -> None:
    ours, theirs = _results(folder, family, setting)[row]
    assert ours.shape == theirs.shape
    scale = max(1.0, float(np.abs(theirs).max()))
    assert float(np.abs(ours.astype(np.float64) - theirs).max()) <= SETTINGS[setting].tolerance * scale
