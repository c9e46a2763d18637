"""The registry chooses the lowering for an opset, and refuses a second one with the name of the first."""

from __future__ import annotations

import pytest

from portrait_export.frontend import registry


def test_second_owner_names_the_first() -> None:
    registry.entries()  # loads the families, which register their operators
    with pytest.raises(ValueError, match=r"HardSwish since opset 14 has two lowerings: .*activation\.hard_swish"):
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
