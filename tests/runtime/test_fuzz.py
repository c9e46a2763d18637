"""Check that damaged packages give a clean error or a result: no crash, no hang, no excessive allocation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from portrait_export.mil import coreml
from tests.runtime.packages import from_builder, from_torch, tools

CASES = 600
PEAK_KIB = 5 * 2**20  # torch itself takes 0.4 GiB; one value may take 2 GiB, and a step holds two or three


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """An image network, compressed weights, and control flow."""
    folder = tmp_path_factory.mktemp("fuzz")
    ct, mb = tools(), coreml.builder()
    net = torch.nn.Sequential(
        *(torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3, groups=8)),
        *(torch.nn.Upsample(scale_factor=2, mode="bilinear"), torch.nn.Conv2d(8, 4, 1), torch.nn.Softmax(1)),
        *(torch.nn.AvgPool2d(2), torch.nn.Flatten(2), torch.nn.LayerNorm(36), torch.nn.Linear(36, 16), torch.nn.GELU()),
    )
    image = ct.ImageType(name="image", shape=(1, 3, 16, 16))
    plain = from_torch(folder / "net.mlpackage", net, [torch.zeros(1, 3, 16, 16)], inputs=[image])
    optimize = ct.optimize.coreml
    options = optimize.OptimizationConfig(optimize.OpPalettizerConfig(mode="uniform", nbits=4, weight_threshold=16))
    with coreml.quiet():
        palettized = optimize.palettize_weights(ct.models.MLModel(str(plain), skip_model_load=True), options)
    palettized.save(str(folder / "lut.mlpackage"))

    def flow(x: Any) -> Any:
        halved = mb.while_loop(
            _cond=lambda v: mb.greater_equal(x=mb.reduce_sum(x=v, keep_dims=False), y=1.0),
            _body=lambda v: mb.mul(x=v, y=0.5),
            loop_vars=(x,),
        )
        tall = mb.tile(x=mb.expand_dims(x=halved, axes=[0]), reps=[3, 1])
        picked = mb.gather(x=tall, indices=np.array([0, 2], np.int32), axis=0)
        padded = mb.pad(x=picked, pad=[1, 1, 2, 2], mode="constant", constant_val=0.5)
        w = np.ones((16, 16), np.float32)
        return mb.cond(
            pred=mb.greater(x=mb.reduce_max(x=halved, keep_dims=False), y=0.1),
            _true_fn=lambda: mb.matmul(x=padded, y=w),
            _false_fn=lambda: mb.add(x=padded, y=1.0),
        )

    branching = from_builder(folder / "flow.mlpackage", {"x": ((12,), np.float32)}, flow)
    return [plain, folder / "lut.mlpackage", branching]


def test_damaged_packages_never_crash(packages: list[Path]) -> None:
    command = [sys.executable, "-m", "tests.runtime.fuzzing", *map(str, packages), "--count", str(CASES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert report["bad"] == []
    assert sum(report["outcomes"].values()) == CASES
    assert report["outcomes"]["result"] > CASES / 20, "the mutations leave nothing alive: they are too coarse"
    assert report["peak_kib"] < PEAK_KIB
