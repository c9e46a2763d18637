"""The random numbers that Python and Swift both draw: SplitMix64, and FNV-1a digests of what came out."""

from __future__ import annotations

import numpy as np

MASK = (1 << 64) - 1


class SplitMix64:
    """Steele, Lea and Flood, OOPSLA 2014. `ios_demo/Tests/PortraitKitTests/SplitMix64.swift` draws the same."""

    def __init__(self, seed: int):
        self._state = seed

    def next(self) -> int:
        """64 random bits."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & MASK
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def below(self, limit: int) -> int:
        """A whole number in 0..limit-1."""
        return self.next() % limit

    def bytes(self, *shape: int) -> np.ndarray:
        """uint8 of a shape, each from the highest bits of one draw."""
        count = int(np.prod(shape))
        return np.array([self.next() >> 56 for _ in range(count)], np.uint8).reshape(shape)

    def units(self, *shape: int) -> np.ndarray:
        """float32 in 0..1 of a shape, each of 24 bits, so that both sides hold the same value."""
        count = int(np.prod(shape))
        return np.array([self.next() >> 40 for _ in range(count)], np.float32).reshape(shape) / np.float32(1 << 24)


def digest(array: np.ndarray) -> str:
    """FNV-1a, 64 bits, of an array's bytes (little-endian), as 16 hexadecimal digits."""
    value = 0xCBF29CE484222325
    for byte in np.ascontiguousarray(array).tobytes():
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return f"{value:016x}"
