"""Fourier transforms."""

from __future__ import annotations

import numpy as np

from .model import Case, values

REAL, COMPLEX = {"x": values(2, 5, 7, 1)}, {"x": values(2, 5, 7, 2)}


def _dft(name: str, feeds: dict[str, np.ndarray], axis: int, length: int = 0, **attrs: int) -> Case:
    params = {"axis": np.asarray(axis, np.int64)} | ({"length": np.asarray(length, np.int64)} if length else {})
    return Case(f"dft_{name}", "DFT", feeds, params, ("x", "length" if length else "", "axis"), opset=20, attrs=attrs)


def _stft(name: str, step: int, window: int = 0, length: int = 0, parts: int = 1, **attrs: int) -> Case:
    params = {"step": np.asarray(step, np.int64)}
    params |= {"window": values(window, low=0)} if window else {}
    params |= {"length": np.asarray(length, np.int64)} if length else {}
    names = ("x", "step", "window" if window else "", "length" if length else "")
    return Case(f"stft_{name}", "STFT", {"x": values(2, 20, parts)}, params, names, attrs=attrs)


CASES = [
    _dft("of_real_numbers", REAL, 1),
    _dft("onesided_odd", REAL, -2, onesided=1),
    _dft("of_complex_numbers", COMPLEX, 2),
    _dft("inverse", COMPLEX, 1, inverse=1),
    _dft("inverse_to_real_numbers", COMPLEX, 1, inverse=1, onesided=1),
    _dft("inverse_to_an_odd_count", COMPLEX, 2, length=13, inverse=1, onesided=1),
    _dft("filled_up_with_zeros", COMPLEX, 1, length=8),
    _dft("cut", REAL, 2, length=4, onesided=1),
    Case("dft_axis_as_attribute", "DFT", REAL, attrs={"axis": 2, "onesided": 1}),
    _stft("of_frames", 3, length=8),
    _stft("windowed", 4, window=8, length=8),
    _stft("both_sides", 5, window=8, onesided=0),
]
