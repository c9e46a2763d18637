"""Change stored bytes of a weight in a package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from portrait_export.mil.audit.stored import StoredValues
from portrait_export.mil.constants import Constant
from portrait_export.mil.program import read_program


def stored_bytes(path: Path, weight: str, parameter: str) -> tuple[Path, int, int]:
    """The file, offset and size of a parameter of a weight, through any chain of operators."""
    values = StoredValues.of(read_program(path).main)
    [op] = [op for op in values.weights if op.outputs[0][0].startswith(weight)]
    for step in values.chain(op):
        part = values.parts(step).get(parameter)
        if isinstance(part, Constant):
            blob = part.stored
            assert blob is not None
            [file] = path.rglob("weight.bin")
            return file, blob.offset, blob.size_bytes
    raise AssertionError(f"{weight} has no {parameter}")


def damage(path: Path, weight: str, parameter: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change the stored bytes of a parameter: (n,) uint8 → the same number."""
    file, offset, size = stored_bytes(path, weight, parameter)
    data = bytearray(file.read_bytes())
    old = np.frombuffer(bytes(data[offset : offset + size]), np.uint8)
    new = change(old.copy()).astype(np.uint8)
    assert new.size == size
    assert not np.array_equal(old, new)
    data[offset : offset + size] = new.tobytes()
    file.write_bytes(data)


def one_byte(at: int, value: int = 0x80) -> Callable[[np.ndarray], np.ndarray]:
    def change(raw: np.ndarray) -> np.ndarray:
        raw[at] ^= value
        return raw

    return change


def nibbles_swapped(raw: np.ndarray) -> np.ndarray:
    return (raw << 4) | (raw >> 4)


def halves(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Change half-precision values."""
    return lambda raw: np.ascontiguousarray(change(raw.view(np.float16)).astype(np.float16)).view(np.uint8)


def one_nan(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values[3] = np.nan
    return values


def one_times(factor: float, at: int = 3) -> Callable[[np.ndarray], np.ndarray]:
    """Change one half-precision value."""

    def change(values: np.ndarray) -> np.ndarray:
        values = values.copy()
        values[at] = np.float16(factor * float(values[at]))
        return values

    return halves(change)


def to_zero(values: np.ndarray) -> np.ndarray:
    return values * 0


def reversed_order(values: np.ndarray) -> np.ndarray:
    return values[::-1]


def negated(values: np.ndarray) -> np.ndarray:
    return -values


def to_first(values: np.ndarray) -> np.ndarray:
    return np.full_like(values, values[0])
