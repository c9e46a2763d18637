"""Count what one run of a saved program costs: parameters, MACs per family, bytes, layout operators.

`capture.onnx.cost` returns the same `Cost` for ONNX, with the same families, so that a package can be compared with the
model that it was made from. Their MACs agree. Other numbers differ by what the compiler did: activations have the
package's precision (half the bytes in fp16), weights their stored size, and layout operators that MIL has as parameters
of other operators (transposed operands of a product, the axes of a layer norm) are gone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .constants import Constant
from .program import Block, Operation, Program
from .types import TensorType, ValueType
from .values import Values, is_decoder, is_stored
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
BILINEAR_TAPS, BICUBIC_TAPS = 4, 16  # products per output element
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Cost:
    """What one run of a model costs.

    Attributes:
        parameters: stored floating-point numbers.
        weight_bytes: bytes of all stored constants.
        macs: multiply-accumulates by family: `conv`, `linear` (matrix products with stored weights), `matmul` (products
            of two computed values, as in attention), `resize`, `pool`. Elementwise work is not counted.
        peak_activation_bytes: most bytes of computed values alive at once, in the stored order, without in-place
            operations.
        operators: number of nodes by operator type.
        layout_ops: nodes that only move elements (reshape, transpose …).
        absorbed_layout_ops: those of them that MIL has as parameters of an adjacent operator; 0 for a package, where
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
        """Multiply-accumulates with stored weights only, the figure that most papers and profilers give."""
        return self.macs.get("conv", 0) + self.macs.get("linear", 0)

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {**vars(self), "total_macs": self.total_macs, "weight_macs": self.weight_macs}


@dataclass(frozen=True)
class OperatorMemory:
    """One operator as the peak memory count sees it: names of values read and made, and bytes needed inside it."""

    reads: Sequence[str]
    makes: Sequence[str]
    inside: int = 0


def peak_bytes(
    steps: Sequence[OperatorMemory], sizes: Mapping[str, int], inputs: Iterable[str], outputs: Iterable[str]
) -> int:
    """The most bytes of values alive while any one step runs.

    Args:
        steps: in the order in which they run.
        sizes: bytes by value; others (constants, unknown shapes) count 0.
        inputs: alive from the start until their last use.
        outputs: alive until the end.
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

    Operators whose shapes are unknown count 0; the body of a loop counts once, and both branches of a condition count.
    """
    function = program.main
    values = Values.of(function.inputs, function.block)
    operations = [op for op in function.block.walk() if not is_stored(op)]
    macs: Counter[str] = Counter()
    for op in operations:
        family, count = _macs(values, op)
        macs[family] += count
    operators = Counter(op.type for op in operations)
    parameters, weight_bytes = _weights(function.block)
    return Cost(
        parameters=parameters,
        weight_bytes=weight_bytes,
        macs={family: count for family, count in sorted(macs.items()) if count},
        peak_activation_bytes=_peak(values, function.block, [name for name, _ in function.inputs]),
        operators=dict(sorted(operators.items())),
        layout_ops=sum(count for op, count in operators.items() if op in LAYOUT_OPS),
    )


def _weights(block: Block) -> tuple[int, int]:
    """The number of floating-point weights, and the bytes that they are stored in.

    For a compressed weight the decoded numbers count, and the bytes of everything that its decoder reads. Scalars are
    settings of operators, not weights.
    """
    operations = list(block.walk())
    decoders = [op for op in operations if is_decoder(op)]
    packed = {name for op in decoders for name in op.references}
    parameters = size = 0
    for op in operations:
        if not op.outputs or not is_stored(op):
            continue
        name, kind = op.outputs[0]
        decoded = name not in packed
        if _is_weight(kind) and decoded:
            parameters += _count(kind)
        if op.type == "const" and "val" in op.attributes and (_is_weight(kind) or not decoded):
            size += op.attributes["val"].size_bytes
        if is_decoder(op):
            literals = [value for values in op.inputs.values() for value in values if isinstance(value, Constant)]
            size += sum(value.size_bytes for value in (*op.attributes.values(), *literals))
    return parameters, size


def _is_weight(kind: ValueType) -> bool:
    return isinstance(kind, TensorType) and kind.dtype in ("fp16", "fp32", "fp64") and bool(kind.shape)


def _count(kind: ValueType) -> int:
    return (kind.count or 0) if isinstance(kind, TensorType) else 0


def _shapes(values: Values, op: Operation, parameter: str) -> list[Shape | None]:
    """The shapes of an input's values; None for an unknown one."""
    return [_known(kind) for kind in values.input_types(op, parameter)]


def _shape(values: Values, op: Operation, parameter: str) -> Shape | None:
    """The shape of an input; None if it is absent or unknown."""
    return next(iter(_shapes(values, op, parameter)), None)


def _out(op: Operation) -> Shape | None:
    """The shape of the first output; None if it is unknown."""
    return _known(op.outputs[0][1]) if op.outputs else None


