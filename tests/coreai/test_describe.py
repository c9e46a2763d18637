"""Sizes of stored types in the description of an asset."""

from __future__ import annotations

import pytest

from portrait_export.coreai.describe import _stored


@pytest.mark.parametrize(
    ("kind", "elements", "size_bytes"),
    [("Float32", 3, 12), ("BFloat16", 3, 6), ("SInt8", 3, 3), ("UInt4", 3, 2), ("UInt3", 8, 3), ("Bool", 5, 5)],
)
def test_bytes_of_packed_elements(kind: str, elements: int, size_bytes: int) -> None:
    assert _stored(kind, elements) == {"elements": elements, "bytes": size_bytes}
