"""Lower ONNX matrix products to MIL: MatMul, Gemm, Einsum."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from .. import over_rank
from ..context import NodeContext
from ..refusals import Unsupported
from ..registry import lowers
from ..values import AnyRank, OverRank, Tensor, Var, shape_of

LINEAR_MAX_RANK = 3  # of the input of MIL's `linear`
Term: TypeAlias = tuple[str, AnyRank]  # an operand of Einsum: its subscripts and value


@lowers("MatMul")
def matmul(node: NodeContext) -> Var:
    """x @ y as in numpy; a constant matrix on the right makes it MIL's `linear`, whose weight can be compressed."""
    return product(node, node.x(0), node.x(1))


def product(node: NodeContext, x: Tensor, y: Tensor) -> Var:
    """x @ y for any ranks, one of them possibly constant."""
    rank = len(shape_of(x))
    if isinstance(y, np.ndarray) and y.ndim == 2 and y.dtype.kind == "f" and 2 <= rank <= LINEAR_MAX_RANK:
        return node.emit("linear", x=node.as_var(x), weight=np.ascontiguousarray(y.T))
    if rank == 1 or len(shape_of(y)) == 1:
        return _vector_product(node, x, y)
    x, y = _same_rank(node, x, y)
    return node.emit("matmul", x=node.as_var(x), y=y)


