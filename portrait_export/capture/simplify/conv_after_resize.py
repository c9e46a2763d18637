"""Replace a convolution after an enlarging resize by small matrix products on the image before the resize.

Algebra. A convolution is a sum over its taps (a, b), each a matrix W_ab of the channels. What tap (a, b) reads of the
resized image is M_a·x·N_bᵀ (see resize_taps.py), so with × for products over the channels

    y = Σ_a Σ_b W_ab × (M_a·x·N_bᵀ) + β = Σ_a M_a·(Σ_b (W_ab × x)·N_bᵀ) + β

because W mixes channels, M rows and N columns. Two forms of it are tried, and the one with less arithmetic is taken:

    by rows: u_a = Σ_b W_ab × (x·N_bᵀ) is a convolution with one row of taps of the image resized along W alone
    by taps: W_ab × x are pointwise convolutions of the small image, and N multiplies their columns

and then y = Σ_a M_a·u_a, one matrix product over (tap, row) for each tile of rows. β is the bias of a tap that is
inside the image for every output, whose rows of M (and N) sum to 1. Padding stays exact: M and N have zeros there.

It pays where channels are many: a 3x3 convolution after doubling is left with about 0.6 of the multiplications, after
a fourfold resize to few channels with less than a tenth, but the pieces are cut out and concatenated again, which is
counted as work (see NUMBER_MOVED). Medians on one core, ONNX Runtime and PyTorch: 512 → 32 channels, 32² → 128²: 12 and
14 times as fast; 256 → 64, 128² → 256²: 1.6 and 1.8; 128 → 128, 256² → 512²: 1.5 and 1.3. Not worth it, and skipped:
64 → 64, 256² → 512²: 1.2 and 1.0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..onnx.cost import cost_of_graph, macs_of
from ..onnx.graph import Graph, Node
from .linear import bias_of, group_of, is_pointwise, kernel_of, why_not_before
from .resize_taps import TapWindow, Tile, resize_matrix, resize_one_axis, tap_matrix, tiles, whole_tap, windows
from .rule import Match, Rule, at_each

# What reading or writing a number takes in multiply-accumulates: one core did 45 G of these a second, and copied 2 G
# numbers. It separates the layers above that got faster from those that did not.
NUMBER_MOVED = 22
LEAST_SAVING = 0.2  # of that work
LEAST_SAVED = 100_000_000  # below, the dozens of operators' own overhead is as much
TAPS_SHARE = 0.5  # of the work by rows: work by taps is done at half the rate, its products have few columns
ROWS, COLUMNS = 2, 3  # axes


@dataclass(frozen=True)
class _Taps:
    """A convolution over a resized image.

    Attributes:
        kernel: (D, C, taps along H, taps along W), float32.
        bias: (D,), float64.
        rows, columns: M and N, (out, taps, size).
        at: the tap (a, b) that the bias goes to.
        along_row: the convolution's window along W.
    """

    kernel: np.ndarray
    bias: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    at: tuple[int, int]
    along_row: TapWindow


@dataclass(frozen=True)
class _Plan:
    """A form, the graph with it in the convolution's place, and its work there in multiply-accumulates."""

    form: Form
    result: Graph
    work: int


def _find(graph: Graph, node: Node) -> Node | None:
    resize, weight = graph.maker(node.input(0)), kernel_of(graph, node)
    if resize is None or resize.op != "Resize" or weight is None or weight.ndim != 4 or is_pointwise(graph, node):
        return None
    return resize


def _check(graph: Graph, match: Match[Node]) -> str:
    conv, resize = match.anchor, match.parts
    reason = why_not_before(graph, resize)
    if reason:
        return reason
    if group_of(conv) != 1:
        return "the convolution is grouped, there is little work in it"
    if not graph.feeds_only(resize.output, conv):
        return "the resized value is also read elsewhere"
    taps = _taps(graph, conv, resize)
    if isinstance(taps, str):
        return taps
    before = _work_of(graph, conv) + _work_of(graph, resize)
    plan = _plan(graph, conv, resize, taps)
    if plan.work > (1 - LEAST_SAVING) * before or before - plan.work < LEAST_SAVED:
        return f"as small products it would be the work of {plan.work:,} MACs, it is that of {before:,}"
    peak, peak_then = (cost_of_graph(either).peak_activation_bytes for either in (graph, plan.result))
    if peak_then > peak:
        return f"it would raise the peak of activations from {peak:,} to {peak_then:,} bytes"
    return ""


