"""Grow random valid MIL programs over operators, ranks and types, each value beside what coremltools infers for it.

Every step applies one operator twice: to the program's values, and to constants of the same numbers, for which
coremltools' operator definitions infer the result. A value whose operator has no inference is computed, not compared.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from portrait_export.mil import coreml

TARGETS = ("iOS15", "iOS16", "iOS17", "iOS18", "iOS26")
MAX_ELEMENTS = 4000  # of one value
MAX_RANK = 5
ATTEMPTS = 20  # one program in ten has an operation that its operator set does not accept


@dataclass(frozen=True)
class Value:
    """A value of the program.

    Attributes:
        var: coremltools' Var.
        known: its number, or None if no definition infers it.
        exact: whether every correct implementation gives the same bits, so that steps and steep functions of it are
            safe to compare.
    """

    var: Any
    known: np.ndarray | None
    exact: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(int(side) for side in self.var.shape)

    @property
    def kind(self) -> str:
        """`f`, `i` or `b`, as numpy has it."""
        return np.dtype(coreml.types().nptype_from_builtin(self.var.dtype)).kind


Draw = Callable[["Growth"], "tuple[str, dict[str, Any]] | None"]


@dataclass
class Growth:
    """A program in the making: the random numbers, the builder, and the values so far."""

    rng: random.Random
    mb: Any
    values: list[Value] = field(default_factory=list)

    def pick(self, kinds: str = "f", ranks: range = range(MAX_RANK + 1), exact: bool = False) -> Value | None:
        """One of the values of a kind and rank, the later ones more often."""
        fitting = [v for v in self.values if v.kind in kinds and len(v.shape) in ranks and (v.exact or not exact)]
        return self.rng.choice(fitting[-6:]) if fitting else None

    def array(self, *shape: int) -> np.ndarray:
        """Normal float32 numbers."""
        return np.random.default_rng(self.rng.getrandbits(32)).standard_normal(shape).astype(np.float32)

    def axis(self, value: Value) -> int:
        rank = len(value.shape)
        return self.rng.randrange(-rank, rank)

    def axes(self, value: Value) -> list[int]:
        rank = len(value.shape)
        return sorted(self.rng.sample(range(rank), self.rng.randint(1, rank)))

    def flag(self) -> bool:
        return self.rng.random() < 0.5


def _of(op: str, kinds: str, exact: bool, **options: Callable[[random.Random], Any]) -> Draw:
    """An operator of one value, with options drawn independently of it."""

    def draw(g: Growth) -> tuple[str, dict[str, Any]] | None:
        x = g.pick(kinds, exact=exact)
        return None if x is None else (op, {"x": x, **{name: option(g.rng) for name, option in options.items()}})

    return draw


def _number(low: float, high: float) -> Callable[[random.Random], Any]:
    return lambda rng: np.float32(rng.uniform(low, high))


def _one_of(*choices: Any) -> Callable[[random.Random], Any]:
    return lambda rng: rng.choice(choices)


def _pair(op: str, kinds: str, exact: bool) -> Draw:
    """An operator of two values that broadcast: the second is one of the program's, or a constant made to fit."""

    def draw(g: Growth) -> tuple[str, dict[str, Any]] | None:
        x = g.pick(kinds, exact=exact)
        if x is None:
            return None
        same = [v for v in g.values if v.kind == x.kind and v.shape == x.shape and (v.exact or not exact)]
        divides = op in ("floor_div", "mod") and x.kind == "i"  # by zero is an error, and numpy gives 0
        if same and g.flag() and not divides:
            return op, {"x": x, "y": g.rng.choice(same)}
        shape = tuple(side if g.flag() else 1 for side in x.shape)[g.rng.randint(0, len(x.shape)) :]
        y = g.array(*shape)
        constant = {"f": y, "i": np.trunc(y * 4).astype(np.int32), "b": y > 0}[x.kind]
        if divides:
            constant = np.where(constant == 0, np.int32(3), constant).astype(np.int32)
        return op, {"x": x, "y": constant}

    return draw


def _reduction(op: str, exact: bool = False) -> Draw:
    def draw(g: Growth) -> tuple[str, dict[str, Any]] | None:
        x = g.pick("f", range(1, MAX_RANK + 1), exact)
        return None if x is None else (op, {"x": x, "axes": g.axes(x), "keep_dims": g.flag()})

    return draw


