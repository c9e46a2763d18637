"""The smallest network that segments: its logits are the sum of the channels and a bias."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

SIDE = 32
PLAIN = ("--mean", "0,0,0", "--std", "1,1,1")


def network(path: Path, bias: float = -1.5) -> Path:
    """Write a network whose logits are the sum of the channels and a bias."""
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, SIDE, SIDE])
        for name, channels in (("x", 3), ("y", 1))
    ]
    constants = {"w": np.ones((1, 3, 1, 1)), "b": np.array([bias])}
    initializers = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"])], "net", values[:1], values[1:], initializers
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def noise(folder: Path, *names: str) -> Path:
    """Write a folder of small pictures of noise, each another."""
    for seed, name in enumerate(names):
        pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    return folder
