"""Networks lowered at several sizes become one program that equals torch at each size, or are refused."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from portrait_export import runtime
from portrait_export.artifacts import ArrayFeature, Lowered
from portrait_export.errors import LoweringError, UsageError
from portrait_export.frontend.convert import lower
from portrait_export.frontend.unify import unify
from portrait_export.mil.compile import compile_program
from portrait_export.mil.package import save_package
from portrait_export.mil.program import Metadata, read_program

SIZES = ((16, 24), (32, 16), (24, 32))
TOLERANCE = 2e-6  # of the largest magnitude; measured 4e-7

Function = Callable[[Tensor], Tensor]

ROWS: dict[str, Function] = {
    "tokens": lambda x: x.flatten(2).transpose(1, 2),
    "tokens_and_back": lambda x: (x.flatten(2) * 2).softmax(-1).reshape(x.shape),
    "windows_of_rank_6": lambda x: _windows(x, 8),
    "rows_joined": lambda x: x.permute(0, 2, 1, 3).reshape(1, x.shape[2], -1) + 1,
    "quarter_of_the_tokens": lambda x: x.reshape(1, 16, x.shape[2] // 2, x.shape[3] // 2),
    "bilinear_doubled": lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear"),
    "bilinear_halved": lambda x: F.interpolate(x, scale_factor=0.5, mode="bilinear"),
    "bilinear_corners": lambda x: F.interpolate(x, scale_factor=3.0, mode="bilinear", align_corners=True),
    "bilinear_to_one_size": lambda x: F.interpolate(x, size=(7, 9), mode="bilinear"),
    "nearest_doubled": lambda x: F.interpolate(x, scale_factor=2.0, mode="nearest"),
    "half_of_the_rows": lambda x: x[:, :, : x.shape[2] // 2],
    "inner_columns": lambda x: x[:, 1:3, :, 2:-2],
    "every_second_row_from_the_middle": lambda x: x[:, :, x.shape[2] // 2 :: 2],
    "mean_repeated": lambda x: x.mean((2, 3), keepdim=True).expand(-1, -1, x.shape[2], x.shape[3]),
    "pooled": lambda x: x * F.adaptive_avg_pool2d(x, 1),
    "whole_window": lambda x: F.avg_pool2d(x, (x.shape[2], x.shape[3])),
    "largest_of_whole_window": lambda x: F.max_pool2d(x, (x.shape[2], x.shape[3])),
    "strips": lambda x: x * (F.adaptive_avg_pool2d(x, (None, 1)) + F.adaptive_avg_pool2d(x, (1, None))).sigmoid(),
    "maximum_of_strips": lambda x: x * F.max_pool2d(x, (x.shape[2], 1)) - F.max_pool2d(x, (1, x.shape[3])),
    "mean_of_four_bins": lambda x: F.adaptive_avg_pool2d(x, (2, 4)),
    "largest_of_bins": lambda x: F.max_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2)),
    "zeros_joined": lambda x: torch.cat([x, torch.zeros(1, 2, x.shape[2], x.shape[3])], 1),
    "position_table": lambda x: x + torch.arange(x.shape[2] * x.shape[3]).reshape(x.shape[2:]).float(),
    "resized_table": lambda x: x * F.interpolate(TABLE, size=x.shape[2:], mode="bicubic", align_corners=False),
    "coordinates": lambda x: torch.cat([x, _coordinates(x)], 1),
    "bias_of_tokens": lambda x: (x.flatten(2).transpose(1, 2) @ x.flatten(2) + _distances(x)).softmax(-1),
    "cubic": lambda x: F.interpolate(x, scale_factor=2.0, mode="bicubic"),
    "count": lambda x: x / (x.shape[2] * x.shape[3]),
    "padded_windows": lambda x: F.pad(x, (0, 7 - x.shape[3] % 7, 0, 7 - x.shape[2] % 7), value=0.5),
    "reflected_edge": lambda x: F.pad(x, (0, 7 - x.shape[3] % 7, 0, 0), mode="reflect"),
    "repeated_edge": lambda x: F.pad(x, (0, 7 - x.shape[3] % 7, 0, 0), mode="replicate"),
    "padded_before": lambda x: F.pad(x, (x.shape[3] % 5 + 1, 3, 2, x.shape[2] % 5 + 1)),
    "odd_padding": lambda x: F.conv2d(F.pad(x, (1, 2, 0, 1)), WEIGHT, stride=2),
}
WITH_RESIZE: dict[str, Function] = {
    "bilinear_from_bins": lambda x: F.interpolate(F.adaptive_avg_pool2d(x, 2), size=x.shape[2:], mode="bilinear"),
    "bilinear_in_odd_proportion": lambda x: F.interpolate(x[:, :, :5, :7], size=x.shape[2:], mode="bilinear"),
    "nearest_from_bins": lambda x: F.interpolate(F.adaptive_avg_pool2d(x, 2), size=x.shape[2:], mode="nearest"),
}
WEIGHT = torch.randn(3, 4, 3, 3, generator=torch.Generator().manual_seed(1))


TABLE = torch.randn(1, 4, 5, 6, generator=torch.Generator().manual_seed(2))


def _coordinates(x: Tensor) -> Tensor:
    """CoordConv's channels: where a pixel is, from -1 to 1."""
    rows, columns = torch.linspace(-1, 1, x.shape[2]), torch.linspace(-1, 1, x.shape[3])
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None]