def _along(op: str, exact: bool, ranks: range = range(1, MAX_RANK + 1), kinds: str = "f", **options: Any) -> Draw:
    """An operator along one axis."""

    def draw(g: Growth) -> tuple[str, dict[str, Any]] | None:
        x = g.pick(kinds, ranks, exact)
        if x is None:
            return None
        return op, {"x": x, "axis": g.axis(x), **{name: option(g.rng) for name, option in options.items()}}

    return draw


def _transpose(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("fi", range(1, MAX_RANK + 1))
    return None if x is None else ("transpose", {"x": x, "perm": g.rng.sample(range(len(x.shape)), len(x.shape))})


def _reshape(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("fi", range(1, MAX_RANK + 1))
    if x is None:
        return None
    left, shape = int(np.prod(x.shape)), []
    for _ in range(g.rng.randint(0, 3)):
        side = g.rng.choice([d for d in range(1, left + 1) if left % d == 0])
        shape.append(side)
        left //= side
    shape.append(left)
    if g.flag():
        shape[g.rng.randrange(len(shape))] = -1
    return "reshape", {"x": x, "shape": shape}


def _expand_dims(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("fib", range(MAX_RANK))
    return None if x is None else ("expand_dims", {"x": x, "axes": [g.rng.randint(-len(x.shape) - 1, len(x.shape))]})


def _squeeze(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("fi", range(1, MAX_RANK + 1))
    ones = [i for i, side in enumerate(x.shape) if side == 1] if x else []
    return ("squeeze", {"x": x, "axes": g.rng.sample(ones, g.rng.randint(1, len(ones)))}) if ones else None


def _slice(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("fi", range(1, MAX_RANK + 1))
    if x is None:
        return None
    begin = [g.rng.randrange(side) for side in x.shape]
    end = [g.rng.randint(start + 1, side) for start, side in zip(begin, x.shape, strict=True)]
    rank = len(x.shape)
    more: dict[str, Any] = {}
    if g.flag():
        more["stride"] = [g.rng.randint(1, 3) for _ in range(rank)]
    for mask in ("begin_mask", "end_mask"):
        if g.flag():
            more[mask] = [g.flag() for _ in range(rank)]
    if rank > 1 and g.rng.random() < 0.3:
        more["squeeze_mask"] = [i == 0 for i in range(rank)]
        for mask in ("begin_mask", "end_mask"):
            more[mask] = [False] * rank
    if g.rng.random() < 0.3:
        begin = [start - side for start, side in zip(begin, x.shape, strict=True)]
    return "slice_by_index", {"x": x, "begin": begin, "end": end, **more}


def _slice_by_size(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("fi", range(1, MAX_RANK + 1))
    if x is None:
        return None
    begin = [g.rng.randrange(side) for side in x.shape]
    size = [g.rng.choice((-1, g.rng.randint(1, side - start))) for start, side in zip(begin, x.shape, strict=True)]
    return "slice_by_size", {"x": x, "begin": begin, "size": size}


def _concat(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("fi", range(1, MAX_RANK + 1))
    if x is None:
        return None
    same = [v for v in g.values if v.kind == x.kind and v.shape == x.shape]
    return "concat", {"values": [x, *g.rng.choices(same, k=g.rng.randint(1, 2))], "axis": g.axis(x)}


def _stack(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("fi", range(MAX_RANK))
    if x is None:
        return None
    same = [v for v in g.values if v.kind == x.kind and v.shape == x.shape]
    return "stack", {"values": [x, g.rng.choice(same)], "axis": g.rng.randint(-len(x.shape) - 1, len(x.shape))}


def _split(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("fi", range(1, MAX_RANK + 1))
    if x is None:
        return None
    axis = g.axis(x)
    side = x.shape[axis]
    if side < 2:
        return None
    first = g.rng.randint(1, side - 1)
    return "split", {"x": x, "axis": axis, "split_sizes": [first, side - first]}


def _tile(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("fi", range(1, MAX_RANK + 1))
    return None if x is None else ("tile", {"x": x, "reps": [g.rng.randint(1, 2) for _ in x.shape]})


def _pad(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("f", range(1, MAX_RANK + 1))
    if x is None:
        return None
    mode = g.rng.choice(("constant", "reflect", "replicate"))
    count = len(x.shape) if mode == "constant" else min(2, len(x.shape))
    limits = [side - 1 if mode == "reflect" else 2 for side in x.shape[len(x.shape) - count :]]
    pad = [g.rng.randint(0, max(0, min(2, limit))) for limit in limits for _ in range(2)]
    return "pad", {"x": x, "pad": pad, "mode": mode, "constant_val": np.float32(g.rng.uniform(-2, 2))}


def _gather(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("fi", range(1, MAX_RANK))
    if x is None:
        return None
    axis = g.axis(x)
    shape = [g.rng.randint(1, 3) for _ in range(g.rng.randint(0, 2))]
    indices = np.random.default_rng(g.rng.getrandbits(32)).integers(0, x.shape[axis], shape).astype(np.int32)
    return "gather", {"x": x, "indices": indices, "axis": axis}


def _gather_along_axis(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("fi", range(1, MAX_RANK + 1))
    if x is None:
        return None
    axis = g.axis(x)
    shape = list(x.shape)
    shape[axis] = g.rng.randint(1, 4)
    indices = np.random.default_rng(g.rng.getrandbits(32)).integers(0, x.shape[axis], shape).astype(np.int32)
    return "gather_along_axis", {"x": x, "indices": indices, "axis": axis}


def _topk(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("f", range(1, MAX_RANK + 1), exact=True)
    if x is None or x.known is None:
        return None
    axis = g.axis(x)
    if len(np.unique(x.known)) < x.known.size:  # the order of equal elements is not defined
        return None
    return "topk", {"x": x, "k": g.rng.randint(1, x.shape[axis]), "axis": axis, "ascending": g.flag()}


def _argsort(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("f", range(1, MAX_RANK + 1), exact=True)
    if x is None or x.known is None or len(np.unique(x.known)) < x.known.size:
        return None
    return "argsort", {"x": x, "axis": g.axis(x), "ascending": g.flag()}


def _matmul(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("f", range(2, MAX_RANK))
    if x is None:
        return None
    turned = g.flag()
    inner, outer = x.shape[-1], g.rng.randint(1, 4)
    return "matmul", {"x": x, "y": g.array(*((outer, inner) if turned else (inner, outer))), "transpose_y": turned}


def _linear(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("f", range(1, 4))
    if x is None:
        return None
    outer = g.rng.randint(1, 4)
    return "linear", {"x": x, "weight": g.array(outer, x.shape[-1]), "bias": g.array(outer)}


def _layer_norm(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("f", range(1, MAX_RANK + 1))
    if x is None:
        return None
    axes = list(range(g.rng.randrange(len(x.shape)), len(x.shape)))
    shape = [x.shape[axis] for axis in axes]
    return "layer_norm", {
        "x": x,
        "axes": axes,
        "gamma": g.array(*shape),
        "beta": g.array(*shape),
        "epsilon": np.float32(1e-3),
    }


def _select(g: Growth) -> tuple[str, dict[str, Any]] | None:
    cond = g.pick("b", range(1, MAX_RANK + 1))
    if cond is None:
        return None
    fitting = [v for v in g.values if v.kind == "f" and v.shape == cond.shape]
    a: Any = g.rng.choice(fitting) if fitting else g.array(*cond.shape)
    return "select", {"cond": cond, "a": a, "b": g.array(*cond.shape)}


def _band_part(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("f", range(2, MAX_RANK + 1))
    if x is None or x.known is None or not np.isfinite(x.known).all():  # the inference multiplies by the mask
        return None
    return ("band_part", {"x": x, "lower": g.rng.randint(-1, 2), "upper": g.rng.randint(-1, 2)})


def _reverse(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("fi", range(1, MAX_RANK + 1))
    return None if x is None else ("reverse", {"x": x, "axes": g.axes(x)})


def _conv(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("f", range(3, 6))
    if x is None or min(x.shape[2:]) < 1:
        return None
    spatial = len(x.shape) - 2
    groups = g.rng.choice((1, x.shape[1]))
    kernel = [g.rng.randint(1, min(3, side)) for side in x.shape[2:]]
    weight = g.array(groups * g.rng.randint(1, 3), x.shape[1] // groups, *kernel)
    padding = g.rng.choice(("valid", "same", "same_lower", "custom"))
    more = {"pad": [g.rng.randint(0, 2) for _ in range(2 * spatial)]} if padding == "custom" else {}
    if padding == "same_lower" and g.flag():
        more["dilations"] = [1] * spatial
    strides = [g.rng.randint(1, 2) for _ in range(spatial)]
    return "conv", {"x": x, "weight": weight, "groups": groups, "strides": strides, "pad_type": padding, **more}


def _pool(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("f", range(3, 6))
    if x is None:
        return None
    kernel = [g.rng.randint(1, min(3, side)) for side in x.shape[2:]]
    strides = [g.rng.randint(1, 3) for _ in kernel]
    padding = g.rng.choice(("valid", "same"))
    return g.rng.choice(("max_pool", "avg_pool", "l2_pool")), {
        "x": x, "kernel_sizes": kernel, "strides": strides, "pad_type": padding,
    }  # fmt: skip


def _upsample(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("f", range(4, 5))
    if x is None:
        return None
    op = g.rng.choice(("upsample_nearest_neighbor", "upsample_bilinear"))
    factors = [np.float32(g.rng.choice((1, 2, 3, 1.3, 0.7))) for _ in range(2)]
    if min(int(side * factor) for side, factor in zip(x.shape[2:], factors, strict=True)) < 1:
        return None
    return op, {"x": x, "scale_factor_height": factors[0], "scale_factor_width": factors[1]}


def _resize_bilinear(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("f", range(4, 5))
    if x is None:
        return None
    mode = g.rng.choice(("DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "UNALIGN_CORNERS"))
    size = [g.rng.randint(1, 7), g.rng.randint(1, 7)]
    return "resize_bilinear", {
        "x": x, "target_size_height": size[0], "target_size_width": size[1], "sampling_mode": mode,
    }  # fmt: skip


def _scatter(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("f", range(1, 4))
    if x is None:
        return None
    axis = g.rng.randrange(len(x.shape))
    count = g.rng.randint(1, 3)
    indices = np.array([g.rng.randrange(x.shape[axis]) for _ in range(count)], np.int32)
    updates = g.array(*x.shape[:axis], count, *x.shape[axis + 1 :])
    mode = g.rng.choice(("add", "mul", "max", "min", "sub"))
    return "scatter", {"data": x, "indices": indices, "updates": updates, "axis": axis, "mode": mode}


def _space_to_depth(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("f", range(4, 5))
    if x is None or x.shape[2] % 2 or x.shape[3] % 2:
        return None
    return "space_to_depth", {"x": x, "block_size": 2}


def _one_hot(g: Growth) -> tuple[str, dict[str, Any]] | None:
    x = g.pick("i", range(1, 4))
    return None if x is None else ("one_hot", {"indices": x, "one_hot_vector_size": g.rng.randint(1, 4)})


# Operators whose result has the same bits in every correct implementation, if their inputs do.
# (band_part is not among them: its inference multiplies by a mask, which leaves negative zeros.)
EXACT = frozenset(
    (
        *("abs", "add", "argsort", "cast", "ceil", "clip", "concat", "equal", "expand_dims", "floor", "gather"),
        *("gather_along_axis", "greater", "greater_equal", "leaky_relu", "less", "less_equal", "logical_and"),
        *("logical_not", "logical_or", "logical_xor", "maximum", "minimum", "mul", "not_equal", "one_hot", "pad"),
        *("reduce_argmax", "reduce_argmin", "reduce_max", "reduce_min", "relu", "relu6", "reshape", "reverse"),
        *("round", "select", "shape", "sign", "slice_by_index", "slice_by_size", "split", "square", "squeeze", "stack"),
        *("sub", "threshold", "tile", "topk", "transpose"),
    )
)

DRAWS: dict[str, Draw] = {
    **{op: _of(op, "f", exact=False) for op in (
        "abs", "atan", "erf", "relu", "relu6", "sigmoid", "silu", "softplus", "softsign", "square", "tanh",
    )},
    **{op: _of(op, "f", exact=True) for op in (
        "acos", "asin", "atanh", "ceil", "cos", "cosh", "exp", "exp2", "floor", "round", "sign", "sin", "sinh", "sqrt",
        "tan",
    )},
    "abs_int": _of("abs", "i", True),
    "log": _of("log", "f", True, epsilon=_number(1e-6, 0.1)),
    "rsqrt": _of("rsqrt", "f", True, epsilon=_number(1e-6, 0.1)),
    "inverse": _of("inverse", "f", True, epsilon=_number(1e-3, 0.1)),
    "elu": _of("elu", "f", False, alpha=_number(0, 2)),
    "gelu": _of("gelu", "f", False, mode=_one_of("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION")),
    "leaky_relu": _of("leaky_relu", "f", False, alpha=_number(0, 1)),
    "clip": _of("clip", "f", False, alpha=_number(-2, 0), beta=_number(0, 2)),
    "clamped_relu": _of("clamped_relu", "f", False, alpha=_number(0, 1), beta=_number(0, 2)),
    "threshold": _of("threshold", "f", False, alpha=_number(-1, 1)),
    "thresholded_relu": _of("thresholded_relu", "f", True, alpha=_number(-1, 1)),
    "linear_activation": _of("linear_activation", "f", False, alpha=_number(-2, 2), beta=_number(-2, 2)),
    "scaled_tanh": _of("scaled_tanh", "f", False, alpha=_number(0, 2), beta=_number(0, 2)),
    "sigmoid_hard": _of("sigmoid_hard", "f", False, alpha=_number(0, 1), beta=_number(0, 1)),
    "logical_not": _of("logical_not", "b", False),
    "shape": _of("shape", "f", False),
    "identity": _of("identity", "fi", False),
    **{f"cast_{dtype}": _of("cast", "fib", True, dtype=_one_of(dtype)) for dtype in ("int32", "fp32", "bool")},
    **{op: _pair(op, "fi", exact=False) for op in ("add", "sub", "mul", "maximum", "minimum")},
    **{op: _pair(op, "fi", exact=True) for op in (
        "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "floor_div", "mod",
    )},
    "real_div": _pair("real_div", "f", exact=True),
    **{op: _pair(op, "b", exact=False) for op in ("logical_and", "logical_or", "logical_xor")},
    **{op: _reduction(op) for op in (
        "reduce_l1_norm", "reduce_l2_norm", "reduce_log_sum_exp", "reduce_mean", "reduce_prod", "reduce_sum",
        "reduce_sum_square",
    )},
    **{op: _reduction(op, exact=True) for op in ("reduce_max", "reduce_min")},
    **{op: _along(op, True, keep_dims=_one_of(True, False)) for op in ("reduce_argmax", "reduce_argmin")},
    "softmax": _along("softmax", False),
    "cumsum": _along("cumsum", False, exclusive=_one_of(True, False), reverse=_one_of(True, False)),
    "flatten2d": _along("flatten2d", False),
    "transpose": _transpose, "reshape": _reshape, "expand_dims": _expand_dims, "squeeze": _squeeze,
    "slice_by_index": _slice, "slice_by_size": _slice_by_size, "concat": _concat, "stack": _stack, "split": _split,
    "tile": _tile, "pad": _pad, "gather": _gather, "gather_along_axis": _gather_along_axis, "topk": _topk,
    "argsort": _argsort, "matmul": _matmul, "linear": _linear, "layer_norm": _layer_norm, "select": _select,
    "band_part": _band_part, "reverse": _reverse, "conv": _conv, "pool": _pool, "upsample": _upsample,
    "resize_bilinear": _resize_bilinear, "scatter": _scatter, "space_to_depth": _space_to_depth, "one_hot": _one_hot,
}  # fmt: skip


@dataclass(frozen=True)
class Grown:
    """A program, and what its values must be.

    Attributes:
        model: an MLModel of coremltools, not saved.
        given: the inputs.
        expected: name → the inferred number of each value that has one.
        operators: the operators that were applied, in order.
    """

    model: Any
    given: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]
    operators: tuple[str, ...]


class Rejected(Exception):
    """coremltools does not accept an operation in this operator set."""


def grow(seed: int) -> Grown:
    """A program of up to 12 random operations on one to three inputs of any rank. The same seed gives the same."""
    for attempt in range(ATTEMPTS):
        try:
            return _grow(random.Random(f"{seed}/{attempt}"))
        except Rejected:
            continue
    raise Rejected(f"seed {seed}: no valid program in {ATTEMPTS} attempts")


def _grow(rng: random.Random) -> Grown:
    ct, mb = coreml.coremltools(), coreml.builder()
    growth = Growth(rng, mb)
    given = {f"in{i}": _input(growth) for i in range(rng.randint(1, 3))}
    expected: dict[str, np.ndarray] = {}
    operators: list[str] = []
    target = rng.choice(TARGETS)

    def body(*variables: Any) -> Any:
        for variable, number in zip(variables, given.values(), strict=True):
            growth.values.append(Value(variable, number, exact=True))
        for _ in range(rng.randint(2, 12)):
            _step(growth, expected, operators)
        return _outputs(growth)

    types = coreml.types()
    specs = [
        mb.TensorSpec(number.shape, dtype=types.numpy_type_to_builtin_type(number.dtype.type))
        for number in given.values()
    ]
    names = ", ".join(given)
    scope: dict[str, Any] = {"body": body}
    exec(f"def program({names}):\n    return body({names})", scope)  # the builder names inputs by the parameters
    with coreml.quiet(), np.errstate(all="ignore"):
        program = mb.program(input_specs=specs, opset_version=getattr(ct.target, target))(scope["program"])
        model = ct.convert(
            program,
            convert_to="mlprogram",
            minimum_deployment_target=getattr(ct.target, target),
            compute_precision=ct.precision.FLOAT32,
            pass_pipeline=ct.PassPipeline.EMPTY,
            skip_model_load=True,
        )
    return Grown(model, given, expected, tuple(operators))


def _input(growth: Growth) -> np.ndarray:
    rank = growth.rng.choice((1, 2, 2, 3, 3, 4, 4, 4, 5))
    number = growth.array(*(growth.rng.randint(1, 6 if rank < 5 else 3) for _ in range(rank)))
    return number if growth.rng.random() < 0.8 else np.trunc(number * 4).astype(np.int32)


def _step(growth: Growth, expected: dict[str, np.ndarray], operators: list[str]) -> None:
    """Apply one operator to the program's values and to the numbers that they are known to be."""
    drawn = DRAWS[growth.rng.choice(list(DRAWS))](growth)
    if drawn is None:
        return
    op, parameters = drawn
    used = [v for p in parameters.values() for v in (p if isinstance(p, list) else [p]) if isinstance(v, Value)]
    operators.append(op)
    try:
        results = _listed(getattr(growth.mb, op)(**{key: _var(p) for key, p in parameters.items()}))
        numbers: list[Any] = [None] * len(results)
        if all(value.known is not None for value in used):
            inferred = _listed(getattr(growth.mb, op)(**{key: _known(p) for key, p in parameters.items()}))
            numbers = [one.val for one in inferred]
    except Exception as error:  # coremltools raises anything, and leaves half an operation in the block
        raise Rejected(f"{op}: {error}") from error
    for result, number in zip(results, numbers, strict=True):
        if any(not isinstance(side, (int, np.integer)) for side in result.shape):
            continue
        if int(np.prod(result.shape)) > MAX_ELEMENTS or len(result.shape) > MAX_RANK:
            continue
        known = None if number is None else _of_its_type(np.asarray(number), result)
        exact = op in EXACT and all(value.exact for value in used)
        growth.values.append(Value(result, known, exact))
        if known is not None:
            expected[result.name] = known


def _of_its_type(number: np.ndarray, result: Any) -> np.ndarray | None:
    """The number in the shape of the inferred type.

    coremltools contradicts itself at times: squeeze of an integer [1, 1] has the type of a scalar and a value of [1].
    """
    shape = tuple(int(side) for side in result.shape)
    return number.reshape(shape) if number.size == np.prod(shape, dtype=int) else None


def _listed(results: Any) -> list[Any]:
    return list(results) if isinstance(results, (list, tuple)) else [results]


def _var(parameter: Any) -> Any:
    if isinstance(parameter, list):
        return [_var(one) for one in parameter]
    return parameter.var if isinstance(parameter, Value) else parameter


def _known(parameter: Any) -> Any:
    if isinstance(parameter, list):
        return [_known(one) for one in parameter]
    return parameter.known.copy() if isinstance(parameter, Value) and parameter.known is not None else parameter


def _outputs(growth: Growth) -> Any:
    """The last values, as Core ML can return them."""
    outputs = []
    for index, value in enumerate(growth.values[-3:]):
        var = value.var if value.kind != "b" else growth.mb.cast(x=value.var, dtype="int32")
        var = growth.mb.expand_dims(x=var, axes=[0]) if not value.shape else var
        outputs.append(growth.mb.identity(x=var, name=f"result{index}"))
    return tuple(outputs)
