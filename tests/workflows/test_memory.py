"""Test that the memory of an export grows by a bounded multiple of the network's weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

SCALE = Path(__file__).parents[2] / "benchmarks" / "scale.py"
WIDTH = 1024
GROWTH = 5.0  # MB of memory per MB of ONNX; SegFormer B0 to B5 grows by 2.2 to 3.0, this network by 2.0


def chain(layers: int, file: Path) -> float:
    """Write a chain of 1x1 convolutions whose weights are nearly all of the file. Returns its size in MB."""
    generator = np.random.default_rng(0)
    shapes = [(WIDTH, 3, 8, 8), *[(WIDTH, WIDTH, 1, 1)] * layers, (1, WIDTH, 1, 1)]
    nodes, weights = [], []
    for index, shape in enumerate(shapes):
        weight = generator.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{index}"))
        strides = [shape[2], shape[3]]
        nodes.append(helper.make_node("Conv", [f"x{index}", f"w{index}"], [f"y{index}"], strides=strides))
        nodes.append(helper.make_node("Tanh", [f"y{index}"], [f"x{index + 1}"]))
    nodes[-2].output[0] = "logits"
    image = helper.make_tensor_value_info("x0", TensorProto.FLOAT, [1, 3, 32, 32])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 1, 4, 4])
    graph = helper.make_graph(nodes[:-1], "chain", [image], [logits], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return file.stat().st_size / 1e6


def peak_mb(file: Path) -> float:
    """The peak memory of an export in a process of its own."""
    command = [sys.executable, "-W", "ignore", str(SCALE), "--child", "coreml", str(file)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(json.loads(done.stdout)["peak_mb"])


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux's /proc")
def test_memory_grows_by_less_than_five_times_the_weights(tmp_path):
    sizes, peaks = [], []
    for layers in (4, 24):
        file = tmp_path / str(layers) / "net.onnx"
        file.parent.mkdir()
        sizes.append(chain(layers, file))
        peaks.append(peak_mb(file))
    assert sizes[1] - sizes[0] > 80
    assert (peaks[1] - peaks[0]) / (sizes[1] - sizes[0]) <= GROWTH, (sizes, peaks)
