"""Random networks in ONNX: chains of operators on tensors of ranks 0 to 7 and all types, from an image to a mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

OPSET = 18
MAX_ELEMENTS = 1 << 16
FLOATS = (np.float32, np.float32, np.float16, np.float64)
TYPES = (*FLOATS, np.int32, np.int64, np.int8, np.uint8, np.int16, np.uint16, np.uint32, np.uint64, np.bool_)
UNARY = [
    "Abs",
    "Neg",
    "Relu",
    "Sigmoid",
    "Tanh",
    "Erf",
    "Sin",
    "Cos",
    "Atan",
    "Floor",
    "Ceil",
    "Round",
    "Sign",
    "HardSwish",
    "Softplus",
    "Softsign",
    "Elu",
    "Selu",
]
BINARY = ["Add", "Sub", "Mul", "Div", "Max", "Min"]
REDUCTIONS = [
    "ReduceMax",
    "ReduceMin",
    "ReduceMean",
    "ReduceSum",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceLogSumExp",
]


@dataclass
class Chain:
    """A graph that grows by one node after the other, with the current value computed.

    Attributes:
        value: the last node's result for one input.
        name: its name.
    """

    rng: np.random.Generator
    value: np.ndarray
    name: str = "x"
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, value: np.ndarray) -> str:
        """Add a constant and return its name."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, op: str, *constants: np.ndarray, first: bool = True, outputs: int = 1, **attributes: Any) -> None:
        """Append a node that reads the current value and constants. Raises ValueError if it does not fit."""
        kept = len(self.constants)
        given = [self.constant(value) for value in constants]
        inputs = [self.name, *given] if first else [*given, self.name]
        names = [f"v{len(self.nodes)}_{index}" for index in range(outputs)]
        node = helper.make_node(op, inputs, names, **attributes)
        try:
            result = _run([node], self.constants[kept:], self.name, self.value, names[0])
        except Exception as error:
            del self.constants[kept:]
            raise ValueError(str(error)) from error
        if not 0 < result.size <= MAX_ELEMENTS or result.ndim > 7:
            del self.constants[kept:]
            raise ValueError(f"shape {result.shape}")
        self.nodes.append(node)
        self.name, self.value = names[0], result


