"""`--tune` changes what a package stores, keeps the audit exact; recipes that lose little are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from portrait_export.errors import QuantizeError
from portrait_export.mil.program import read_program
from portrait_export.mil.values import Values
from portrait_export.quantize import encode
from portrait_export.quantize.apply import check_recipe
from portrait_export.quantize.recipes import RECIPES, get_recipe
from portrait_export.workflows import tune

WORDS = ["coreml", "-m", "segformer_b0", "--random-weights", "--size", "64x64", "--quantize", "palette2", "-q"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "STEPS", 16)
    monkeypatch.setattr(tune, "PHOTOGRAPHS", 4)
    monkeypatch.setattr(encode, "SMALL_SHARE", 0.0)  # few bits in early layers lose what tuning can win back


def exported(cli, folder: Path, *more: str) -> dict:
    cli(*WORDS, "--no-parity", "-o", folder, *more)
    return json.loads((folder / "export.json").read_text())


def constants(folder: Path) -> dict[str, np.ndarray]:
    function = read_program(folder / "segformer_b0.mlpackage").main
    found = Values.of(function.inputs, function.block).constants
    return {name: value.numpy() for name, value in found.items() if getattr(value.type, "dtype", "") == "fp16"}


def test_a_tuned_package_has_other_biases_and_norms_and_the_audit_holds(cli, tmp_path, quick):
    nearest = ("--rounding", "nearest")  # loses it, too, also with random weights
    rounded = exported(cli, tmp_path / "rounded", *nearest)
    tuned = exported(cli, tmp_path / "tuned", *nearest, "--tune")
    assert tuned["audit"]["problems"] == rounded["audit"]["problems"] == []
    assert abs(tuned["package"]["size_bytes"] - rounded["package"]["size_bytes"]) < 5000
    [stage] = [stage for stage in tuned["stages"] if stage["name"] == "tune"]
    assert "held-out photographs" in stage["summary"]
    before, after = constants(tmp_path / "rounded"), constants(tmp_path / "tuned")
    assert any(name in after and not np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if not recipe.few_bits])
def test_recipes_that_lose_little_are_refused(name):
    with pytest.raises(QuantizeError, match=f"Recipe {name} loses too little to be improved"):
        check_recipe(get_recipe(name), target="iOS18", tune=True)
