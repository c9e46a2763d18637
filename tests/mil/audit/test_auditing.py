"""The audit reports the stored weights by type, bytes and error, and which were skipped and why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from portrait_export.mil.audit import Audit, audit_program, recorded
from portrait_export.mil.compile import compile_program
from portrait_export.mil.package import save_package
from portrait_export.mil.program import Metadata, read_program

from .. import programs
from ..programs import as_int8, two_convolutions, weights


def audited(folder: Path, recipe: str, target: str = "iOS17", **asked) -> Audit:
    lowered = two_convolutions(target)
    compiled = compile_program(lowered)
    path = folder / "a.mlpackage"
    save_package(compiled, lowered, path, metadata=Metadata())
    if recipe == "int8":
        as_int8(path)
    return audit_program(read_program(path), originals=recorded(compiled.originals), **asked)


@pytest.mark.parametrize("target", ["iOS16", "iOS17", "iOS18", "iOS26"])
def test_int8_is_found_in_the_bytes(target, tmp_path):
    audit = audited(tmp_path, "int8", target, requested="int8")
    assert audit.passed
    [applied] = audit.applied
    assert (applied.dtype, applied.shape, applied.used_by) == ("int8", (128, 3, 3, 3), ("conv",))
    assert 128 * 27 < applied.size_bytes < 128 * 27 + 1024  # one byte an element, and the scales


def test_the_error_of_int8_equals_rounding_to_255_steps(tmp_path):
    [applied] = audited(tmp_path, "int8", requested="int8").applied
    original = weights(0, 128, 3, 3, 3).astype(np.float16).astype(np.float64)
    scale = np.abs(original).max(axis=(1, 2, 3), keepdims=True) / 127
    rounding = np.sqrt(np.mean((np.round(original / scale) * scale - original) ** 2) / np.mean(original**2))
    assert applied.error == pytest.approx(rounding, rel=0.05)


def test_a_small_weight_is_skipped_with_its_reason(tmp_path):
    [skipped] = audited(tmp_path, "int8", requested="int8").skipped
    assert skipped.dtype == "fp16"
    assert skipped.skipped == "1152 elements, too small: scales would cost more than they save"


def test_a_request_that_was_not_fulfilled_is_a_problem(tmp_path):
    audit = audited(tmp_path, "none", requested="int8")
    assert not audit.passed
    assert any("stayed fp16 (conv)" in problem for problem in audit.problems)
    assert "no weight is stored as int8" in audit.problems


def test_without_a_request_every_weight_is_listed_without_problems(tmp_path):
    audit = audited(tmp_path, "none")
    assert audit.passed
    assert audit.by_dtype() == {"fp16": {"weights": 2, "elements": 4608, "bytes": 9216}}
    assert [w.shape for w in audit.weights] == [(128, 3, 3, 3), (1, 128, 3, 3)]


def test_damaged_scales_are_a_problem(tmp_path):
    lowered = two_convolutions()
    compiled = compile_program(lowered)
    path = tmp_path / "a.mlpackage"
    save_package(compiled, lowered, path, metadata=Metadata())
    as_int8(path)
    originals = {name: -value for name, value in compiled.originals.items()}
    audit = audit_program(read_program(path), requested="int8", originals=recorded(originals))
    assert not audit.passed
    assert "does not decode to the original" in audit.problems[0]


@pytest.mark.parametrize("recipe", ["int8", "none"])
def test_weights_too_small_for_half_precision_are_a_problem(tmp_path, monkeypatch, recipe):
    """The cast to half precision makes zeros of them, which int8 holds exactly: the error must not read as 0."""
    monkeypatch.setattr(programs, "weights", lambda seed, *shape: weights(seed, *shape) * np.float32(1e-8))
    audit = audited(tmp_path, recipe)
    assert [weight.error for weight in audit.weights] == [1.0, 1.0]
    assert len(audit.problems) == 2
    assert all("100 % of it" in problem for problem in audit.problems)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_error_of_int8_is_the_same_at_every_scale(tmp_path, monkeypatch, scale):
    monkeypatch.setattr(programs, "weights", lambda seed, *shape: weights(seed, *shape) * np.float32(scale))
    audit = audited(tmp_path, "int8")
    assert audit.passed
    assert audit.largest_error == pytest.approx(0.0051, rel=0.2)
