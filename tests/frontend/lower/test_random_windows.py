"""Random sliding windows, resizes, slices and lookups equal ONNX Runtime, or are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest

from portrait_export.errors import LoweringError
from portrait_export.frontend.convert import lower
from tests.cases.model import Case, ints, values
from tests.frontend.harness import Trial, mismatch, run

COUNT = 30  # of each kind
LEAST_LOWERED = 0.5
SEED = 7


class Dice:
    """A seeded source of small choices."""

    def __init__(self, seed: int):
        self._random = np.random.default_rng(seed)

    def between(self, low: int, high: int) -> int:
        return int(self._random.integers(low, high + 1))

    def one_of(self, *options: Any) -> Any:
        return options[self.between(0, len(options) - 1)]

    def many(self, count: int, low: int, high: int) -> list[int]:
        return [self.between(low, high) for _ in range(count)]


def pooling(dice: Dice, index: int) -> Case:
    op_type, spatial = dice.one_of("MaxPool", "AveragePool"), dice.one_of(1, 2, 2, 3)
    kernel = dice.many(spatial, 1, 4)
    attrs: dict[str, Any] = {"kernel_shape": kernel, "strides": dice.many(spatial, 1, 3)}
    attrs["dilations"] = dice.many(spatial, 1, dice.one_of(1, 2))
    attrs |= dice.one_of({}, {"pads": [min(1, k - 1) for k in kernel] * 2}, {"auto_pad": "SAME_UPPER"})
    attrs |= dice.one_of({}, {"ceil_mode": 1})
    attrs |= dice.one_of({}, {"count_include_pad": 1}) if op_type == "AveragePool" else {}
    outputs = dice.between(1, 2) if op_type == "MaxPool" else 1
    x = values(1, 2, *dice.many(spatial, 6, 10), seed=index)
    return Case(f"pool_{index}", op_type, {"x": x}, outputs=outputs, opset=19, attrs=attrs)


def transposed_convolution(dice: Dice, index: int) -> Case:
    spatial, groups = dice.one_of(1, 2, 2, 3), dice.one_of(1, 2)
    strides = dice.many(spatial, 1, 3)
    attrs: dict[str, Any] = {"strides": strides, "dilations": dice.many(spatial, 1, 2), "group": groups}
    attrs |= dice.one_of(
        {"pads": dice.many(2 * spatial, 0, 1)},
        {"auto_pad": dice.one_of("SAME_UPPER", "SAME_LOWER", "VALID")},
        {"output_padding": [dice.between(0, min(s - 1, 1)) for s in strides]},
    )
    x, w = values(1, 2 * groups, *dice.many(spatial, 2, 5)), values(2 * groups, 2, *dice.many(spatial, 1, 4), seed=1)
    return Case(f"conv_transpose_{index}", "ConvTranspose", {"x": x}, {"w": w}, attrs=attrs)


def resize(dice: Dice, index: int) -> Case:
    mode = dice.one_of("nearest", "linear", "cubic")
    modes = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric")
    attrs: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": dice.one_of(*modes)}
    if mode == "nearest":
        attrs["nearest_mode"] = dice.one_of("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
    elif dice.between(0, 2) == 0:
        attrs["antialias"] = 1
    if mode == "cubic":
        attrs |= {"cubic_coeff_a": dice.one_of(-0.5, -0.75), "exclude_outside": dice.between(0, 1)}
    x = {"x": values(1, 2, *dice.many(2, 2, 7), seed=index)}
    if dice.between(0, 1):
        params, names = {"s": ints(1, 2, *dice.many(2, 1, 12))}, ("x", "", "", "s")
    else:
        scales = (1, 1, dice.one_of(0.5, 0.6, 1, 1.5, 2, 2.6, 3), dice.one_of(0.5, 0.7, 1, 1.3, 2, 3))
        params, names = {"s": np.asarray(scales, np.float32)}, ("x", "", "s")  # type: ignore[assignment]
    return Case(f"resize_{index}", "Resize", x, params, names, opset=19, attrs=attrs)


def lookup(dice: Dice, index: int) -> Case:
    shape, axis = dice.many(3, 2, 4), dice.between(-3, 2)
    x, size = values(*shape, seed=index), shape[axis]
    if dice.between(0, 1):
        i = values(2, dice.between(1, 3), low=-size, high=size - 1, dtype=np.int64, seed=index)
        return Case(f"gather_{index}", "Gather", {"x": x, "i": i}, attrs={"axis": axis})
    part = [dice.between(1, size) for size in shape]
    part[axis] = 1
    i = values(*part, low=-size, high=size - 1, dtype=np.int64, seed=index)
    attrs = {"axis": axis, "reduction": dice.one_of("none", "add", "mul", "max", "min")}
    feeds = {"x": x, "i": i, "u": values(*part, seed=index + 1)}
    return Case(f"scatter_{index}", "ScatterElements", feeds, opset=18, attrs=attrs)


def backward_and_forward_slice(dice: Dice, index: int) -> Case:
    shape = dice.many(3, 3, 6)
    axes = list(np.random.default_rng(index).permutation(3)[: dice.between(1, 3)])
    steps = [dice.one_of(-2, -1, 1, 2) for _ in axes]
    starts = [dice.between(-2, 1) if s > 0 else dice.between(2, 7) for s in steps]
    ends = [dice.between(2, 9) if s > 0 else dice.between(-9, 0) for s in steps]
    params = {"s": ints(*starts), "e": ints(*ends), "a": ints(*axes), "t": ints(*steps)}
    return Case(f"slice_{index}", "Slice", {"x": values(*shape, seed=index)}, params)


KINDS = [pooling, transposed_convolution, resize, lookup, backward_and_forward_slice]


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_equals_onnx_runtime_or_is_refused(make: Callable[[Dice, int], Case]) -> None:
    dice = Dice(SEED)
    cases = [make(dice, index) for index in range(COUNT)]
    lowered = [case for case in cases if _lowers(case)]
    assert len(lowered) >= LEAST_LOWERED * COUNT
    for opset in {case.opset for case in lowered}:
        group = [case for case in lowered if case.opset == opset]
        results = run([Trial(case.name, case.model(), case.feeds) for case in group])
        for case, actual in zip(group, results, strict=True):
            for wanted, found in zip(_expected(case), actual, strict=True):
                assert (case.attrs, mismatch(wanted, found, atol=1e-4)) == (case.attrs, "")


def _lowers(case: Case) -> bool:
    try:
        lower(case.model())
    except LoweringError:
        return False
    return True


def _expected(case: Case) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(case.model().SerializeToString()).run(None, dict(case.feeds))
