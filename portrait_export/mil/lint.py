"""Operations with shapes in; advice out: which are publicly documented as slow on, or kept off, the Neural Engine.

Advice, not measurement: Apple documents no list of what the Neural Engine runs ("it changes based on device
generation, operating system version, tensor sizes", https://github.com/apple/coremltools/issues/1780). Every row says
who reported it; where a device is at hand, Xcode's performance report is the judge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .constants import Constant
from .features import Feature
from .program import Operation, Program, Reference
from .types import TensorType

NOTE = "advice from public documents, not a measurement; Xcode's performance report on a device is the judge"
SHOWN = 5  # operations named per piece of advice
MAX_RANK = 5
MAX_SIDE = 16_384
MAX_POOL_KERNEL = 13
LARGE_COPY = 1 << 16  # elements from which a reshape or transpose is worth a word: 256x256 of one channel

APPLE_TRANSFORMERS = "https://machinelearning.apple.com/research/neural-engine-transformers"
APPLE_VISION_TRANSFORMERS = "https://machinelearning.apple.com/research/vision-transformers"
HOLLANCE = "https://github.com/hollance/neural-engine/blob/master/docs/unsupported-layers.md"
COREMLTOOLS = "https://github.com/apple/coremltools/issues/"

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class LintOp:
    """One operation as the rules see it, whatever format it came from.

    Attributes:
        type: the MIL operator that it is, or becomes.
        name: for people.
        inputs, outputs: shapes; None for a dimension that is open.
        dtype: of the first output, such as `fp16`; empty where it is a float of undecided precision.
        dilations, kernel: of convolutions and pools; empty otherwise.
        constant_weight: whether a convolution's weight is stored. True where there is none.
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
    """One pattern.

    Attributes:
        code: stable, for scripts.
        title: what was found.
        applies: whether an operation is of this kind.
        effect: what is said to happen.
        do: what to do about it.
        sources: who says so.
    """

    code: str
    title: str
    applies: Callable[[LintOp], bool]
    effect: str
    do: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Advice:
    """A rule that applied.

    Attributes:
        count: of operations (or inputs) it applies to.
        where: the names of the first few.
    """

    code: str
    title: str
    count: int
    where: tuple[str, ...]
    effect: str
    do: str
    sources: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}


def _rank(op: LintOp) -> int:
    return max((len(shape) for shape in (*op.inputs, *op.outputs)), default=0)


def _largest_side(op: LintOp) -> int:
    return max((side or 0 for shape in (*op.inputs, *op.outputs) for side in shape), default=0)


def _elements(shape: Shape) -> int:
    return math.prod(side or 1 for side in shape)


def _copies(op: LintOp) -> bool:
    return op.type in ("reshape", "transpose") and any(_elements(shape) >= LARGE_COPY for shape in op.outputs)


