"""Find operations that are publicly documented as slow on, or unsupported by, the Neural Engine.

This is advice, not a measurement: Apple publishes no list of what the Neural Engine runs ("it changes based on device
generation, operating system version, tensor sizes", https://github.com/apple/coremltools/issues/1780). Every rule names
its sources; Xcode's performance report on a device is authoritative.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .features import Feature
from .program import Operation, Program
from .types import TensorType, ValueType
from .values import Values, is_stored

NOTE = "advice from public documents, not a measurement; Xcode's performance report on a device is authoritative"
SHOWN = 5  # operations named per piece of advice
MAX_RANK = 5
MAX_SIDE = 16_384
MAX_POOL_KERNEL = 13
LARGE_COPY = 1 << 16  # elements from which a reshape or transpose is reported: 256x256 of one channel

APPLE_TRANSFORMERS = "https://machinelearning.apple.com/research/neural-engine-transformers"
APPLE_VISION_TRANSFORMERS = "https://machinelearning.apple.com/research/vision-transformers"
HOLLANCE = "https://github.com/hollance/neural-engine/blob/master/docs/unsupported-layers.md"
COREMLTOOLS = "https://github.com/apple/coremltools/issues/"

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class LintOp:
    """One operation as the rules see it, from a package or from ONNX.

    Attributes:
        type: the MIL operator that it is, or becomes.
        name: to show.
        inputs, outputs: shapes; None for a dimension that varies.
        dtype: of the first output, such as `fp16`; empty for a float whose precision is not decided yet.
        dilations, kernel: of convolutions and pools; empty otherwise.
        constant_weight: whether a convolution's weight is stored; True for other operations.
    """

    type: str
    name: str
    inputs: tuple[Shape, ...] = ()
    outputs: tuple[Shape, ...] = ()
    dtype: str = ""
    dilations: tuple[int, ...] = ()
    kernel: tuple[int, ...] = ()
    constant_weight: bool = True


@dataclass(frozen=True)
class LintRule:
    """One pattern of operations.

    Attributes:
        code: stable, for scripts.
        title: what was found.
        applies: whether an operation matches.
        effect: what is reported to happen.
        do: what to do about it.
        sources: who reported it.
    """

    code: str
    title: str
    applies: Callable[[LintOp], bool]
    effect: str
    do: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class InputAdvice:
    """What is reported about inputs without one fixed shape. The attributes are those of LintRule."""

    code: str
    title: str
    effect: str
    do: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Advice:
    """A rule that matched.

    Attributes:
        count: number of operations (or inputs) that match.
        where: names of the first few.
    """

    code: str
    title: str
    count: int
    where: tuple[str, ...]
    effect: str
    do: str
    sources: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}


def _rank(op: LintOp) -> int:
    return max((len(shape) for shape in (*op.inputs, *op.outputs)), default=0)


def _largest_side(op: LintOp) -> int:
    return max((side or 0 for shape in (*op.inputs, *op.outputs) for side in shape), default=0)


def _elements(shape: Shape) -> int:
    return math.prod(side or 1 for side in shape)


def _is_large_copy(op: LintOp) -> bool:
    return op.type in ("reshape", "transpose") and any(_elements(shape) >= LARGE_COPY for shape in op.outputs)


def _has_single_last_axis(op: LintOp) -> bool:
    return any(len(s) > 2 and s[-1] == 1 and _elements(s) >= LARGE_COPY // 16 for s in op.outputs)


def _resizes_by_other_factor(op: LintOp) -> bool:
    """A resize by a factor other than 2."""
    if not op.type.startswith(("resize", "upsample")) or not op.inputs or not op.outputs:
        return False
    pairs = list(zip(op.inputs[0][-2:], op.outputs[0][-2:], strict=False))
    return any(old and new and new not in (old, 2 * old) for old, new in pairs)


GATHERS = ("gather", "gather_along_axis", "gather_nd")
RECURRENT = ("lstm", "gru", "rnn")
WEIGHTED = ("conv", "conv_transpose", "linear", "matmul", "einsum")

RULES = (
    LintRule(
        code="rank-above-5",
        title="tensors of more than five dimensions",
        applies=lambda op: _rank(op) > MAX_RANK,
        effect="Core ML does not support them; Apple splits a six-dimensional window partition into steps of five",
        do="merge dimensions before the operation and split them after it",
        sources=(COREMLTOOLS + "2536", APPLE_VISION_TRANSFORMERS),
    ),
    LintRule(
        code="rank-5",
        title="tensors of five dimensions",
        applies=lambda op: _rank(op) == MAX_RANK,
        effect="the Neural Engine's native format has four: (batch, channels, height, width)",
        do="keep activations four-dimensional and channels-first",
        sources=(APPLE_TRANSFORMERS,),
    ),
    LintRule(
        code="side-above-16384",
        title=f"tensors with a side above {MAX_SIDE:,}",
        applies=lambda op: _largest_side(op) > MAX_SIDE,
        effect="compiling for the Neural Engine failed for sides of 16,385 and more in a published sweep (M3 Ultra)",
        do="split the long side: keep the tokens of a large image as rows and columns instead of one axis",
        sources=("https://github.com/ncdrone/rustane/issues/13",),
    ),
    LintRule(
        code="large-copy",
        title="large reshapes and transposes",
        applies=_is_large_copy,
        effect="each may copy its tensor in memory, which is most expensive in attention",
        do="keep one layout throughout; the channels-first rewrite removes those of registered transformers",
        sources=(APPLE_TRANSFORMERS,),
    ),
    LintRule(
        code="single-last-axis",
        title="large tensors whose last axis is 1",
        applies=_has_single_last_axis,
        effect="the last axis is padded to 64 bytes: 32 times the memory in fp16",
        do="put a long axis last, such as (B, C, 1, S) instead of (B, S, C, 1)",
        sources=(APPLE_TRANSFORMERS,),
    ),
    LintRule(
        code="computed-weight",
        title="convolutions with computed weights",
        applies=lambda op: op.type.startswith("conv") and not op.constant_weight,
        effect="a network with position-dependent kernels was reported to run on the CPU only",
        do="store the weights, or express the operation as products and sums of feature maps",
        sources=(COREMLTOOLS + "2536",),
    ),
    LintRule(
        code="dilation",
        title="dilated convolutions",
        applies=lambda op: op.type.startswith("conv") and any(rate > 1 for rate in op.dilations),
        effect="reported not to run on the Neural Engine",
        do="use larger or strided kernels, or measure: newer systems may run them",
        sources=(HOLLANCE,),
    ),
    LintRule(
        code="gather",
        title="gathers",
        applies=lambda op: op.type in GATHERS and not op.dtype.startswith("int"),  # those of shapes are cheap
        effect="reported to run on the CPU, slowly",
        do="slice with constant bounds, or fold constant indices away",
        sources=(COREMLTOOLS + "1103", COREMLTOOLS + "1127", HOLLANCE),
    ),
    LintRule(
        code="recurrent",
        title="recurrent layers",
        applies=lambda op: op.type in RECURRENT,
        effect="not supported on the Neural Engine, according to a Core ML engineer",
        do="use convolutions over time, or run one step per frame",
        sources=(COREMLTOOLS + "1780", HOLLANCE),
    ),
    LintRule(
        code="custom",
        title="custom operations",
        applies=lambda op: op.type.startswith("custom"),
        effect="they have CPU and GPU implementations only, according to a Core ML engineer",
        do="express them with built-in operations",
        sources=(COREMLTOOLS + "1278", HOLLANCE),
    ),
    LintRule(
        code="large-pool",
        title=f"pools with kernels above {MAX_POOL_KERNEL}",
        applies=lambda op: op.type.endswith("_pool") and any(side > MAX_POOL_KERNEL for side in op.kernel),
        effect="Core ML's own log was seen to reject them for the Neural Engine",
        do="pool in several steps, or use a mean over height and width",
        sources=(
            "https://github.com/hollance/neural-engine/issues/1",
            "https://github.com/hollance/neural-engine/issues/2",
        ),
    ),
    LintRule(
        code="resize-factor",
        title="resizes by a factor other than 2",
        applies=_resizes_by_other_factor,
        effect="Core ML's own log was seen to reject them for the Neural Engine (in 2020)",
        do="measure; if it matters, resize by 2 several times (and train with that: the numbers differ)",
        sources=("https://github.com/hollance/neural-engine/issues/2",),
    ),
    LintRule(
        code="float32",
        title="convolutions and products in float32",
        applies=lambda op: op.type in WEIGHTED and op.dtype == "fp32",
        effect="float32 programs run on the CPU and GPU only",
        do="export with `precision=fp16`; the parity check shows the loss",
        sources=("https://apple.github.io/coremltools/docs-guides/source/typed-execution-example.html",),
    ),
)

RANGE_SHAPES = InputAdvice(
    code="range-shapes",
    title="inputs whose shape may vary over a range",
    effect="only the default shape runs on the Neural Engine, according to a Core ML engineer",
    do="fix the shape, or list the few that are needed",
    sources=(
        "https://developer.apple.com/forums/thread/724930",
        "https://apple.github.io/coremltools/docs-guides/source/flexible-inputs.html",
    ),
)
LISTED_SHAPES = InputAdvice(
    code="listed-shapes",
    title="inputs with several listed shapes",
    effect="shapes other than the default were seen not to run on the Neural Engine, e.g. with a layer norm",
    do="export one package per shape if it matters",
    sources=(COREMLTOOLS + "2370", COREMLTOOLS + "1909"),
)


def advise(
    ops: Iterable[LintOp], inputs: Sequence[tuple[str, str]] = (), rules: Sequence[LintRule] = RULES
) -> list[Advice]:
    """Every rule that matches, in the order of the table.

    Args:
        ops: the operations of the model.
        inputs: name and kind (`range` or `listed`) of each input without one fixed shape.
    """
    found: dict[str, list[str]] = {}
    for op in ops:
        for rule in rules:
            if rule.applies(op):
                found.setdefault(rule.code, []).append(op.name)
    for name, kind in inputs:
        found.setdefault(f"{kind}-shapes", []).append(name)
    table: tuple[LintRule | InputAdvice, ...] = (*rules, RANGE_SHAPES, LISTED_SHAPES)
    return [
        Advice(row.code, row.title, len(names), tuple(names[:SHOWN]), row.effect, row.do, row.sources)
        for row in table
        if (names := found.get(row.code))
    ]


def lint_program(program: Program) -> list[Advice]:
    """Advice on a saved package."""
    function = program.main
    values = Values.of(function.inputs, function.block)
    ops = [_lint_op(values, op) for op in function.block.walk() if not is_stored(op)]
    return advise(ops, [pair for feature in program.inputs if (pair := _flexible(feature))])


def _flexible(feature: Feature) -> tuple[str, str] | None:
    if feature.ranges:
        return feature.name, "range"
    return (feature.name, "listed") if len(feature.enumerated) > 1 else None


def _lint_op(values: Values, op: Operation) -> LintOp:
    """An operation as the rules see it."""
    return LintOp(
        type=op.type,
        name=op.name,
        inputs=tuple(_shape(values.types.get(name)) for name in op.references if name not in values.stored),
        outputs=tuple(_shape(kind) for _, kind in op.outputs),
        dtype=getattr(op.outputs[0][1], "dtype", "") if op.outputs else "",
        dilations=values.numbers(op, "dilations"),
        kernel=values.numbers(op, "kernel_sizes"),
        constant_weight=all(values.stored_inputs(op, "weight")),
    )


def _shape(kind: ValueType | None) -> Shape:
    return kind.shape if isinstance(kind, TensorType) else ()
