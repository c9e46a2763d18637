"""A saved program in; what one run of it costs out: parameters, MACs per family, bytes, layout operators.

`Cost` is the same value that `capture.onnx.cost` gives for ONNX, and so are its families, so that a package can be held
beside the model that it was made from. They agree in MACs. They differ, and rightly, in what the compiler did in
between: activations are as wide as the package computes (fp16: half), weights as it stores them, and what MIL has as
parameters of its operators (transposes of a product's operands, the axes of a layer norm) is gone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .constants import Constant
from .program import Block, Operation, Program, Reference
from .types import TensorType, ValueType
from .weights import BITS, size_in_bytes

LAYOUT_OPS = frozenset(
    {
        "reshape",
        "reshape_like",
        "transpose",
        "squeeze",
        "expand_dims",
        "flatten2d",
        "depth_to_space",
        "space_to_depth",
        "pixel_shuffle",
        "pixel_unshuffle",
    }
)
BILINEAR_TAPS, BICUBIC_TAPS = 4, 16  # products per output number
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Cost:
    """What one run of a model costs.

    Attributes:
        parameters: stored floating-point numbers.
        weight_bytes: bytes of all stored constants.
        macs: multiply-accumulates by family: `conv`, `linear` (matrix products with stored weights), `matmul` (products
            of two computed values, as in attention), `resize`, `pool`. Elementwise work is not counted.
        peak_activation_bytes: most bytes of computed values alive at once, in the stored order, nothing done in place.
        operators: number of nodes by operator type.
        layout_ops: nodes that only move numbers about (reshape, transpose and their kin).
        absorbed_layout_ops: those of them that MIL has as parameters of the operator beside them; 0 of a package, where
            they are gone.
    """

    parameters: int
    weight_bytes: int
    macs: dict[str, int] = field(default_factory=dict)
    peak_activation_bytes: int = 0
    operators: dict[str, int] = field(default_factory=dict)
    layout_ops: int = 0
    absorbed_layout_ops: int = 0

    @property
    def total_macs(self) -> int:
        """Multiply-accumulates of all convolutions and matrix products."""
        return self.weight_macs + self.macs.get("matmul", 0)

    @property
    def weight_macs(self) -> int:
        """Multiply-accumulates with stored weights only: the figure that papers and profilers mostly give."""
        return self.macs.get("conv", 0) + self.macs.get("linear", 0)

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {**vars(self), "total_macs": self.total_macs, "weight_macs": self.weight_macs}


@dataclass(frozen=True)
class OperatorMemory:
    """One operator for the count of what is alive: names of values read and made, and bytes needed inside it."""

    reads: Sequence[str]
    makes: Sequence[str]
    inside: int = 0


def peak_bytes(
    steps: Sequence[OperatorMemory], sizes: Mapping[str, int], inputs: Iterable[str], outputs: Iterable[str]
) -> int:
    """Most bytes of values alive while any one step runs.

    Args:
        steps: in the order in which they run.
        sizes: bytes by value; what is not in it (constants, unknown shapes) counts 0.
        inputs: alive from the start, until their last use.
        outputs: alive to the end.
    """
    kept = set(outputs)
    last_use = {name: index for index, step in enumerate(steps) for name in step.reads}
    alive = {name: sizes.get(name, 0) for name in inputs}
    total = peak = sum(alive.values())
    for index, step in enumerate(steps):
        for name in step.makes:
            total += sizes.get(name, 0) - alive.get(name, 0)
            alive[name] = sizes.get(name, 0)
        peak = max(peak, total + step.inside)
        for name in {*step.reads, *step.makes, *(() if index else list(alive))}:
            if name in alive and last_use.get(name, -1) <= index and name not in kept:
                total -= alive.pop(name)
    return peak


def cost_of_program(program: Program) -> Cost:
    """The cost of a package's default function.

    Operators whose shapes are unknown count as free; the body of a loop counts once, of a condition both branches.
    """
    function = program.main
    view = _View.of(function.inputs, function.block)
    operations = [op for op in function.block.walk() if not view.is_stored(op)]
    macs: Counter[str] = Counter()
    for op in operations:
        family, count = view.macs(op)
        macs[family] += count
    operators = Counter(op.type for op in operations)
    parameters, weight_bytes = _weights(function.block)
    return Cost(
        parameters=parameters,
        weight_bytes=weight_bytes,
        macs={family: count for family, count in sorted(macs.items()) if count},
        peak_activation_bytes=view.peak(function.block, [name for name, _ in function.inputs]),
        operators=dict(sorted(operators.items())),
        layout_ops=sum(count for op, count in operators.items() if op in LAYOUT_OPS),
    )


# ---------------------------------------------------------------------------------------------------------------------
# Weights


def _weights(block: Block) -> tuple[int, int]:
    """Floating-point numbers that the program works with, and the bytes that they are stored in.

    Of a compressed weight the decoded numbers count, and the bytes of all that its decoder reads. Single numbers are
    settings of operators, not weights.
    """
    operations = list(block.walk())
    decoders = [op for op in operations if _decodes(op)]
    packed = {name for op in decoders for name in op.references}
    parameters = size = 0
    for op in operations:
        if not op.outputs or (op.type != "const" and not _decodes(op)):
            continue
        name, kind = op.outputs[0]
        decoded = name not in packed
        if _is_weight(kind) and decoded:
            parameters += _count(kind)
        if op.type == "const" and "val" in op.attributes and (_is_weight(kind) or not decoded):
            size += op.attributes["val"].size_bytes
        if _decodes(op):
            literals = [value for values in op.inputs.values() for value in values if isinstance(value, Constant)]
            size += sum(value.size_bytes for value in (*op.attributes.values(), *literals))
    return parameters, size


def _decodes(op: Operation) -> bool:
    return op.type.startswith("constexpr_")


def _is_weight(kind: ValueType) -> bool:
    return isinstance(kind, TensorType) and kind.dtype in ("fp16", "fp32", "fp64") and bool(kind.shape)


def _count(kind: ValueType) -> int:
    return (kind.count or 0) if isinstance(kind, TensorType) else 0


# ---------------------------------------------------------------------------------------------------------------------
# Operators


class _View:
    """Types of all values, and which of them are stored."""

    def __init__(self) -> None:
        self.types: dict[str, ValueType] = {}
        self.stored: set[str] = set()
        self.constants: dict[str, Constant] = {}

    @classmethod
    def of(cls, inputs: Iterable[tuple[str, ValueType]], block: Block) -> _View:
        view = cls()
        view.types.update(inputs)
        for op in block.walk():
            view.types.update(op.outputs)
            for inner in op.blocks:
                view.types.update(inner.inputs)
            if view.is_stored(op):
                view.stored.update(name for name, _ in op.outputs)
            if op.type == "const" and op.outputs and "val" in op.attributes:
                view.constants[op.outputs[0][0]] = op.attributes["val"]
        return view

    @staticmethod
    def is_stored(op: Operation) -> bool:
        """Whether an operation is a constant, or decodes one when the package is loaded."""
        return op.type == "const" or _decodes(op)

    def shape(self, op: Operation, parameter: str) -> Shape | None:
        """The shape of an input; None where it is absent or not known."""
        return next(iter(self.shapes(op, parameter)), None)

    def shapes(self, op: Operation, parameter: str) -> list[Shape | None]:
        """The shapes of an input's values; None for one that is not known."""
        values = op.inputs.get(parameter, ())
        return [_known(self.types.get(v.name) if isinstance(v, Reference) else v.type) for v in values]

    def out(self, op: Operation) -> Shape | None:
        """The shape of the first output; None where it is not known."""
        return _known(op.outputs[0][1]) if op.outputs else None

    def _constant(self, op: Operation, parameter: str) -> Constant | None:
        value = next(iter(op.inputs.get(parameter, ())), None)
        return self.constants.get(value.name) if isinstance(value, Reference) else value

    def numbers(self, op: Operation, parameter: str) -> tuple[int, ...]:
        """A constant input's numbers; none where it is absent, computed or text."""
        constant = self._constant(op, parameter)
        if constant is None or not isinstance(constant.type, TensorType) or constant.type.dtype not in BITS:
            return ()
        return tuple(int(value) for value in constant.numpy().ravel())

    def text(self, op: Operation, parameter: str) -> str:
        """A constant input that is text; empty where it is absent or something else."""
        constant = self._constant(op, parameter)
        if constant is None or constant.type != TensorType("string"):
            return ""
        return str(constant.python())

    def has_stored(self, op: Operation, *parameters: str) -> bool:
        """Whether any of some inputs is stored."""
        values = [value for parameter in parameters for value in op.inputs.get(parameter, ())]
        return any(not isinstance(value, Reference) or value.name in self.stored for value in values)

    def macs(self, op: Operation) -> tuple[str, int]:
        """An operation's family and multiply-accumulates; 0 where a shape is unknown."""
        family, count = _MACS.get(op.type, ("", _free))
        if family == "matmul" and self.has_stored(op, "x", "y", "values"):
            family = "linear"
        return family, count(self, op)

    def peak(self, block: Block, inputs: Sequence[str]) -> int:
        """Most bytes alive while a block runs, its inputs included, what it reads from around it not."""
        steps = [
            OperatorMemory(
                reads=[*op.references, *(name for inner in op.blocks for name in _read_inside(inner))],
                makes=[name for name, _ in op.outputs],
                inside=max((self.peak(inner, [n for n, _ in inner.inputs]) for inner in op.blocks), default=0),
            )
            for op in block.operations
            if not self.is_stored(op)
        ]
        sizes = {name: self._bytes(name) for step in steps for name in (*step.reads, *step.makes)}
        sizes |= {name: self._bytes(name) for name in inputs}
        made = {name for step in steps for name in step.makes} | set(inputs)
        return peak_bytes(steps, {name: size for name, size in sizes.items() if name in made}, inputs, block.outputs)

    def _bytes(self, name: str) -> int:
        kind = self.types.get(name)
        if name in self.stored or not isinstance(kind, TensorType) or kind.dtype not in BITS:
            return 0
        return size_in_bytes(kind.dtype, kind.count or 0)