def _taps(graph: Graph, conv: Node, resize: Node) -> _Taps | str:
    """What the forms are made from, or the reason why there is none."""
    kernel, along = kernel_of(graph, conv), windows(graph, conv)
    resized = [resize_matrix(graph, resize, axis) for axis in (ROWS, COLUMNS)]
    if kernel is None or along is None or resized[0] is None or resized[1] is None:
        return "the resize along H and the one along W cannot be separated"
    rows, columns = tap_matrix(resized[0], along[0]), tap_matrix(resized[1], along[1])
    bias, at = bias_of(graph, conv), (whole_tap(rows), whole_tap(columns))
    if bias.any() and None in at:
        return "no tap is inside the image for every output, so that it could take the bias"
    return _Taps(kernel, bias, rows, columns, (at[0] or 0, at[1] or 0), along[1])


def _plan(graph: Graph, conv: Node, resize: Node, taps: _Taps) -> _Plan:
    """By rows, or by taps where that is so much less work that it is done sooner."""
    others = _work(graph) - _work_of(graph, conv) - _work_of(graph, resize)
    plans = []
    for form in (_by_rows, _by_taps):
        twin = graph.copy()
        _replace(twin, conv, resize, taps, form)
        plans.append(_Plan(form, twin, _work(twin) - others))
    rows, columns = plans
    return columns if columns.work < TAPS_SHARE * rows.work else rows


def _work(graph: Graph) -> int:
    return sum(_work_of(graph, node) for node in graph.nodes)


def _work_of(graph: Graph, node: Node) -> int:
    """MACs, and as many for the numbers read and written: a reshape moves none, a slice reads what it writes."""
    inputs = node.outputs if node.op == "Slice" else [name for name in node.inputs if not graph.is_constant(name)]
    values = () if node.op == "Reshape" else (*inputs, *node.outputs)
    moved = sum(math.prod(graph.shape(name) or (0,)) for name in values if name)
    return macs_of(graph, node)[1] + NUMBER_MOVED * moved


def _rewrite(graph: Graph, match: Match[Node]) -> None:
    conv, resize = match.anchor, match.parts
    taps = _taps(graph, conv, resize)
    assert isinstance(taps, _Taps)  # established by the check
    _replace(graph, conv, resize, taps, _plan(graph, conv, resize, taps).form)


def _replace(graph: Graph, conv: Node, resize: Node, taps: _Taps, form: Form) -> None:
    """y = Σ_a M_a·u_a in the convolution's place, tile by tile of rows."""
    out = graph.shape(conv.output) or ()
    cut = tiles(taps.rows)
    parts = []
    for index, (tile, value) in enumerate(zip(cut, form(graph, conv, resize, taps, cut), strict=True)):
        name = f"{conv.name}/rows{index}"
        joined = (*out[:2], tile.matrix.shape[1], out[3])  # (tap, row of the window) on one axis
        if graph.shape(value) != joined:
            target = _integers(graph, joined, name=f"{name}.shape")
            value = graph.add_node("Reshape", [value, target], name=f"{name}/Reshape", shape=joined)
        matrix = graph.add_constant(tile.matrix, name=f"{name}.matrix")
        shape = (*out[:2], len(tile.matrix), out[3])
        parts.append(graph.add_node("MatMul", [matrix, value], name=name, shape=shape))
    result = _joined(graph, parts, ROWS, name=f"{conv.name}/rows")
    graph.remove([node for node in graph.nodes if node.output in (conv.output, resize.output)])
    graph.replace_uses(conv.output, result)
    graph.clean()  # what is counted on a copy must not include what nothing reads


Form = Callable[[Graph, Node, Node, _Taps, "list[Tile]"], Iterator[str]]


def _by_rows(graph: Graph, conv: Node, resize: Node, taps: _Taps, cut: list[Tile]) -> Iterator[str]:
    """u for the window of each tile: channels (D, taps along H), by a convolution of the image resized along W."""
    depth, channels, height, width = taps.kernel.shape
    image = resize_one_axis(graph, resize, resize.input(0), COLUMNS, name=f"{resize.name}/columns")
    assert image is not None  # its matrix was found in the same way
    kernel = taps.kernel.transpose(0, 2, 1, 3).reshape(depth * height, channels, 1, width)
    stored = _stored(graph, conv, kernel, _placed(taps.bias, height, taps.at[0]).reshape(-1))
    along = taps.along_row
    attrs = {
        "kernel_shape": [1, width],
        "strides": [1, along.stride],
        "dilations": [1, along.dilation],
        "pads": [0, along.before, 0, along.after],
    }
    out = graph.shape(conv.output) or ()
    for index, tile in enumerate(cut):  # one by one, so that each is used up before the next one is made
        part = _slice(graph, image, {ROWS: (tile.start, tile.end)}, name=f"{conv.name}/window{index}")
        shape = (out[0], depth * height, tile.end - tile.start, out[3])
        yield graph.add_node("Conv", [part, *stored], name=f"{conv.name}/u{index}", shape=shape, attrs=attrs)


