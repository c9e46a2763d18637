"""A small segmentation network as ONNX, and whether Core AI's packages are installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from portrait_export.coreai.installed import VERSIONS
from portrait_export.preprocessing import PortraitSpec

SIDE = 32


def _is_installed() -> bool:
    try:
        return all(version(name) == wanted for name, wanted in VERSIONS.items())
    except PackageNotFoundError:
        return False


needs_core_ai = pytest.mark.skipif(not _is_installed(), reason="the extra `coreai` is not installed")


def spec_of_side(side: int = SIDE, **changes) -> PortraitSpec:
    return PortraitSpec(height=side, width=side, **changes)


def small_net(side: int = SIDE, *, largest: float = 1.0) -> onnx.ModelProto:
    """Two convolutions, a product with a matrix, and a resize: inputs and outputs as `to_onnx` gives them."""
    rng = np.random.default_rng(0)
    weights = {
        "deep.weight": rng.normal(0, 0.3, (16, 3, 3, 3)).astype(np.float32),
        "deep.bias": rng.normal(0, 0.1, 16).astype(np.float32),
        "mix.weight": rng.normal(0, 0.25, (16, 16)).astype(np.float32),
        "head.weight": (largest * rng.normal(0, 0.3, (1, 16, 1, 1))).astype(np.float32),
        "scales": np.array([1, 1, 2, 2], np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "deep.weight", "deep.bias"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Transpose", ["r"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["t", "mix.weight"], ["m"]),
        helper.make_node("Transpose", ["m"], ["u"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["u", "head.weight"], ["logits"]),
        helper.make_node("Resize", ["logits", "", "scales"], ["big"], mode="linear"),
        helper.make_node("Sigmoid", ["big"], ["mask"]),
    ]
    return _model("small", nodes, weights, side, stride=2)


def _model(
    name: str, nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], side: int, *, stride: int
) -> onnx.ModelProto:
    """From `image` to `logits` at 1/stride of its size, and `mask` at its size."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        name,
        [value("image", TensorProto.FLOAT, [1, 3, side, side])],
        [
            value("logits", TensorProto.FLOAT, [1, 1, side // stride, side // stride]),
            value("mask", TensorProto.FLOAT, [1, 1, side, side]),
        ],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def wide_net(side: int = SIDE) -> onnx.ModelProto:
    """Three layers whose inner weights are large enough for every recipe: a convolution and a product with a matrix."""
    rng = np.random.default_rng(0)
    weights = {
        "first.weight": rng.normal(0, 0.3, (64, 3, 3, 3)).astype(np.float32),
        "deep.weight": rng.normal(0, 0.06, (64, 64, 3, 3)).astype(np.float32),
        "mix.weight": rng.normal(0, 0.2, (64, 64)).astype(np.float32),
        "head.weight": rng.normal(0, 0.2, (1, 64, 1, 1)).astype(np.float32),
        "scales": np.array([1, 1, 4, 4], np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "first.weight"], ["a"], strides=[4, 4], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "deep.weight"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Transpose", ["d"], ["e"], perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["e", "mix.weight"], ["f"]),
        helper.make_node("Relu", ["f"], ["g"]),
        helper.make_node("Transpose", ["g"], ["h"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["h", "head.weight"], ["logits"]),
        helper.make_node("Resize", ["logits", "", "scales"], ["big"], mode="linear"),
        helper.make_node("Sigmoid", ["big"], ["mask"]),
    ]
    return _model("wide", nodes, weights, side, stride=4)


def photo(side: int = SIDE) -> np.ndarray:
    """A smooth picture with noise, (side, side, 3) uint8."""
    rows, columns = np.mgrid[0:side, 0:side] * (160 / side)
    noise = np.random.default_rng(1).integers(0, 60, (side, side, 3))
    return (np.stack([rows, columns, 160 - rows], axis=-1) + noise).astype(np.uint8)


def run_onnx(model: onnx.ModelProto, **feeds: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs of ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip([value.name for value in session.get_outputs()], session.run(None, feeds), strict=True))
