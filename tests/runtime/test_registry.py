"""Test the registry of kernels and the coverage table generated from it."""

from __future__ import annotations

import importlib.util
from typing import Any, Optional

import pytest
from torch import Tensor

from portrait_export.mil import coreml
from portrait_export.runtime.coverage import LIMITS, OPERATORS, REDEFINED, VERSIONS, markdown, rows
from portrait_export.runtime.registry import _without_none, kernel, kernels


def test_a_second_implementation_names_the_first_owner() -> None:
    kernels()
    with pytest.raises(
        ValueError,
        match=r"implements 'softmax', which portrait_export\.runtime\.kernels\.activation\.softmax already does",
    ):

        @kernel("softmax")
        def another(x):  # type: ignore[no-untyped-def]
            return x


def test_annotations_give_the_kinds_of_inputs() -> None:
    softmax = kernels()["softmax"]
    assert [(p.name, p.kind, p.required) for p in softmax.parameters.values()] == [
        ("x", Tensor, True),
        ("axis", int, False),
    ]
    assert kernels()["fill"].extras == ("op", "env")
    assert kernels()["conv"].parameters["bias"].kind is Tensor  # `Tensor | None`
    assert kernels()["concat"].parameters["values"].kind == list[Tensor]


def test_optional_annotations_of_every_python_are_understood() -> None:
    """get_type_hints of Python 3.10 gives typing.Optional for a parameter whose default is None."""
    hints = [int | None, Optional[int], Optional[Any], list[int]]  # noqa: UP045 (the older spelling is the case)
    assert [_without_none(hint) for hint in hints] == [int, int, Any, list[int]]


def test_every_kernel_is_documented_and_takes_known_kinds() -> None:
    known = [Tensor, list[Tensor], int, float, bool, str, list[int], list[float], list[bool], Any]
    for name, one in kernels().items():
        assert one.function.__doc__, name
        assert all(p.kind in known for p in one.parameters.values()), name


def _definitions() -> dict[str, list[str]]:
    """Operator → the versions that define it, by coremltools' own registry."""
    coreml.coremltools()
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    found = {}
    for name, versions in SSAOpRegistry.core_ops.items():
        by_version = [{v.name: cls for v, cls in versions.items()}.get(wanted) for wanted in VERSIONS]
        before = [None, *by_version[:-1]]
        changed = [v for v, cls, last in zip(VERSIONS, by_version, before, strict=True) if cls and cls is not last]
        if not name.startswith("_"):
            found[name] = changed
    return found


def test_the_list_of_operators_is_that_of_coremltools() -> None:
    ours: dict[str, list[str]] = {}
    for version in VERSIONS:
        for name in OPERATORS.get(version, "").split() + REDEFINED.get(version, "").split():
            ours.setdefault(name, []).append(version)
    theirs = _definitions()
    assert set(ours) - set(theirs) == {"write_state"}
    assert {name: versions for name, versions in ours.items() if name in theirs} == theirs


def test_kernels_take_every_input_that_the_definitions_have() -> None:
    """An operator's inputs over all versions, against the parameters of its kernel."""
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    for name, versions in SSAOpRegistry.core_ops.items():
        if name not in kernels() or name.startswith("_"):
            continue
        for version, definition in versions.items():
            if version.name in VERSIONS:
                inputs = {key for key in definition.input_spec.input_types if not key.startswith("_")}
                assert inputs <= set(kernels()[name].parameters), f"{name} of {version.name}"


def test_nothing_is_missing() -> None:
    assert [row.operator for row in rows() if not row.implemented] == []
    assert len(rows()) == 168


def test_the_table_marks_versions_and_limits() -> None:
    table = markdown()
    assert table.startswith("168 of 168 operators are implemented.")
    assert "| `resize` |  |  | ● | ● | ● |  |" in table
    assert f"| `conv_quantized` | ◐ | ◐ | ◐ | ◐ | ◐ | {LIMITS['conv_quantized']} |" in table


def test_no_kernel_outside_the_table() -> None:
    listed = {row.operator for row in rows()}
    assert set(kernels()) - listed == {"coreml_update_state"}


def test_families_are_found_without_a_list() -> None:
    assert importlib.util.find_spec("portrait_export.runtime.kernels.recurrent") is not None
    assert kernels()["lstm"].owner == "portrait_export.runtime.kernels.recurrent.lstm"