def _macs(values: Values, op: Operation) -> tuple[str, int]:
    """An operation's family and multiply-accumulates; 0 if a shape is unknown."""
    family, count = _MACS.get(op.type, ("", _free))
    if family == "matmul" and any(values.stored_inputs(op, "x", "y", "values")):
        family = "linear"
    return family, count(values, op)


def _peak(values: Values, block: Block, inputs: Sequence[str]) -> int:
    """The most bytes alive while a block runs, including its inputs but not the outer values that it reads."""
    steps = [
        OperatorMemory(
            reads=[*op.references, *(name for inner in op.blocks for name in _read_inside(inner))],
            makes=[name for name, _ in op.outputs],
            inside=max((_peak(values, inner, [n for n, _ in inner.inputs]) for inner in op.blocks), default=0),
        )
        for op in block.operations
        if not is_stored(op)
    ]
    sizes = {name: _bytes(values, name) for step in steps for name in (*step.reads, *step.makes)}
    sizes |= {name: _bytes(values, name) for name in inputs}
    made = {name for step in steps for name in step.makes} | set(inputs)
    return peak_bytes(steps, {name: size for name, size in sizes.items() if name in made}, inputs, block.outputs)


def _bytes(values: Values, name: str) -> int:
    kind = values.types.get(name)
    if name in values.stored or not isinstance(kind, TensorType) or kind.dtype not in BITS:
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


def _free(values: Values, op: Operation) -> int:
    return 0


def _conv(values: Values, op: Operation) -> int:
    """One product for each output element, kernel tap and input channel of its group."""
    out, weight = _out(op), _shape(values, op, "weight")
    return 0 if out is None or weight is None else math.prod(out) * math.prod(weight[1:])


def _conv_transpose(values: Values, op: Operation) -> int:
    """One product for each input element, kernel tap and output channel of its group."""
    data, weight = _shape(values, op, "x"), _shape(values, op, "weight")
    return 0 if data is None or weight is None else math.prod(data) * math.prod(weight[1:])


def _linear(values: Values, op: Operation) -> int:
    out, weight = _out(op), _shape(values, op, "weight")
    return 0 if out is None or not weight else math.prod(out) * weight[-1]


def _matmul(values: Values, op: Operation) -> int:
    out, left = _out(op), _shape(values, op, "x")
    if out is None or not left:
        return 0
    transposed = len(left) > 1 and any(values.numbers(op, "transpose_x"))
    return math.prod(out) * left[-2 if transposed else -1]


def _einsum(values: Values, op: Operation) -> int:
    return einsum_macs(values.text(op, "equation"), _shapes(values, op, "values"))


def einsum_macs(equation: str, shapes: Sequence[Shape | None]) -> int:
    """One product for each combination of all indices of two operands; 0 for another number of operands."""
    operands = equation.partition("->")[0].replace(" ", "").split(",")
    if len(shapes) != 2 or len(operands) != 2 or None in shapes:
        return 0
    sides: dict[str, int] = {}
    for letters, shape in zip(operands, shapes, strict=True):
        sides.update(zip(letters, shape or (), strict=False))
    return math.prod(sides.values())


def _attention(values: Values, op: Operation) -> int:
    """Scores (…, L, S) of E products each, and the (…, L, V) result of S products each."""
    query, key, out = _shape(values, op, "query"), _shape(values, op, "key"), _out(op)
    if query is None or key is None or out is None or len(key) < 2:
        return 0
    return (math.prod(query) + math.prod(out)) * key[-2]


def _recurrent(values: Values, op: Operation) -> int:
    """Each element of each matrix once per step and sequence: x is (steps, batch, features)."""
    data = _shape(values, op, "x")
    shapes = [_shape(values, op, name) for name in op.inputs if name.startswith("weight")]
    if data is None or len(data) < 2 or None in shapes:
        return 0
    return data[0] * data[1] * sum(math.prod(shape) for shape in shapes if shape)


def _bilinear(values: Values, op: Operation) -> int:
    return BILINEAR_TAPS * math.prod(_out(op) or (0,))


def _resize(values: Values, op: Operation) -> int:
    return _bilinear(values, op) if values.text(op, "interpolation_mode").upper() == "LINEAR" else 0


def _resample(values: Values, op: Operation) -> int:
    return _bilinear(values, op) if values.text(op, "sampling_mode") == "bilinear" else 0


def _pool(values: Values, op: Operation) -> int:
    return math.prod(_out(op) or (0,)) * math.prod(values.numbers(op, "kernel_sizes"))


def _mean(values: Values, op: Operation) -> int:
    """A mean over all pixels of (N, C, H, W) is a global pool; other means are parts of norms and not counted."""
    data, axes = _shape(values, op, "x"), values.numbers(op, "axes")
    return math.prod(data) if data and len(data) == 4 and sorted(axis % 4 for axis in axes) == [2, 3] else 0


_MACS: dict[str, tuple[str, Callable[[Values, Operation], int]]] = {
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
