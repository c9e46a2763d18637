"""Which lowering is chosen, and that a second owner of an operator is an error that names the first."""

from __future__ import annotations

import pytest

from portrait_export.frontend import registry


def test_second_owner_names_the_first() -> None:
    registry.entries()  # the operators register when they are first asked for
    with pytest.raises(ValueError, match=r"HardSwish since opset 14 is already lowered by .*activation\.hard_swish"):
        registry.lowers("HardSwish", since=14)(lambda node: None)


@pytest.mark.parametrize(
    ("op_type", "opset", "function"),
    [
        ("Softmax", 11, "softmax_2d"),
        ("Softmax", 12, "softmax_2d"),
        ("Softmax", 13, "softmax"),
        ("Softmax", 21, "softmax"),
        ("GroupNormalization", 20, "group_normalization_by_group"),
        ("GroupNormalization", 21, "group_normalization"),
        ("Clip", 6, "clip_by_attributes"),
        ("Clip", 11, "clip"),
    ],
)
def test_newest_definition_not_after_the_opset(op_type: str, opset: int, function: str) -> None:
    entry = registry.find(op_type, opset)
    assert entry is not None
    assert entry.owner.endswith(f".{function}")


def test_operator_newer_than_the_opset_has_no_lowering() -> None:
    assert registry.find("HardSwish", 13) is None
    assert registry.find("NoSuchOperator", 17) is None