def _same_rank(node: NodeContext, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both operands with the rank of the one that has more dimensions."""
    rank = max(len(shape_of(x)), len(shape_of(y)))
    x, y = (node.reshape(v, (1,) * (rank - len(shape_of(v))) + shape_of(v)) for v in (x, y))
    return x, y


def _vector_product(node: NodeContext, x: Tensor, y: Tensor) -> Var:
    """A product with a vector: a row on the left or a column on the right, whose dimension is then dropped."""
    x_shape, y_shape = shape_of(x), shape_of(y)
    left = node.reshape(x, (1, *x_shape)) if len(x_shape) == 1 else x
    right = node.reshape(y, (*y_shape, 1)) if len(y_shape) == 1 else y
    left, right = _same_rank(node, left, right)
    result = node.emit("matmul", x=node.as_var(left), y=right)
    dropped = ([-2] if len(x_shape) == 1 else []) + ([-1] if len(y_shape) == 1 else [])
    rank = len(shape_of(result))
    return node.emit("squeeze", x=result, axes=np.asarray(sorted(axis + rank for axis in dropped), np.int32))


@lowers("Gemm")
def gemm(node: NodeContext) -> Var:
    """alpha · A′B′ + beta · C; constant B and C become the weight and bias of one `linear`."""
    if node.dtype().kind != "f":
        raise Unsupported(f"on {node.dtype().name} tensors")
    alpha, beta = node.attr("alpha", 1.0), node.attr("beta", 1.0)
    trans_a, trans_b = bool(node.attr("transA", 0)), bool(node.attr("transB", 0))
    node.ignore("broadcast")
    a, b, c = node.x(0), node.x(1), node.x(2) if node.has(2) else None
    if isinstance(b, np.ndarray):
        weight = (b if trans_b else b.T) * b.dtype.type(alpha)
        left = node.transpose(node.as_var(a), [1, 0]) if trans_a else node.as_var(a)
        bias = _row_bias(c, weight.shape[0], beta)
        if bias is not None or c is None:
            return node.emit("linear", x=left, weight=np.ascontiguousarray(weight), bias=bias)
        return _plus(node, node.emit("linear", x=left, weight=np.ascontiguousarray(weight)), c, beta)
    result = node.emit("matmul", x=node.as_var(a), y=b, transpose_x=trans_a, transpose_y=trans_b)
    if alpha != 1:
        result = node.emit("mul", x=result, y=node.float_scalar(alpha, result))
    return result if c is None else _plus(node, result, c, beta)


def _row_bias(c: Tensor | None, width: int, beta: float) -> np.ndarray | None:
    """beta · C as one value per column if it is constant and the same for every row, else None."""
    if not isinstance(c, np.ndarray) or (c.ndim == 2 and c.shape[0] != 1):
        return None
    return np.ascontiguousarray(np.broadcast_to(c.reshape(-1) * c.dtype.type(beta), (width,)))


def _plus(node: NodeContext, x: Tensor, c: Tensor, beta: float) -> Var:
    if isinstance(c, np.ndarray):
        return node.emit("add", x=x, y=c * c.dtype.type(beta))
    scaled = c if beta == 1 else node.emit("mul", x=c, y=node.float_scalar(beta, c))
    return node.emit("add", x=x, y=scaled)


@lowers("Einsum", since=12)
def einsum(node: NodeContext) -> AnyRank:
    """Σ over the letters that the result lacks: sums within operands, then one matrix product per further operand."""
    inputs, output = _letters(node.attr("equation"), [node.shape(i) for i in range(len(node.inputs))])
    terms: list[Term] = [_diagonal(node, letters, node.elements(i)) for i, letters in enumerate(inputs)]
    result = terms[0]
    for index, term in enumerate(terms[1:], start=1):
        later = set(output).union(*(letters for letters, _ in terms[index + 1 :]))
        result = _contract(node, result, term, later)
    letters, value = _sum_out(node, *result, keep=set(output))
    return node.transpose(node.computed(value), [letters.index(letter) for letter in output])


def _letters(equation: str, shapes: list[tuple[int, ...]]) -> tuple[list[str], str]:
    """The subscripts of the operands and of the result, with unused letters in place of each ellipsis."""
    equation = equation.replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    dots = [
        len(shape) - len(term.replace("...", "")) if "..." in term else 0
        for term, shape in zip(terms, shapes, strict=True)
    ]
    free = [letter for letter in map(chr, range(ord("A"), ord("Z") + 1)) if letter not in equation]
    spelled = "".join(free[: max(dots)])
    terms = [term.replace("...", spelled[len(spelled) - n :]) for term, n in zip(terms, dots, strict=True)]
    if not arrow:
        everything = "".join(terms)
        right = "..." * bool(spelled) + "".join(
            sorted(c for c in set(everything) - set(spelled) if everything.count(c) == 1)
        )
    return terms, right.replace("...", spelled)


def _diagonal(node: NodeContext, letters: str, value: AnyRank) -> Term:
    """The elements whose coordinates are equal for each repeated letter: every (n + 1)th of n · n."""
    twice = next((letter for letter in letters if letters.count(letter) > 1), "")
    if not twice:
        return letters, value
    if isinstance(value, OverRank):
        raise over_rank.refusal(value)
    first, second = (i for i, letter in enumerate(letters) if letter == twice and letters[:i].count(twice) < 2)
    order = [first, second, *(i for i in range(len(letters)) if i not in (first, second))]
    size, rest = shape_of(value)[first], [shape_of(value)[i] for i in order[2:]]
    if shape_of(value)[second] != size:
        raise Unsupported(f"a diagonal of a {size}×{shape_of(value)[second]} matrix ({letters})")
    flat = node.reshape(node.transpose(value, order), (size * size, int(np.prod(rest, dtype=np.int64))))
    taken = node.reshape(node.take(flat, np.arange(size) * (size + 1), 0), (size, *rest))
    return _diagonal(node, "".join(letters[i] for i in order if i != second), taken)


def _sum_out(node: NodeContext, letters: str, value: AnyRank, keep: set[str]) -> Term:
    """Sum over the letters that are not needed later."""
    axes = [i for i, letter in enumerate(letters) if letter not in keep]
    if not axes:
        return letters, value
    if isinstance(value, OverRank):
        raise over_rank.refusal(value)
    total = node.emit("reduce_sum", x=node.as_var(value), axes=np.asarray(axes, np.int32), keep_dims=False)
    return "".join(c for c in letters if c in keep), total


def _contract(node: NodeContext, a: Term, b: Term, later: set[str]) -> Term:
    """One matrix product: shared letters are batch dimensions if needed later, else summed; the rest rows, columns."""
    a = _sum_out(node, *a, keep=later | set(b[0]))
    b = _sum_out(node, *b, keep=later | set(a[0]))
    sizes = dict(zip(a[0] + b[0], shape_of(a[1]) + shape_of(b[1]), strict=True))
    for letter, size in zip(a[0], shape_of(a[1]), strict=True):
        if sizes[letter] != size:
            raise Unsupported(f"dimension {letter!r} is broadcast from {min(size, sizes[letter])}")
    batch = [c for c in a[0] if c in b[0] and c in later]
    inner = [c for c in a[0] if c in b[0] and c not in later]
    rows, columns = [c for c in a[0] if c not in b[0]], [c for c in b[0] if c not in a[0]]
    left = _as_matrices(node, a, batch, rows, inner, sizes)
    right = _as_matrices(node, b, batch, inner, columns, sizes)
    result = node.emit("matmul", x=node.as_var(left), y=right)
    order = batch + rows + columns
    return "".join(order), node.reshape_any_rank(result, [sizes[c] for c in order])


def _as_matrices(
    node: NodeContext, term: Term, batch: list[str], rows: list[str], columns: list[str], sizes: dict[str, int]
) -> Tensor:
    """A term as a batch of matrices, (batch, rows, columns)."""
    letters, value = term
    moved = node.transpose(value, [letters.index(c) for c in (*batch, *rows, *columns)])
    count = lambda group: int(np.prod([sizes[c] for c in group], dtype=np.int64))  # noqa: E731  used three times below
    return node.reshape(moved, (count(batch), count(rows), count(columns)))
