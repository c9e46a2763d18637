"""Count which half-precision numbers values take while a program runs: what ranges of activations are chosen from.

Half precision has 65,536 bit patterns, so a count of each is exact, needs half a megabyte per value however many
photographs are counted, and does not depend on their order.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

PATTERNS = 1 << 16
_NOT_FINITE = (slice(0x7C00, 0x8000), slice(0xFC00, PATTERNS))  # all bits of the exponent are set, for both signs
_CHUNK = 1 << 20  # elements that are counted together, to bound the memory of their indices


class Ranges:
    """A hook for `CoreMLProgram.predict`.

    Attributes:
        counts: (65536,) int64 by the value's name: how often each bit pattern occurred. Only values that were computed.
    """

    def __init__(self, names: Iterable[str]):
        self._names = frozenset(names)
        self.counts: dict[str, np.ndarray] = {}

    def __call__(self, name: str, value: Any) -> None:
        """Count a computed value, if its name is one of ours."""
        if name not in self._names or not isinstance(value, Tensor):
            return
        patterns = value.detach().half().reshape(-1).view(torch.int16)
        counts = self.counts.setdefault(name, np.zeros(PATTERNS, np.int64))
        for chunk in patterns.split(_CHUNK):
            counts += torch.bincount(chunk.long() & (PATTERNS - 1), minlength=PATTERNS).cpu().numpy()

    def not_finite(self) -> dict[str, int]:
        """How many NaN and infinities each value had, where it had some."""
        found = {name: sum(int(counts[part].sum()) for part in _NOT_FINITE) for name, counts in self.counts.items()}
        return {name: count for name, count in found.items() if count}

    def histogram(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The finite numbers that a value took, ascending in float32, and how often it took each."""
        counts = self.counts[name]
        numbers = _numbers()
        taken = np.flatnonzero((counts > 0) & np.isfinite(numbers))
        order = taken[np.argsort(numbers[taken], kind="stable")]
        return numbers[order], counts[order]


def _numbers() -> np.ndarray:
    """The number of each bit pattern, in float32: numpy's sorts of half precision are not reliable."""
    return np.arange(PATTERNS, dtype=np.uint16).view(np.float16).astype(np.float32)
