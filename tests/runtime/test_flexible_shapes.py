"""Run programs with flexible input shapes at several sizes and compare them with torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from portrait_export.runtime import load
from tests.runtime.packages import from_torch, tools
from tests.runtime.torch_cases import W, normal

ROWS: dict[str, Callable[[Tensor], Tensor]] = {
    "conv": lambda x: F.conv2d(x, W["k3"], stride=2, padding=1),
    "tokens": lambda x: x.flatten(2).transpose(1, 2),
    "tokens_and_back": lambda x: x.flatten(2).softmax(-1).reshape(x.shape),
    "reshape_by_size": lambda x: x.reshape(x.shape[0], x.shape[1] * x.shape[2], x.shape[3]),
    "expand_by_size": lambda x: x[:, :, :1].expand(-1, -1, x.shape[2], -1),
    "slice_by_size": lambda x: x[:, :, : x.shape[2] // 2],
    "upsampled": lambda x: F.interpolate(x, scale_factor=2.0, mode="nearest"),
    **{
        f"{mode}_by_{factor}": partial(F.interpolate, scale_factor=factor, mode=mode, recompute_scale_factor=True)
        for mode in ("bilinear", "nearest")
        for factor in (1.3, 2.3, 3.3, 0.7)
    },
    "pooled_and_broadcast": lambda x: x * F.adaptive_avg_pool2d(x, 1),
    "arange_by_size": lambda x: x + torch.arange(x.shape[3], dtype=torch.float32),
    "zeros_by_size": lambda x: torch.cat([x, torch.zeros(x.shape[0], 1, x.shape[2], x.shape[3])], 1),
}
SIZES = ((6, 8), (9, 7), (32, 32), (10, 20))
TOLERANCE = 2e-5  # of the largest magnitude; measured 2e-6


class Row(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize(("function"), ROWS.values(), ids=ROWS.keys())
def test_ranged_sides(tmp_path: Path, function: Callable[[Tensor], Tensor]) -> None:
    ct = tools()
    sides = [ct.RangeDim(4, 64, default=default) for default in SIZES[0]]
    kind = ct.TensorType("x", ct.Shape((1, 4, *sides)), dtype=np.float32)
    example = normal(0, 1, 4, *SIZES[0])
    program = load(from_torch(tmp_path / "m.mlpackage", Row(function), [example], inputs=[kind], precision="FLOAT32"))
    for seed, size in enumerate(SIZES):
        x = normal(seed, 1, 4, *size)
        (ours,) = program.predict({"x": x}).values()
        theirs = function(x).numpy()
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= TOLERANCE * max(1.0, np.abs(theirs).max())


def test_listed_shapes(tmp_path: Path) -> None:
    ct = tools()
    kind = ct.TensorType("x", ct.EnumeratedShapes([(1, 4, *size) for size in SIZES]), dtype=np.float32)
    row = Row(ROWS["conv"])
    program = load(
        from_torch(tmp_path / "m.mlpackage", row, [normal(0, 1, 4, *SIZES[0])], inputs=[kind], precision="FLOAT32")
    )
    for size in SIZES:
        x = normal(1, 1, 4, *size)
        (ours,) = program.predict({"x": x}).values()
        np.testing.assert_allclose(ours, row(x).numpy(), atol=1e-5)
