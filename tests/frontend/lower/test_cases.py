"""Every row of tests/cases, through a saved package and our runtime, equals ONNX Runtime or onnx's reference."""

from __future__ import annotations

import importlib
from functools import cache
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from portrait_export.frontend import registry
from portrait_export.frontend.convert import lower
from tests.cases.model import Case
from tests.frontend.harness import Trial, mismatch, run

# Folded before they reach their lowering, which only refuses; tested in test_refusals.
ONLY_REFUSED = {"Constant", "ConstantOfShape"}
# Take a sequence and give a sequence; tested in test_sequence.
SEQUENCES = {"SequenceEmpty", "SequenceErase", "SequenceInsert"}


def family(name: str) -> ModuleType:
    return importlib.import_module(f"tests.cases.{name}")


ALL = [(name, case) for name in registry.FAMILIES for case in family(name).CASES]


def expected(case: Case) -> list[np.ndarray]:
    """What ONNX Runtime computes; onnx's own reference where that has no kernel for a type or opset."""
    model = case.model()
    feeds = dict(case.feeds)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        return session.run(None, feeds)
    except Exception:  # every kind of "not implemented" that it has
        return ReferenceEvaluator(model).run(None, feeds)


def trial(case: Case) -> Trial:
    return Trial(case.name, case.model(), case.feeds)


@cache
def results(family_name: str) -> dict[str, list[np.ndarray]]:
    """All rows of a family; those of one opset share a package."""
    computed: dict[str, list[np.ndarray]] = {}
    cases = family(family_name).CASES
    for opset in sorted({case.opset for case in cases}):
        group = [case for case in cases if case.opset == opset and not _has_graph(case)]
        if group:
            computed |= {c.name: r for c, r in zip(group, run([trial(c) for c in group]), strict=True)}
    for case in cases:
        if _has_graph(case):
            computed[case.name] = run([trial(case)])[0]
    return computed


def _has_graph(case: Case) -> bool:
    return any(isinstance(value, onnx.GraphProto) for value in case.attrs.values())


@pytest.mark.parametrize(("family_name", "case"), ALL, ids=[f"{name}-{case.name}" for name, case in ALL])
def test_case_equals_onnx(family_name: str, case: Case) -> None:
    actual = results(family_name)[case.name]
    for wanted, found in zip(expected(case), actual, strict=True):
        assert mismatch(np.asarray(wanted), found, rtol=1e-4, atol=1e-5) == ""


def test_case_names_are_unique() -> None:
    names = [case.name for _, case in ALL]
    assert sorted(set(names)) == sorted(names)


def test_every_lowering_has_a_case() -> None:
    covered = {registry.find(name, case.opset) for _, case in ALL for name in (case.op_type, case.then)}
    missing = [f"{e.op_type} since {e.since}" for e in registry.entries() if e not in covered]
    assert [name for name in missing if name.split()[0] not in ONLY_REFUSED | SEQUENCES] == []


@pytest.mark.parametrize(("target", "without"), [("iOS16", {"QuantizeLinear"}), ("iOS18", set())])
def test_every_case_lowers_for_other_targets(target: str, without: set[str]) -> None:
    """One row per operator also lowers for the oldest and the newest target; iOS16 has no 8-bit tensors."""
    seen = set(without)
    for _, case in ALL:
        if case.op_type not in seen:
            seen.add(case.op_type)
            lower(case.model(), target=target)