def _distances(x: Tensor) -> Tensor:
    """How far tokens are from each other, as a bias of attention."""
    places = _coordinates(x)[0].flatten(1).T
    return (places[:, None] - places[None]).abs().sum(-1)


def _windows(x: Tensor, side: int) -> Tensor:
    """Window partition, something within each window, and back: the shapes of window attention."""
    rows, columns = x.shape[2] // side, x.shape[3] // side
    windows = x.reshape(4, rows, side, columns, side).permute(1, 3, 2, 4, 0).reshape(-1, side * side, 4)
    windows = windows.softmax(1)
    back = windows.reshape(1, rows, columns, side, side, 4).permute(0, 5, 1, 3, 2, 4)
    return back.reshape(1, 4, rows * side, columns * side)


class Net(nn.Module):
    """Every row's function side by side, so that one package tests them all."""

    def __init__(self, rows: Sequence[Function]):
        super().__init__()
        self.rows = rows

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(row(x) for row in self.rows)


def picture(size: tuple[int, int]) -> Tensor:
    return torch.randn(1, 4, *size, generator=torch.Generator().manual_seed(size[0]))


def lowered(rows: Mapping[str, Function], size: tuple[int, int], target: str = "iOS17") -> Lowered:
    buffer = io.BytesIO()
    net = Net(list(rows.values())).eval()
    torch.onnx.export(
        net, (picture(size),), buffer, opset_version=17, input_names=["x"], output_names=list(rows), dynamo=False
    )
    return lower(onnx.load_from_string(buffer.getvalue()), target=target)


def unified(rows: Mapping[str, Function], target: str = "iOS17", sizes: Sequence[tuple[int, int]] = SIZES) -> Lowered:
    return unify([lowered(rows, size, target) for size in sizes], sizes=sizes)


def saved(program: Lowered, path: Path, precision: str = "fp32") -> Path:
    save_package(compile_program(program, precision=precision), program, path, metadata=Metadata())
    return path


@pytest.fixture(scope="module", params=["iOS16", "iOS17"])
def rows_and_package(request, tmp_path_factory):
    rows = ROWS if request.param == "iOS16" else {**ROWS, **WITH_RESIZE}
    path = tmp_path_factory.mktemp("unified") / "rows.mlpackage"
    return rows, saved(unified(rows, request.param), path)


def test_every_form_equals_torch_at_every_size(rows_and_package):
    rows, path = rows_and_package
    program = runtime.load(path)
    for size in SIZES:
        x = picture(size)
        found = program.predict({"x": x.numpy()})
        for name, function in rows.items():
            expected = function(x).numpy()
            assert found[name].shape == expected.shape, (name, size)
            error = np.abs(found[name] - expected).max()
            assert error <= TOLERANCE * max(1.0, np.abs(expected).max()), (name, size, error)


def test_the_package_lists_its_sizes_and_refuses_others(rows_and_package):
    _, path = rows_and_package
    (feature,) = read_program(path).inputs
    assert feature.enumerated == tuple((1, 4, *size) for size in SIZES)
    assert feature.shape == (1, 4, *SIZES[0])
    with pytest.raises(Exception, match="takes an array of 1×4×16×24 or 1×4×32×16 or 1×4×24×32"):
        runtime.load(path).predict({"x": picture((16, 16)).numpy()})


def test_the_program_holds_each_weight_once():
    rows = {"conv": lambda x: F.conv2d(x, WEIGHT, padding=1)}
    one, all_sizes = lowered(rows, SIZES[0]), unified(rows)
    counts = [Counter(op.op_type for op in p.program.functions["main"].operations) for p in (one, all_sizes)]
    assert counts[0] == counts[1]


def test_a_shape_that_can_be_inferred_is_not_computed():
    rows = {"tokens": ROWS["tokens"], "doubled": ROWS["bilinear_doubled"]}
    ops = Counter(op.op_type for op in unified(rows).program.functions["main"].operations)
    assert ops["shape"] == 0
    assert ops["upsample_bilinear"] == 1
    assert ops["resize_bilinear"] == 0