def _known(kind: ValueType | None) -> Shape | None:
    if not isinstance(kind, TensorType) or not kind.static:
        return None
    return tuple(side for side in kind.shape if side is not None)


def _read_inside(block: Block) -> Iterable[str]:
    yield from block.outputs
    for op in block.walk():
        yield from op.references
        for inner in op.blocks:
            yield from inner.outputs


def _free(view: _View, op: Operation) -> int:
    return 0


def _conv(view: _View, op: Operation) -> int:
    """Each output number needs one product per kernel tap and input channel of its group."""
    out, weight = view.out(op), view.shape(op, "weight")
    return 0 if out is None or weight is None else math.prod(out) * math.prod(weight[1:])


def _conv_transpose(view: _View, op: Operation) -> int:
    """Each input number is multiplied with every tap and output channel of its group."""
    data, weight = view.shape(op, "x"), view.shape(op, "weight")
    return 0 if data is None or weight is None else math.prod(data) * math.prod(weight[1:])


def _linear(view: _View, op: Operation) -> int:
    out, weight = view.out(op), view.shape(op, "weight")
    return 0 if out is None or not weight else math.prod(out) * weight[-1]


def _matmul(view: _View, op: Operation) -> int:
    out, left = view.out(op), view.shape(op, "x")
    if out is None or not left:
        return 0
    transposed = len(left) > 1 and any(view.numbers(op, "transpose_x"))
    return math.prod(out) * left[-2 if transposed else -1]


