"""Operators that move elements."""

from __future__ import annotations

import numpy as np

from .model import Case, ints, values

X = {"x": values(2, 3, 4, 5)}
I = {"x": values(2, 3, 4, dtype=np.int32)}  # noqa: E741  the one integer tensor of this table
P = {"x": values(2, 3, 4, dtype=bool)}
SENTINEL = 2**63 - 1  # what exporters write for "to the end"


def _slice(
    name: str, starts: list[int], ends: list[int], axes: list[int] | None = None, steps: list[int] | None = None
) -> Case:
    given = {"starts": starts, "ends": ends, "axes": axes, "steps": steps}
    params = {key: ints(*value) for key, value in given.items() if value is not None}
    names = ("x", "starts", "ends", "axes" if axes else "", "steps" if steps else "")
    return Case(name, "Slice", X, params, names)


def _pad(
    name: str, pads: list[int], feeds: dict[str, np.ndarray] = X, value: float | None = None, **attrs: object
) -> Case:
    params = {"pads": ints(*pads)}
    if value is not None:
        params["value"] = np.asarray(value, feeds["x"].dtype)
    return Case(name, "Pad", feeds, params, attrs=attrs)


CASES = [
    Case("reshape_inferred", "Reshape", X, {"s": ints(2, -1)}),
    Case("reshape_keeps_zero", "Reshape", X, {"s": ints(0, 0, 20)}),
    Case("reshape_to_scalar", "Reshape", {"x": values(1, 1)}, {"s": ints()}),
    Case("reshape_bools", "Reshape", P, {"s": ints(4, 6)}),
    Case("flatten_axis_1", "Flatten", X),
    Case("flatten_axis_0", "Flatten", X, attrs={"axis": 0}),
    Case("flatten_negative_axis", "Flatten", X, attrs={"axis": -1}),
    Case("squeeze_axes", "Squeeze", {"x": values(1, 3, 1, 2)}, {"a": ints(0)}),
    Case("squeeze_all", "Squeeze", {"x": values(1, 3, 1, 2)}),
    Case("squeeze_axes_as_attribute", "Squeeze", {"x": values(1, 3, 1, 2)}, opset=11, attrs={"axes": [2]}),
    Case("unsqueeze_unordered", "Unsqueeze", {"x": values(3, 4)}, {"a": ints(-1, 0)}),
    Case("unsqueeze_scalar", "Unsqueeze", {"x": np.asarray(3, "f")}, {"a": ints(0)}),
    Case("unsqueeze_axes_as_attribute", "Unsqueeze", {"x": values(3, 4)}, opset=11, attrs={"axes": [1]}),
    Case("transpose_reversed", "Transpose", X),
    Case("transpose_perm", "Transpose", X, attrs={"perm": [0, 2, 3, 1]}),
    Case("transpose_ints", "Transpose", I, attrs={"perm": [1, 0, 2]}),
    Case("concat_channels", "Concat", {"x": values(1, 2, 3), "y": values(1, 4, 3)}, attrs={"axis": 1}),
    Case("concat_with_constant", "Concat", {"x": values(2, 3)}, {"y": values(2, 1)}, attrs={"axis": -1}),
    Case("concat_bools", "Concat", {"x": values(2, dtype=bool), "y": values(3, dtype=bool)}, attrs={"axis": 0}),
    Case("concat_of_one", "Concat", X, attrs={"axis": 0}),
    Case("split_equal", "Split", {"x": values(2, 6)}, outputs=3, opset=13, attrs={"axis": 1}),
    Case("split_sizes", "Split", {"x": values(7, 2)}, {"s": ints(2, 4, 1)}, outputs=3),
    Case("split_uneven", "Split", {"x": values(7, 2)}, outputs=3, opset=18, attrs={"num_outputs": 3}),
    Case("split_sizes_as_attribute", "Split", {"x": values(7, 2)}, outputs=2, opset=11, attrs={"split": [3, 4]}),
    Case("split_into_one", "Split", {"x": values(4)}, {"s": ints(4)}),
    _slice("slice_to_the_end", [1], [SENTINEL], [2]),
    _slice("slice_from_behind", [-3], [-1], [3]),
    _slice("slice_steps", [0, 1], [3, 5], [1, 3], [2, 3]),
    _slice("slice_backwards", [-1], [-SENTINEL], [1], [-1]),
    _slice("slice_backwards_by_two", [4], [0], [3], [-2]),
    _slice("slice_all_axes", [0, 1, 1, 0], [1, 3, 4, 2]),
    _slice("slice_nothing_cut", [0], [99], [0]),
    Case("slice_by_attributes", "Slice", X, opset=9, attrs={"starts": [1, -2], "ends": [9, SENTINEL], "axes": [1, 3]}),
    Case("expand_both_ways", "Expand", {"x": values(3, 1)}, {"s": ints(2, 1, 4)}),
    Case("expand_scalar", "Expand", {"x": np.asarray(2, "f")}, {"s": ints(2, 3)}),
    Case("tile_ints", "Tile", I, {"r": ints(1, 2, 3)}),
    _pad("pad_constant", [0, 0, 1, 2, 0, 0, 3, 0], value=1.5),
    _pad("pad_zero_by_default", [0, 1, 0, 0, 1, 0, 0, 0]),
    _pad("pad_reflect", [0, 0, 2, 1, 0, 0, 1, 3], mode="reflect"),
    _pad("pad_edge_of_all", [1, 1, 2, 1, 0, 2, 1, 3], mode="edge"),
    _pad("pad_negative_cuts", [0, 0, -1, 1, 0, 0, 0, -2]),
    _pad("pad_ints", [0, 1, 0, 0, 0, 2], feeds=I, value=7),
    Case("pad_wrap", "Pad", X, {"pads": ints(0, 0, 1, 2, 0, 0, 3, 4)}, opset=19, attrs={"mode": "wrap"}),
    Case("pad_axes", "Pad", X, {"p": ints(1, 2), "v": np.asarray(0, "f"), "a": ints(-1)}, opset=18),
    Case("pad_by_attributes", "Pad", X, opset=10, attrs={"pads": [0, 0, 1, 1, 0, 0, 1, 1], "value": 2.0}),
    Case("trilu_upper", "Trilu", {"x": values(2, 4, 5)}),
    Case("trilu_lower_shifted", "Trilu", {"x": values(4, 5)}, {"k": np.asarray(-1, np.int64)}, attrs={"upper": 0}),
    Case("depth_to_space_dcr", "DepthToSpace", {"x": values(1, 8, 2, 3)}, attrs={"blocksize": 2}),
    Case("depth_to_space_crd", "DepthToSpace", {"x": values(1, 8, 2, 3)}, attrs={"blocksize": 2, "mode": "CRD"}),
    Case(
        "space_to_depth_crd",
        "SpaceToDepth",
        {"x": values(2, 3, 4, 6)},
        opset=28,
        attrs={"blocksize": 2, "mode": "CRD"},
    ),
    Case("space_to_depth_plain", "SpaceToDepth", {"x": values(1, 2, 4, 6)}, attrs={"blocksize": 2}),
    Case("reverse_sequence_time_first", "ReverseSequence", {"x": values(4, 3)}, {"l": ints(4, 2, 1)}),
    Case("cumsum_plain", "CumSum", {"x": values(3, 4)}, {"a": np.asarray(1, np.int64)}),
    Case(
        "cumsum_backwards",
        "CumSum",
        {"x": values(3, 4)},
        {"a": np.asarray(-1, np.int64)},
        attrs={"reverse": 1, "exclusive": 1},
    ),
    Case("center_crop_pad_both", "CenterCropPad", X, {"s": ints(2, 7)}, opset=18, attrs={"axes": [2, 3]}),
]