def test_a_side_that_stays_is_fixed_in_the_program():
    sizes = ((16, 24), (16, 32))
    program = unified({"tokens": ROWS["tokens"]}, sizes=sizes).program
    shape = program.functions["main"].inputs["x"].shape
    assert shape[:3] == (1, 4, 16)
    assert not isinstance(shape[3], int)


REFUSED: dict[str, tuple[Function, str]] = {
    "weight": (
        lambda x: F.conv2d(x, WEIGHT * x.shape[2]),
        "conv       1 node, first weight: its weight changes with the size",
    ),
    "pool_of_uneven_windows": (
        lambda x: F.avg_pool2d(x, x.shape[2] // 8, stride=2),
        "its windows change, and do not divide the map into the same number of bins at every size",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_operation_that_depends_on_the_size_is_named(name):
    function, words = REFUSED[name]
    with pytest.raises(LoweringError, match="has operations that depend on the input size") as caught:
        unified({name: function})
    assert words in "\n".join(caught.value.context)
    assert caught.value.message.startswith("One package cannot accept 16x24, 32x16, 24x32: the model")
    assert caught.value.hint == "export a package for each size with `size=`."


def test_a_table_of_too_many_numbers_is_refused(monkeypatch):
    monkeypatch.setattr("portrait_export.frontend.unify.LARGEST_TABLE", 1000)
    with pytest.raises(LoweringError) as caught:
        unified({"position_table": ROWS["position_table"]})
    assert "one of its constants changes with the size, and has 1,664 numbers in all" in caught.value.context[0]


def test_all_operations_that_depend_on_the_size_are_named_at_once():
    rows = {name: REFUSED[name][0] for name in ("weight", "pool_of_uneven_windows")}
    with pytest.raises(LoweringError) as caught:
        unified(rows)
    assert [line.split()[0] for line in caught.value.context] == ["avg_pool", "conv"]


def test_a_size_that_is_not_a_fixed_multiple_needs_ios17():
    rows = {"bilinear_from_bins": WITH_RESIZE["bilinear_from_bins"]}
    with pytest.raises(LoweringError) as caught:
        unified(rows, "iOS16")
    assert "iOS16 cannot resize to a computed size, iOS17 can" in caught.value.context[0]


def test_other_operations_at_another_size_are_refused():
    rows = {"branch": lambda x: F.relu(x) if x.shape[2] > 20 else torch.sigmoid(x)}
    with pytest.raises(LoweringError, match="has different operations at different sizes") as caught:
        unified(rows)
    assert caught.value.context == ("16x24: sigmoid branch", "32x16: relu branch")


def test_more_operations_at_another_size_are_refused():
    rows = {"more": lambda x: F.relu(x) if x.shape[2] > 20 else F.relu(torch.sigmoid(F.relu(x)))}
    with pytest.raises(LoweringError, match="has different operations at different sizes"):
        unified(rows)


def test_other_wiring_at_another_size_is_refused():
    def crossed(x: Tensor) -> Tensor:
        halves = x[:, :2].relu(), x[:, 2:].relu()
        first, second = halves if x.shape[2] > 20 else halves[::-1]
        return first * 2 - second

    with pytest.raises(LoweringError) as caught:
        unified({"crossed": crossed})
    assert "it reads different values at different sizes" in caught.value.context[0]


def test_other_weights_at_another_size_are_refused():
    rows = {"conv": lambda x: F.conv2d(x, WEIGHT * x.shape[2])}
    with pytest.raises(LoweringError) as caught:
        unified(rows)
    assert "its weight changes with the size" in caught.value.context[0]


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, depth: Tensor) -> Tensor:
        return x * depth


def two_inputs(target: str) -> Lowered:
    programs = []
    for size in SIZES:
        buffer, depth = io.BytesIO(), torch.ones(1, 1, *size)
        torch.onnx.export(
            TwoInputs(), (picture(size), depth), buffer, input_names=["x", "depth"], output_names=["y"], dynamo=False
        )
        programs.append(lower(onnx.load_from_string(buffer.getvalue()), target=target))
    return unify(programs, sizes=SIZES, source="net.onnx")


def test_two_inputs_of_several_sizes_need_ios18(tmp_path):
    with pytest.raises(UsageError, match=r"net\.onnx takes x and depth, and the target is iOS17"):
        two_inputs("iOS17")
    program = runtime.load(saved(two_inputs("iOS18"), tmp_path / "two.mlpackage"))
    for size in SIZES:
        x = picture(size).numpy()
        found = program.predict({"x": x, "depth": np.full((1, 1, *size), 2, np.float32)})
        np.testing.assert_array_equal(found["y"], 2 * x)


def test_features_know_all_their_shapes():
    (x,) = unified({"tokens": ROWS["tokens"]}).inputs
    assert isinstance(x, ArrayFeature)
    assert x.shapes == tuple((1, 4, *size) for size in SIZES)
    assert x.listed