def _run(
    nodes: Sequence[onnx.NodeProto], constants: Sequence[onnx.TensorProto], name: str, value: np.ndarray, output: str
) -> np.ndarray:
    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    given = [helper.make_tensor_value_info(name, kind, list(value.shape))]
    graph = helper.make_graph(list(nodes), "one", given, [helper.make_empty_tensor_value_info(output)], list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.shape_inference.infer_shapes(model, check_type=True)  # onnx's reference computes types that ONNX excludes
    with np.errstate(all="ignore"):
        results: Any = ReferenceEvaluator(model).run(None, {name: value})
        return np.asarray(results[0])


# ---- steps ----------------------------------------------------------------------------------------------------------


def unary(chain: Chain) -> None:
    chain.add(str(chain.rng.choice(UNARY)))


def binary(chain: Chain) -> None:
    shape = tuple(size if chain.rng.random() < 0.5 else 1 for size in chain.value.shape)
    cut = int(chain.rng.integers(0, len(shape) + 1))
    other = chain.rng.uniform(0.5, 2, shape[cut:]).astype(chain.value.dtype)
    chain.add(str(chain.rng.choice(BINARY)), other, first=bool(chain.rng.random() < 0.7))


def compare(chain: Chain) -> None:
    op = str(chain.rng.choice(["Less", "Greater", "Equal", "LessOrEqual"]))
    chain.add(op, np.asarray(0.5, chain.value.dtype))


def cast(chain: Chain) -> None:
    wanted = np.dtype(TYPES[int(chain.rng.integers(len(TYPES)))])
    chain.add("Cast", to=helper.np_dtype_to_tensor_dtype(wanted))


def reshape(chain: Chain) -> None:
    left, shape = chain.value.size, []
    for _ in range(int(chain.rng.integers(0, 7))):
        divisors = [d for d in range(1, min(left, 64) + 1) if left % d == 0]
        shape.append(int(chain.rng.choice(divisors)))
        left //= shape[-1]
    if left > 1 or (not shape and chain.rng.random() < 0.5):
        shape.append(left)
    chain.add("Reshape", np.asarray(shape, np.int64))


def transpose(chain: Chain) -> None:
    chain.add("Transpose", perm=[int(axis) for axis in chain.rng.permutation(chain.value.ndim)])


def unsqueeze(chain: Chain) -> None:
    chain.add("Unsqueeze", np.asarray([int(chain.rng.integers(0, chain.value.ndim + 1))], np.int64))


def squeeze(chain: Chain) -> None:
    chain.add("Squeeze")


def reduce(chain: Chain) -> None:
    op, keep = str(chain.rng.choice(REDUCTIONS)), int(chain.rng.integers(0, 2))
    axes = [axis for axis in range(chain.value.ndim) if chain.rng.random() < 0.3]
    chain.add(op, np.asarray(axes, np.int64), keepdims=keep)


def softmax(chain: Chain) -> None:
    chain.add(str(chain.rng.choice(["Softmax", "LogSoftmax"])), axis=_axis(chain))


def pick(chain: Chain) -> None:
    op = str(chain.rng.choice(["ArgMax", "ArgMin"]))
    chain.add(op, axis=_axis(chain), keepdims=int(chain.rng.integers(0, 2)))


def concat(chain: Chain) -> None:
    axis = _axis(chain)
    shape = list(chain.value.shape)
    shape[axis] = int(chain.rng.integers(1, 3))
    chain.add("Concat", np.ones(shape, chain.value.dtype), axis=axis)


def gather(chain: Chain) -> None:
    axis = _axis(chain)
    shape = (2,) * int(chain.rng.integers(0, 3))
    chain.add("Gather", np.asarray(chain.rng.integers(0, chain.value.shape[axis], shape), np.int64), axis=axis)


def cut(chain: Chain) -> None:
    axis = _axis(chain)
    bounds = [[int(chain.rng.integers(0, 2))], [2**31], [axis], [int(chain.rng.integers(1, 3))]]
    chain.add("Slice", *(np.asarray(bound, np.int64) for bound in bounds))


def split(chain: Chain) -> None:
    chain.add("Split", axis=_axis(chain), num_outputs=2, outputs=2)


def pad(chain: Chain) -> None:
    pads = chain.rng.integers(0, 2, 2 * chain.value.ndim)
    chain.add("Pad", np.asarray(pads, np.int64))


def tile(chain: Chain) -> None:
    chain.add("Tile", np.asarray(chain.rng.integers(1, 3, chain.value.ndim), np.int64))


def expand(chain: Chain) -> None:
    chain.add("Expand", np.asarray([int(chain.rng.integers(1, 3)), *([1] * chain.value.ndim)], np.int64))


def cumulate(chain: Chain) -> None:
    chain.add("CumSum", np.asarray(_axis(chain), np.int64))


def clip(chain: Chain) -> None:
    chain.add("Clip", np.asarray(0, chain.value.dtype), np.asarray(1, chain.value.dtype))


def matmul(chain: Chain) -> None:
    _axis(chain)  # a scalar has none
    columns = int(chain.rng.integers(1, 5))
    weight = chain.rng.standard_normal((chain.value.shape[-1], columns)) / math.sqrt(chain.value.shape[-1])
    chain.add("MatMul", weight.astype(chain.value.dtype))


def normalize(chain: Chain) -> None:
    op = str(chain.rng.choice(["LayerNormalization", "InstanceNormalization", "BatchNormalization", "LpNormalization"]))
    axis, shape, kind = _axis(chain), chain.value.shape, chain.value.dtype

    def vector(*sizes: int) -> np.ndarray:
        return chain.rng.uniform(0.5, 2, sizes).astype(kind)

    if op == "LayerNormalization":
        chain.add(op, vector(*shape[axis:]), vector(*shape[axis:]), axis=axis)
    elif op == "LpNormalization":
        chain.add(op, axis=axis, p=int(chain.rng.integers(1, 3)))
    elif len(shape) < 3:
        raise ValueError("channels need pixels")
    else:
        chain.add(op, *(vector(shape[1]) for _ in range(2 if op == "InstanceNormalization" else 4)))


def largest(chain: Chain) -> None:
    axis = _axis(chain)
    chain.add("TopK", np.asarray([int(chain.rng.integers(1, chain.value.shape[axis] + 1))]), axis=axis, outputs=2)


def elements(chain: Chain) -> None:
    axis = _axis(chain)
    chain.add("GatherElements", chain.rng.integers(0, chain.value.shape[axis], chain.value.shape), axis=axis)


def scatter(chain: Chain) -> None:
    axis = _axis(chain)
    shape = tuple(int(chain.rng.integers(1, size + 1)) for size in chain.value.shape)
    shape = tuple(1 if index == axis else size for index, size in enumerate(shape))
    places = chain.rng.integers(0, chain.value.shape[axis], shape)
    chain.add("ScatterElements", places, np.ones(shape, chain.value.dtype), axis=axis)


def choose(chain: Chain) -> None:
    condition, name = chain.constant(chain.rng.random(chain.value.shape) < 0.5), chain.name
    other = chain.constant(chain.rng.uniform(0.5, 2, chain.value.shape[-1:]).astype(chain.value.dtype))
    node = helper.make_node("Where", [condition, name, other], [f"v{len(chain.nodes)}_0"])
    chain.value = _run([node], chain.constants[-2:], name, chain.value, node.output[0])
    chain.nodes.append(node)
    chain.name = node.output[0]


def triangle(chain: Chain) -> None:
    chain.add("Trilu", upper=int(chain.rng.integers(0, 2)))


def window(chain: Chain) -> None:
    op = str(chain.rng.choice(["MaxPool", "AveragePool", "LpPool"]))
    sides = [int(side) for side in chain.rng.integers(1, 4, max(chain.value.ndim - 2, 1))]
    chain.add(op, kernel_shape=sides, strides=[int(chain.rng.integers(1, 3))] * len(sides))


def resize(chain: Chain) -> None:
    mode = str(chain.rng.choice(["nearest", "linear", "cubic"]))
    scales = np.ones(chain.value.ndim, np.float32)
    scales[-2:] = chain.rng.choice([0.5, 1, 1.5, 2], len(scales[-2:]))
    chain.add("Resize", np.zeros(0, np.float32), scales, mode=mode)


def convolve(chain: Chain) -> None:
    if chain.value.ndim != 4:
        raise ValueError("not a picture")
    weight = chain.rng.standard_normal((3, chain.value.shape[1], 1, 3)) / math.sqrt(3 * chain.value.shape[1])
    chain.add("Conv", weight.astype(chain.value.dtype), pads=[0, 1, 0, 1])


def rearrange(chain: Chain) -> None:
    op = str(chain.rng.choice(["DepthToSpace", "SpaceToDepth", "Flatten"]))
    attributes: dict[str, Any] = {"axis": _axis(chain)} if op == "Flatten" else {"blocksize": 2}
    chain.add(op, **attributes)


def power(chain: Chain) -> None:
    chain.add(str(chain.rng.choice(["Pow", "Mod"])), np.asarray(2, chain.value.dtype))


def _axis(chain: Chain) -> int:
    if not chain.value.ndim:
        raise ValueError("a scalar has no axes")
    return int(chain.rng.integers(chain.value.ndim))


STEPS: tuple[Callable[[Chain], None], ...] = (
    unary, unary, binary, binary, binary, compare, cast, cast, reshape, reshape, reshape, transpose, transpose,
    unsqueeze, squeeze, reduce, softmax, pick, concat, gather, cut, split, pad, tile, expand, cumulate, clip, matmul,
    normalize, normalize, largest, elements, scatter, choose, triangle, window, resize, convolve, rearrange, power,
)  # fmt: skip


def network(seed: int, *, side: int = 32, steps: int = 8) -> onnx.ModelProto:
    """A network of a seed: `x` (1, 3, side, side) to `y` (1, 1, side, side), a probability."""
    rng = np.random.default_rng(seed)
    chain = Chain(rng, rng.random((1, 3, side, side), np.float32))
    weight = (rng.standard_normal((4, 3, 1, 1)) / 2).astype(np.float32)
    chain.add("Conv", weight, strides=[2, 2])
    wanted, tries = len(chain.nodes) + steps, 0
    while len(chain.nodes) < wanted and tries < 20 * steps:
        tries += 1
        try:
            STEPS[int(rng.integers(len(STEPS)))](chain)
        except ValueError:
            continue
    return _finished(chain, side)


def _finished(chain: Chain, side: int) -> onnx.ModelProto:
    """Bring the last value, squashed, to the picture's size, and add it to the picture."""
    pixels = side * side
    chain.add("Cast", to=TensorProto.FLOAT)
    chain.add("Clip", np.float32(-4), np.float32(4))
    chain.add("Reshape", np.asarray([-1], np.int64))
    chain.add("Tile", np.asarray([-(-pixels // chain.value.size)], np.int64))
    chain.add("Slice", np.asarray([0], np.int64), np.asarray([pixels], np.int64))
    chain.add("Reshape", np.asarray([1, 1, side, side], np.int64))
    light = chain.constant(np.full((1, 3, 1, 1), 4 / 3, np.float32))
    middle = chain.constant(np.full(1, -2, np.float32))
    chain.nodes += [
        helper.make_node("Conv", ["x", light, middle], ["light"]),
        helper.make_node("Add", ["light", chain.name], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["y"]),
    ]
    image, mask = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, side, side])
        for name, channels in (("x", 3), ("y", 1))
    )
    graph = helper.make_graph(chain.nodes, "random", [image], [mask], chain.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
