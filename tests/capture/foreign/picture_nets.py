"""Build small networks that take several pictures, or one that is not RGB, whose masks are decided.

Their weights are computed, not trained: the mask follows from the pictures by one formula each, so that a wrong picture
gives another mask.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 64
SIZE = (SIDE, SIDE)


def _model(inputs: dict[str, tuple[int, ...]], nodes: list[Any], constants: dict[str, Any]) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    stored = [numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in constants.items()]
    output = helper.make_tensor_value_info("alpha", TensorProto.FLOAT, (1, 1, *SIZE))
    graph = helper.make_graph(nodes, "net", values, [output], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def matting(*, swapped: bool = False) -> onnx.ModelProto:
    """BackgroundMattingV2's inputs: alpha = σ(60 (w · |src − bgr| + 0.3 · mean(src) − 0.2)), colours weighted by w."""
    src, bgr = ("bgr", "src") if swapped else ("src", "bgr")
    nodes = [
        helper.make_node("Sub", [src, bgr], ["difference"]),
        helper.make_node("Abs", ["difference"], ["far"]),
        helper.make_node("Conv", ["far", "w"], ["distance"]),
        helper.make_node("Conv", [src, "v"], ["bright"]),
        helper.make_node("Add", ["distance", "bright"], ["sum"]),
        helper.make_node("Sub", ["sum", "bar"], ["over"]),
        helper.make_node("Mul", ["over", "gain"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["alpha"]),
    ]
    constants = {
        "w": np.reshape([0.6, 0.5, 0.4], (1, 3, 1, 1)),
        "v": np.full((1, 3, 1, 1), 0.1),
        "bar": 0.2,
        "gain": 60,
    }
    return _model({"src": (1, 3, *SIZE), "bgr": (1, 3, *SIZE)}, nodes, constants)


def siamese() -> onnx.ModelProto:
    """Both pictures pass one convolution; alpha = σ of the difference of what it gives."""
    random = np.random.default_rng(2)
    nodes = [
        helper.make_node("Conv", ["src", "w"], ["one"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["bgr", "w"], ["two"], pads=[1, 1, 1, 1]),
        helper.make_node("Sub", ["one", "two"], ["difference"]),
        helper.make_node("Conv", ["difference", "v", "b"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["alpha"]),
    ]
    constants = {"w": random.normal(0, 1, (6, 3, 3, 3)), "v": random.normal(0, 1, (1, 6, 1, 1)), "b": [0.2]}
    return _model({"src": (1, 3, *SIZE), "bgr": (1, 3, *SIZE)}, nodes, constants)


def ordered() -> onnx.ModelProto:
    """As `matting`, for inputs of no telling names, and only where there is detail in the first that the second lacks.

    alpha = σ(60 (w · |a − b| · |∇a| − 0.004)): with the two exchanged, the painted background has no detail there.
    """
    edges = np.zeros((3, 1, 3, 3))
    edges[:, 0, 1, 0], edges[:, 0, 1, 2] = -1, 1
    nodes = [
        helper.make_node("Sub", ["a", "b"], ["difference"]),
        helper.make_node("Abs", ["difference"], ["far"]),
        helper.make_node("Conv", ["a", "edges"], ["slope"], pads=[1, 1, 1, 1], group=3),
        helper.make_node("Abs", ["slope"], ["steep"]),
        helper.make_node("Mul", ["far", "steep"], ["detail"]),
        helper.make_node("Conv", ["detail", "w", "bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["alpha"]),
    ]
    constants = {"edges": edges, "w": np.full((1, 3, 1, 1), 60.0), "bias": [-0.3]}
    return _model({"a": (1, 3, *SIZE), "b": (1, 3, *SIZE)}, nodes, constants)


def four_channels(layout: str = "NCHW") -> onnx.ModelProto:
    """An RGB photograph and a trimap in one tensor: alpha = σ(40 (trimap − 0.45 + 0.1 (R − B)))."""
    shape = (1, 4, *SIZE) if layout == "NCHW" else (1, *SIZE, 4)
    first = [] if layout == "NCHW" else [helper.make_node("Transpose", ["input"], ["nchw"], perm=[0, 3, 1, 2])]
    nodes = [
        *first,
        helper.make_node("Conv", ["nchw" if first else "input", "w", "b"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["alpha"]),
    ]
    return _model({"input": shape}, nodes, {"w": np.reshape([4, 0, -4, 40], (1, 4, 1, 1)), "b": [-18]})


def with_trimap(channels: int = 1) -> onnx.ModelProto:
    """A photograph and a trimap in an input of its own; two channels of it as FBA matting has."""
    nodes = [
        helper.make_node("Concat", ["image", "trimap"], ["joined"], axis=1),
        helper.make_node("Conv", ["joined", "w", "b"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["alpha"]),
    ]
    weight = np.reshape([4, 0, -4, *[40 / channels] * channels], (1, 3 + channels, 1, 1))
    return _model({"image": (1, 3, *SIZE), "trimap": (1, channels, *SIZE)}, nodes, {"w": weight, "b": [-18]})


def gray(*, normalises: bool = False) -> onnx.ModelProto:
    """A U of two levels on the luma alone, perhaps with a normalisation of its own."""
    random = np.random.default_rng(1)
    name = "normal" if normalises else "x"
    nodes = [helper.make_node("Div", ["x", "span"], ["normal"])] if normalises else []
    nodes += [
        helper.make_node("Conv", [name, "w1"], ["one"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["one"], ["first"]),
        helper.make_node("MaxPool", ["first"], ["low"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["low", "w2"], ["second"], pads=[1, 1, 1, 1]),
        helper.make_node("Resize", ["second", "", "scales"], ["up"], mode="nearest"),
        helper.make_node("Concat", ["first", "up"], ["both"], axis=1),
        helper.make_node("Conv", ["both", "w3", "b"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["alpha"]),
    ]
    constants = {
        "w1": random.normal(0, 2, (4, 1, 3, 3)),
        "w2": random.normal(0, 1, (4, 4, 3, 3)),
        "w3": random.normal(0, 1, (1, 8, 1, 1)),
        "b": [0.3],
        "scales": [1, 1, 2, 2],
    }
    return _model({"x": (1, 1, *SIZE)}, nodes, {**constants, **({"span": 255} if normalises else {})})


def saved(model: onnx.ModelProto, path: Path) -> Path:
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