def _einsum(view: _View, op: Operation) -> int:
    return einsum_macs(view.text(op, "equation"), view.shapes(op, "values"))


def einsum_macs(equation: str, shapes: Sequence[Shape | None]) -> int:
    """One product of two operands for every combination of all indices; 0 for other numbers of operands."""
    operands = equation.partition("->")[0].replace(" ", "").split(",")
    if len(shapes) != 2 or len(operands) != 2 or None in shapes:
        return 0
    sides: dict[str, int] = {}
    for letters, shape in zip(operands, shapes, strict=True):
        sides.update(zip(letters, shape or (), strict=False))
    return math.prod(sides.values())


def _attention(view: _View, op: Operation) -> int:
    """Scores (…, L, S) from E numbers each, and the (…, L, V) result from S each."""
    query, key, out = view.shape(op, "query"), view.shape(op, "key"), view.out(op)
    if query is None or key is None or out is None or len(key) < 2:
        return 0
    return (math.prod(query) + math.prod(out)) * key[-2]


def _recurrent(view: _View, op: Operation) -> int:
    """Every number of every matrix once per step and sequence: x is (steps, batch, features)."""
    data = view.shape(op, "x")
    shapes = [view.shape(op, name) for name in op.inputs if name.startswith("weight")]
    if data is None or len(data) < 2 or None in shapes:
        return 0
    return data[0] * data[1] * sum(math.prod(shape) for shape in shapes if shape)


def _bilinear(view: _View, op: Operation) -> int:
    return BILINEAR_TAPS * math.prod(view.out(op) or (0,))


def _resize(view: _View, op: Operation) -> int:
    return _bilinear(view, op) if view.text(op, "interpolation_mode").upper() == "LINEAR" else 0


def _resample(view: _View, op: Operation) -> int:
    return _bilinear(view, op) if view.text(op, "sampling_mode") == "bilinear" else 0


def _pool(view: _View, op: Operation) -> int:
    return math.prod(view.out(op) or (0,)) * math.prod(view.numbers(op, "kernel_sizes"))


def _mean(view: _View, op: Operation) -> int:
    """A mean over all pixels of (N, C, H, W) is a global pool; others are parts of norms, which are not counted."""
    data, axes = view.shape(op, "x"), view.numbers(op, "axes")
    return math.prod(data) if data and len(data) == 4 and sorted(axis % 4 for axis in axes) == [2, 3] else 0


_MACS: dict[str, tuple[str, Callable[[_View, Operation], int]]] = {
    "conv": ("conv", _conv),
    "conv_quantized": ("conv", _conv),
    "conv_transpose": ("conv", _conv_transpose),
    "linear": ("linear", _linear),
    "matmul": ("matmul", _matmul),
    "einsum": ("matmul", _einsum),
    "scaled_dot_product_attention": ("matmul", _attention),
    "gru": ("linear", _recurrent),
    "lstm": ("linear", _recurrent),
    "rnn": ("linear", _recurrent),
    "resize_bilinear": ("resize", _bilinear),
    "upsample_bilinear": ("resize", _bilinear),
    "crop_resize": ("resize", _bilinear),
    "resize": ("resize", _resize),
    "resample": ("resize", _resample),
    "avg_pool": ("pool", _pool),
    "reduce_mean": ("pool", _mean),
}
