"""Generate random cases of operators with many attribute combinations, and compare each with ONNX Runtime.

`python -m tests.frontend.random_cases [SEED [COUNT]]` prints per kind how many equal ONNX Runtime, are refused, differ.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnxruntime

from portrait_export.errors import LoweringError
from portrait_export.frontend.convert import lower
from tests.cases.model import Case, ints, values

from .harness import Trial, mismatch, run

FATAL = 4  # ONNX Runtime's log level


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

    def some_of(self, count: int) -> list[int]:
        """At least one of 0..count-1, each at most once, in any order."""
        return [int(i) for i in self._random.permutation(count)[: self.between(1, count)]]


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


def convolution(dice: Dice, index: int) -> Case:
    spatial, groups = dice.one_of(1, 2, 2, 3), dice.one_of(1, 2, 3)
    kernel = dice.many(spatial, 1, 3)
    attrs: dict[str, Any] = {"group": groups, "strides": dice.many(spatial, 1, 3)}
    attrs["dilations"] = dice.many(spatial, 1, 2)
    same = {"auto_pad": dice.one_of("SAME_UPPER", "SAME_LOWER", "VALID")}
    attrs |= dice.one_of({}, {"pads": dice.many(2 * spatial, 0, 3)}, same)
    if attrs.get("auto_pad", "VALID") != "VALID":
        attrs["dilations"] = [1] * spatial  # ONNX Runtime has no other
    w = values(groups * dice.between(1, 3), dice.between(1, 2), *kernel, seed=index + 1)
    x = values(dice.between(1, 2), groups * w.shape[1], *dice.many(spatial, 5, 9), seed=index)
    bias = dice.one_of({}, {"b": values(len(w), seed=index + 2)})
    return Case(f"conv_{index}", "Conv", {"x": x}, {"w": w, **bias}, attrs=attrs)


def padding(dice: Dice, index: int) -> Case:
    rank, mode = dice.between(1, 5), dice.one_of("constant", "reflect", "edge", "wrap")
    axes = dice.some_of(rank)
    pads = dice.many(2 * len(axes), dice.one_of(-1, 0), 2)
    given = [axis - dice.one_of(0, rank) for axis in axes]
    params = {"p": ints(*pads), "a": ints(*given)} | dice.one_of({}, {"v": np.asarray(2.5, np.float32)})
    names = ("x", "p", "v" if "v" in params else "", "a")
    x = values(*dice.many(rank, 3, 6), seed=index)
    return Case(f"pad_{index}", "Pad", {"x": x}, params, names, opset=19, attrs={"mode": mode})


def sampling(dice: Dice, index: int) -> Case:
    mode, batch = dice.one_of("nearest", "linear", "cubic"), dice.between(1, 2)
    spatial = 2 if mode == "cubic" else dice.one_of(2, 3)
    x = values(batch, dice.between(1, 3), *dice.many(spatial, 1, 6), seed=index)
    places = values(batch, *dice.many(spatial, 1, 4), spatial, seed=index + 1, low=-1.6, high=1.6)
    attrs = {"mode": mode, "padding_mode": dice.one_of("zeros", "border", "reflection")}
    attrs["align_corners"] = dice.between(0, 1)
    return Case(f"grid_{index}", "GridSample", {"x": x, "g": places}, opset=20, attrs=attrs)


def contraction(dice: Dice, index: int) -> Case:
    sizes = {letter: dice.between(1, 4) for letter in "abcde"}
    terms = ["".join("abcde"[i] for i in dice.some_of(5)[:4]) for _ in range(dice.between(1, 3))]
    terms[0] += dice.one_of("", "", terms[0][0])  # a diagonal
    letters = sorted(set("".join(terms)))
    arrow = dice.one_of("", "->" + "".join(letters[i] for i in dice.some_of(len(letters))))
    shapes = [[sizes[letter] for letter in term] for term in terms]
    feeds = {f"x{i}": values(*shape, seed=index + i) for i, shape in enumerate(shapes)}
    return Case(f"einsum_{index}", "Einsum", feeds, attrs={"equation": ",".join(terms) + arrow})


def ranking(dice: Dice, index: int) -> Case:
    shape, op_type = dice.many(dice.between(1, 4), 2, 6), dice.one_of("TopK", "ArgMax", "ArgMin")
    axis, x = dice.between(-len(shape), len(shape) - 1), values(*shape, seed=index)
    x = dice.one_of(x, np.round(x * 2), (x * 3).astype(np.int32))  # with equals
    if op_type == "TopK":
        attrs = {"axis": axis, "largest": dice.between(0, 1)}
        return Case(
            f"topk_{index}", op_type, {"x": x}, {"k": ints(dice.between(1, shape[axis]))}, outputs=2, attrs=attrs
        )
    attrs = {"axis": axis, "keepdims": dice.between(0, 1), "select_last_index": dice.between(0, 1)}
    return Case(f"arg_{index}", op_type, {"x": x}, attrs=attrs, opset=13)


KINDS = [
    pooling,
    convolution,
    transposed_convolution,
    resize,
    padding,
    lookup,
    backward_and_forward_slice,
    sampling,
    contraction,
    ranking,
]


def lowers(case: Case) -> bool:
    """Whether the case is lowered, not refused."""
    try:
        lower(case.model())
    except LoweringError:
        return False
    return True


def expected(case: Case) -> list[np.ndarray]:
    """What ONNX Runtime computes."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    return onnxruntime.InferenceSession(case.model().SerializeToString(), options).run(None, dict(case.feeds))


def differences(cases: Iterable[Case]) -> dict[str, str]:
    """How each case differs from ONNX Runtime, empty where it does not; those of one opset share a package."""
    found, groups = {}, {}
    for case in cases:
        groups.setdefault(case.opset, []).append(case)
    for group in groups.values():
        results = run([Trial(case.name, case.model(), case.feeds) for case in group])
        for case, actual in zip(group, results, strict=True):
            pairs = zip(expected(case), actual, strict=True)
            found[case.name] = next(filter(None, (mismatch(a, b, atol=1e-4) for a, b in pairs)), "")
    return found


def main(seed: int = 0, count: int = 100) -> None:
    """Print the counts of each kind and every difference."""
    for make in KINDS:
        dice = Dice(seed)
        cases = [make(dice, index) for index in range(count)]
        lowered = [case for case in cases if lowers(case)]
        found = differences(lowered)
        equal = sum(not text for text in found.values())
        numbers = f"{equal} equal, {count - len(lowered)} refused, {len(lowered) - equal} differ"
        print(f"{make.__name__:<28}{numbers}")
        for case in lowered:
            if found[case.name]:
                print(f"  {case.name} opset {case.opset} {dict(case.attrs)}: {found[case.name]}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