def _by_taps(graph: Graph, conv: Node, resize: Node, taps: _Taps, cut: list[Tile]) -> Iterator[str]:
    """u for the window of each tile, by a pointwise convolution per tap and the matrices of the columns."""
    depth, channels, height, width = taps.kernel.shape
    small, out = graph.shape(resize.input(0)) or (), graph.shape(conv.output) or ()
    bias = _placed(_placed(taps.bias, height, taps.at[0]), width, taps.at[1])  # (D, taps along H, taps along W)
    stored = _stored(
        graph,
        conv,
        taps.kernel.transpose(3, 0, 2, 1).reshape(width * depth * height, channels, 1, 1),
        bias.transpose(2, 0, 1).reshape(-1),
    )
    shape = (small[0], width * depth * height, *small[2:])
    attrs = {"kernel_shape": [1, 1]}
    mixed = graph.add_node("Conv", [resize.input(0), *stored], name=f"{conv.name}/taps", shape=shape, attrs=attrs)
    parts = []
    for index, tile in enumerate(tiles(taps.columns)):
        name = f"{conv.name}/columns{index}"
        pieces = []
        for tap in range(width):
            channel = tap * depth * height
            ranges = {1: (channel, channel + depth * height), COLUMNS: (tile.start, tile.end)}
            pieces.append(_slice(graph, mixed, ranges, name=f"{name}/tap{tap}"))
        side_by_side = _joined(graph, pieces, COLUMNS, name=f"{name}/taps")
        matrix = graph.add_constant(tile.matrix.T, name=f"{name}.matrix")
        shape = (small[0], depth * height, small[2], len(tile.matrix))
        parts.append(graph.add_node("MatMul", [side_by_side, matrix], name=name, shape=shape))
    whole = _joined(graph, parts, COLUMNS, name=f"{conv.name}/columns")
    assert (graph.shape(whole) or ())[3] == out[3]
    for index, tile in enumerate(cut):
        yield _slice(graph, whole, {ROWS: (tile.start, tile.end)}, name=f"{conv.name}/window{index}")


def _placed(bias: np.ndarray, taps: int, at: int) -> np.ndarray:
    """(…,) → (…, taps) with the bias at one tap and zeros at the others."""
    placed = np.zeros((*bias.shape, taps))
    placed[..., at] = bias
    return placed


def _stored(graph: Graph, conv: Node, kernel: np.ndarray, bias: np.ndarray) -> list[str]:
    """A kernel, and a bias where there is one, as constants."""
    names = [graph.add_constant(kernel, name=f"{conv.input(1)}.taps")]
    if bias.any():
        names.append(graph.add_constant(bias.astype(np.float32), name=f"{conv.input(1)}.taps.bias"))
    return names


def _slice(graph: Graph, value: str, ranges: dict[int, tuple[int, int]], *, name: str) -> str:
    """A value from start to end along some axes; itself where that is all of it."""
    shape = list(graph.shape(value) or ())
    ranges = {axis: bounds for axis, bounds in ranges.items() if bounds != (0, shape[axis])}
    if not ranges:
        return value
    inputs = [value]
    for role, numbers in zip(("starts", "ends"), zip(*ranges.values(), strict=True), strict=True):
        inputs.append(_integers(graph, numbers, name=f"{name}.{role}"))
    inputs.append(_integers(graph, tuple(ranges), name=f"{name}.axes"))
    for axis, (start, end) in ranges.items():
        shape[axis] = end - start
    return graph.add_node("Slice", inputs, name=name, shape=tuple(shape))


def _joined(graph: Graph, parts: list[str], axis: int, *, name: str) -> str:
    """Concatenate parts along an axis."""
    if len(parts) == 1:
        return parts[0]
    shape = list(graph.shape(parts[0]) or ())
    shape[axis] = sum((graph.shape(part) or ())[axis] for part in parts)
    return graph.add_node("Concat", parts, name=name, shape=tuple(shape), attrs={"axis": axis})


def _integers(graph: Graph, numbers: tuple[int, ...], *, name: str) -> str:
    return graph.add_constant(np.asarray(numbers, np.int64), name=name)


RULE = Rule(
    name="conv-after-resize",
    pattern=at_each("Conv", _find),
    check=_check,
    rewrite=_rewrite,
    since=11,
    one_size=True,  # its matrices are those of one size, and how many there are depends on it
)
