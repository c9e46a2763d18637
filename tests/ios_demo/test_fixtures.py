"""The Swift tests' fixtures are what Python computes today."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from portrait_export.errors import UsageError
from portrait_export.preprocessing import PortraitSpec

from .fixtures import EXACT, FOLDER, ROUNDED, Table, refused_specs, text_of
from .random_draws import SplitMix64

# Sums of single precision in another order: BLAS and NumPy choose it by the processor. Bytes may round the other way.
FLOAT_TOLERANCE = 1e-5
BYTE_TOLERANCE = 1
MAX_BYTES = 1_500_000  # of all fixtures together


def resamples_rows_first() -> bool:
    """Whether Pillow begins with the rows where more of them go than columns, as it does from release 13 on."""
    picture = Image.fromarray(SplitMix64(0).bytes(60, 8, 3))
    rows_first = picture.resize((8, 20), Image.Resampling.BILINEAR).resize((6, 20), Image.Resampling.BILINEAR)
    return picture.resize((6, 20), Image.Resampling.BILINEAR) == rows_first


@pytest.mark.skipif(not resamples_rows_first(), reason="Pillow before 13 resamples in another order")
@pytest.mark.parametrize("name", EXACT)
def test_exact_fixtures_are_reproduced_byte_for_byte(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text() == text_of(EXACT[name]()), "`python -m tests.ios_demo.fixtures` renews"


@pytest.mark.parametrize("name", ROUNDED)
def test_floating_point_fixtures_are_reproduced(name: str) -> None:
    stored = json.loads((FOLDER / f"{name}.json").read_text())
    assert_near(stored, json.loads(text_of(ROUNDED[name]())))


@pytest.mark.parametrize("row", refused_specs(), ids=lambda row: row["name"])
def test_python_refuses_the_same_specs(row: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        PortraitSpec.from_json(row["json"])


def test_there_is_nothing_else_and_it_stays_small() -> None:
    files = list(FOLDER.iterdir())
    assert sorted(file.stem for file in files) == sorted([*EXACT, *ROUNDED])
    assert sum(file.stat().st_size for file in files) < MAX_BYTES


def assert_near(stored: Any, computed: Any) -> None:
    """Two JSON values are the same but for the last bits of packed arrays."""
    assert type(stored) is type(computed)
    if isinstance(stored, dict) and set(stored) == {"shape", "base64"}:
        assert stored["shape"] == computed["shape"]
        is_float = len(base64.b64decode(stored["base64"])) == 4 * np.prod(stored["shape"])
        a, b = (_unpacked(packed, is_float) for packed in (stored, computed))
        assert np.abs(a - b).max() <= (FLOAT_TOLERANCE if is_float else BYTE_TOLERANCE)
    elif isinstance(stored, dict):
        assert set(stored) == set(computed)
        for key in stored:
            assert_near(stored[key], computed[key])
    elif isinstance(stored, list):
        assert len(stored) == len(computed)
        for pair in zip(stored, computed, strict=True):
            assert_near(*pair)
    else:
        assert stored == computed


def _unpacked(packed: dict[str, Any], is_float: bool) -> np.ndarray:
    raw = base64.b64decode(packed["base64"])
    return np.frombuffer(raw, np.float32 if is_float else np.uint8).astype(np.float64)


def test_a_changed_fixture_is_noticed() -> None:
    table: Table = [{"mask": {"shape": [1, 2], "base64": base64.b64encode(np.float32([0, 1]).tobytes()).decode()}}]
    moved = [{"mask": {"shape": [1, 2], "base64": base64.b64encode(np.float32([0, 0.999]).tobytes()).decode()}}]
    with pytest.raises(AssertionError):
        assert_near(table, moved)