def _lonely_last_axis(op: LintOp) -> bool:
    return any(len(s) > 2 and s[-1] == 1 and _elements(s) >= LARGE_COPY // 16 for s in op.outputs)


def _scales_otherwise(op: LintOp) -> bool:
    """A resize by another factor than 2."""
    if not op.type.startswith(("resize", "upsample")) or not op.inputs or not op.outputs:
        return False
    pairs = list(zip(op.inputs[0][-2:], op.outputs[0][-2:], strict=False))
    return any(old and new and new not in (old, 2 * old) for old, new in pairs)


GATHERS = ("gather", "gather_along_axis", "gather_nd")
RECURRENT = ("lstm", "gru", "rnn")
WEIGHTED = ("conv", "conv_transpose", "linear", "matmul", "einsum")

RULES = (
    LintRule(
        "rank-above-5",
        "tensors of more than five dimensions",
        lambda op: _rank(op) > MAX_RANK,
        "Core ML does not take them; Apple splits a window partition of six dimensions into steps of five",
        "merge dimensions before the operation and separate them after it",
        (COREMLTOOLS + "2536", APPLE_VISION_TRANSFORMERS),
    ),
    LintRule(
        "rank-5",
        "tensors of five dimensions",
        lambda op: _rank(op) == MAX_RANK,
        "the Neural Engine's own format has four: (batch, channels, height, width)",
        "keep activations four-dimensional and channels-first",
        (APPLE_TRANSFORMERS,),
    ),
    LintRule(
        "side-above-16384",
        f"tensors with a side above {MAX_SIDE:,}",
        lambda op: _largest_side(op) > MAX_SIDE,
        "compiling for the Neural Engine failed from 16,385 on in a published sweep (M3 Ultra)",
        "split the long side: tokens of a large picture as rows and columns instead of one axis",
        ("https://github.com/ncdrone/rustane/issues/13",),
    ),
    LintRule(
        "large-copy",
        "large reshapes and transposes",
        _copies,
        "each may copy its tensor through memory, which attention pays for most",
        "keep one layout throughout; our channels-first rewrite removes those of registered transformers",
        (APPLE_TRANSFORMERS,),
    ),
    LintRule(
        "single-last-axis",
        "large tensors whose last axis is 1",
        _lonely_last_axis,
        "the last axis is padded to 64 bytes: 32 times the memory in fp16",
        "put a long axis last, such as (B, C, 1, S) instead of (B, S, C, 1)",
        (APPLE_TRANSFORMERS,),
    ),
    LintRule(
        "computed-weight",
        "convolutions with computed weights",
        lambda op: op.type.startswith("conv") and not op.constant_weight,
        "a network with position-dependent kernels was reported to run on the CPU alone",
        "store the weights, or write the operation as products and sums of feature maps",
        (COREMLTOOLS + "2536",),
    ),
    LintRule(
        "dilation",
        "dilated convolutions",
        lambda op: op.type.startswith("conv") and any(rate > 1 for rate in op.dilations),
        "reported not to run on the Neural Engine",
        "use larger or strided kernels, or measure: newer systems may run them",
        (HOLLANCE,),
    ),
    LintRule(
        "gather",
        "gathers",
        lambda op: op.type in GATHERS and not op.dtype.startswith("int"),  # numbers of shapes are no matter
        "reported to run on the CPU, slowly",
        "slice with constant bounds, or fold constant indices away",
        (COREMLTOOLS + "1103", COREMLTOOLS + "1127", HOLLANCE),
    ),
    LintRule(
        "recurrent",
        "recurrent layers",
        lambda op: op.type in RECURRENT,
        "not supported on the Neural Engine, by an engineer of Core ML",
        "use convolutions over time, or run one step per frame",
        (COREMLTOOLS + "1780", HOLLANCE),
    ),
    LintRule(
        "custom",
        "custom operations",
        lambda op: op.type.startswith("custom"),
        "they have CPU and GPU implementations only, by an engineer of Core ML",
        "write them with built-in operations",
        (COREMLTOOLS + "1278", HOLLANCE),
    ),
    LintRule(
        "large-pool",
        f"pools with kernels above {MAX_POOL_KERNEL}",
        lambda op: op.type.endswith("_pool") and any(side > MAX_POOL_KERNEL for side in op.kernel),
        "Core ML's own log was seen to refuse them for the Neural Engine",
        "pool in several steps, or take a mean over height and width",
        ("https://github.com/hollance/neural-engine/issues/1", "https://github.com/hollance/neural-engine/issues/2"),
    ),
    LintRule(
        "resize-factor",
        "resizes by another factor than 2",
        _scales_otherwise,
        "Core ML's own log was seen to refuse them for the Neural Engine (in 2020)",
        "measure; where it matters, resize by 2 several times (other numbers, so the network must be trained with it)",
        ("https://github.com/hollance/neural-engine/issues/2",),
    ),
    LintRule(
        "float32",
        "convolutions and products in float32",
        lambda op: op.type in WEIGHTED and op.dtype == "fp32",
        "float32 programs run on the CPU and GPU only",
        "export with --precision fp16; parity names what it costs",
        ("https://apple.github.io/coremltools/docs-guides/source/typed-execution-example.html",),
    ),
)

RANGE_SHAPES = LintRule(
    "range-shapes",
    "inputs whose shape may vary over a range",
    lambda op: False,
    "only the default shape runs on the Neural Engine, by an engineer of Core ML",
    "fix the shape, or list the few that are needed",
    (
        "https://developer.apple.com/forums/thread/724930",
        "https://apple.github.io/coremltools/docs-guides/source/flexible-inputs.html",
    ),
)
LISTED_SHAPES = LintRule(
    "listed-shapes",
    "inputs with several listed shapes",
    lambda op: False,
    "shapes other than the default were seen to leave the Neural Engine, as with a layer norm in the model",
    "export one package per shape where it matters",
    (COREMLTOOLS + "2370", COREMLTOOLS + "1909"),
)


def advise(
    ops: Iterable[LintOp], inputs: Sequence[tuple[str, str]] = (), rules: Sequence[LintRule] = RULES
) -> list[Advice]:
    """Every rule that applies, in the table's order.

    Args:
        ops: what the model does.
        inputs: name and `range` or `listed` of inputs without one fixed shape.
    """
    found: dict[str, list[str]] = {}
    for op in ops:
        for rule in rules:
            if rule.applies(op):
                found.setdefault(rule.code, []).append(op.name)
    for name, kind in inputs:
        found.setdefault(f"{kind}-shapes", []).append(name)
    return [
        Advice(rule.code, rule.title, len(names), tuple(names[:SHOWN]), rule.effect, rule.do, rule.sources)
        for rule in (*rules, RANGE_SHAPES, LISTED_SHAPES)
        if (names := found.get(rule.code))
    ]


# A package as operations


def lint_program(program: Program) -> list[Advice]:
    """Advice on a saved package."""
    function = program.main
    view = _View(types=dict(function.inputs))
    return advise(view.ops(function.block.walk()), [pair for f in program.inputs if (pair := _flexible(f))])


def _flexible(feature: Feature) -> tuple[str, str] | None:
    if feature.ranges:
        return feature.name, "range"
    return (feature.name, "listed") if len(feature.enumerated) > 1 else None


@dataclass
class _View:
    """Follows what each value is while operations pass."""

    types: dict[str, Any]
    constants: dict[str, Constant] = field(default_factory=dict)
    stored: set[str] = field(default_factory=set)  # constants, and what is decoded from them at load

    def ops(self, operations: Iterable[Operation]) -> Iterable[LintOp]:
        """All but constants, as the rules see them."""
        for op in operations:
            self.types.update(op.outputs)
            names = [name for name, _ in op.outputs]
            if op.type == "const" or op.type.startswith("constexpr_"):
                self.stored.update(names)
                if op.type == "const" and "val" in op.attributes:
                    self.constants[names[0]] = op.attributes["val"]
                continue
            yield LintOp(
                type=op.type,
                name=op.name,
                inputs=tuple(self._shape(self.types.get(name)) for name in op.references if name not in self.stored),
                outputs=tuple(self._shape(kind) for _, kind in op.outputs),
                dtype=getattr(op.outputs[0][1], "dtype", "") if op.outputs else "",
                dilations=self._numbers(op, "dilations"),
                kernel=self._numbers(op, "kernel_sizes"),
                constant_weight=self._is_stored(op, "weight"),
            )

    @staticmethod
    def _shape(kind: Any) -> Shape:
        return kind.shape if isinstance(kind, TensorType) else ()

    def _numbers(self, op: Operation, name: str) -> tuple[int, ...]:
        for argument in op.inputs.get(name, ()):
            constant = self.constants.get(argument.name) if isinstance(argument, Reference) else argument
            if constant is not None:
                return tuple(int(value) for value in constant.numpy().ravel())
        return ()

    def _is_stored(self, op: Operation, name: str) -> bool:
        arguments = op.inputs.get(name, ())
        return all(not isinstance(argument, Reference) or argument.name in self.stored for argument in arguments)
