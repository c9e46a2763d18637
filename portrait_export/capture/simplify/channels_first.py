"""Turn token networks (N, L, C) into channels-first ones (N, C, H, W).

Linears become 1x1 convolutions, and layout operators cancel.

Algebra. Let t be the tokens of an image x: t[n, h·W + w, c] = x[n, c, h, w]. Then
  - a linear on tokens is a 1x1 convolution of x:  (t·A)[n, h·W + w, d] = Σ_c x[n, c, h, w]·A[c, d],
    so the weight is K[d, c, 0, 0] = A[c, d];
  - an operator on single numbers (GELU, +, ·, …) commutes with every rearrangement of the numbers; a constant operand
    is rearranged the same way;
  - layer normalisation over C reads the C numbers of one token, which are the C channels of one pixel; it is written as
    transpose, LayerNormalization, transpose, which MIL has as one operator (`layer_norm` with axes = [1]);
  - everything else gets its operand rearranged into the form that it had.
No number is computed differently, sums over C run over the same terms. The rewrite is global: values are followed
through all reshapes and transposes (see view.py), and it is kept where fewer layout operators remain.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..onnx.cost import layout_cost
from ..onnx.graph import Graph, Node, Shape
from .rule import Match, Rule
from .view import View, identity, layout_steps, reshaped, transposed

# Operators that compute each number of their output from one number of each input, attributes not about axes.
UNARY = frozenset(
    (
        *("Abs", "Ceil", "Clip", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log"),
        *("Mish", "Neg", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Softplus", "Softsign", "Sqrt"),
        *("Tanh", "ThresholdedRelu"),
    )
)
BINARY = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "PRelu", "Max", "Min"})
LAYOUT = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity"})


def _pattern(graph: Graph) -> Iterator[Match[Graph]]:
    """One match: the whole graph, where it has a transpose."""
    first = next((node for node in graph.nodes if node.op == "Transpose" and not node.domain), None)
    if first is None:
        return
    rewritten = graph.copy()
    _Rewriter(rewritten).run()
    rewritten.clean()
    if layout_cost(rewritten) != layout_cost(graph):
        yield Match(first, rewritten)


def _check(graph: Graph, match: Match[Graph]) -> str:
    before, after = layout_cost(graph), layout_cost(match.parts)
    if after >= before:
        return f"channels-first would need {after} layout operators, there are {before}"
    return ""


def _rewrite(graph: Graph, match: Match[Graph]) -> None:
    graph.adopt(match.parts)


class _Rewriter:
    """Rebuilds a graph node by node, with layout operators followed instead of emitted.

    Attributes:
        views: original values that are (so far) only arrangements of an emitted value.
        made: arrangements that were emitted after all, by base and dims.
        grids: the (H, W) that a number of tokens last belonged to.
        shape_constants: stored targets of reshapes.
    """

    def __init__(self, graph: Graph):
        self.graph = graph
        self.old = graph.take_nodes()
        self.views: dict[str, View] = {}
        self.made: dict[tuple[str, object], str] = {}
        self.grids: dict[int, tuple[int, int]] = {}
        self.shape_constants: dict[tuple[int, ...], str] = {}

    def run(self) -> None:
        for node in self.old:
            if not self._follow(node) and not self._lift(node):
                self._emit(node)
        for output in self.graph.outputs:
            if output in self.views:
                self._emit_output(output)

    # Following layout operators --------------------------------------------------------------------------------------

    def _follow(self, node: Node) -> bool:
        """Take a layout operator as a view of its input; False where it has to be emitted."""
        graph = self.graph
        source = node.input(0)
        shape = graph.shape(node.output)
        if node.op not in LAYOUT or node.domain or shape is None or graph.is_constant(source):
            return False
        view = self._view(source)
        if view is None or not graph.is_float(source):
            return False
        if node.op == "Transpose":
            perm = node.attrs.get("perm", list(range(len(shape)))[::-1])
            found: View | None = transposed(view, perm, origin=node.name)
        else:
            found = reshaped(view, shape, origin=node.name)
        if found is None:
            return False
        self.views[node.output] = found
        return True

    def _view(self, value: str) -> View | None:
        """A value as a view: of its base, or of itself."""
        if value in self.views:
            return self.views[value]
        shape = self.graph.shape(value)
        return None if shape is None or 0 in shape else identity(value, shape)

    # Lifting operators onto the base ---------------------------------------------------------------------------------

    def _lift(self, node: Node) -> bool:
        """Let an operator compute on the base of its input; its output is the same view of the result."""
        if node.domain or len([name for name in node.outputs if name]) != 1:
            return False
        if not all(self.graph.is_float(name) for name in (node.input(0), node.output)):
            return False
        if node.op in UNARY:
            return self._lift_unary(node)
        if node.op in BINARY:
            return self._lift_binary(node)
        if node.op in ("MatMul", "Gemm"):
            return self._lift_linear(node)
        if node.op == "LayerNormalization":
            return self._lift_layer_norm(node)
        return False

    def _lift_unary(self, node: Node) -> bool:
        view = self.views.get(node.input(0))
        if view is None:
            return False
        self._put(node, view, [view.base, *map(self._plain, node.inputs[1:])], view.base_shape)
        return True

    def _lift_binary(self, node: Node) -> bool:
        if len(node.inputs) != 2:
            return False
        left, right = (self.views.get(name) for name in node.inputs)
        if left is not None and right is not None:
            if left.dims != right.dims or left.base_shape != right.base_shape:
                return False
            self._put(node, left, [left.base, right.base], left.base_shape)
            return True
        view = left or right
        constant = self.graph.constant(node.inputs[1 if left is not None else 0])
        if view is None or constant is None or self.graph.shape(node.output) != view.shape:
            return False
        if node.op == "PRelu" and left is None:
            return False  # a constant with computed slopes: its broadcasting is one-way
        array = constant_in_base(constant, view)
        if array is None:
            return False
        operand = self.graph.add_constant(array, name=node.inputs[1 if left is not None else 0])
        inputs = [view.base, operand] if left is not None else [operand, view.base]
        self._put(node, view, inputs, view.base_shape)
        return True

    def _lift_linear(self, node: Node) -> bool:
        """A linear over the channels of an image's tokens, as a 1x1 convolution."""
        weight = self.graph.constant(node.input(1))
        if weight is None or weight.ndim != 2:
            return False
        bias: np.ndarray | None = None
        if node.op == "Gemm":
            attrs = node.attrs
            if attrs.get("transA") or attrs.get("alpha", 1.0) != 1.0 or attrs.get("beta", 1.0) != 1.0:
                return False
            weight = weight.T if attrs.get("transB") else weight
            if node.input(2):
                bias = self.graph.constant(node.input(2))
                if bias is None or bias.size != weight.shape[1]:
                    return False
        view = self._channels_last(node.input(0), weight.shape[0])
        if view is None:
            return False
        channels = weight.shape[1]
        kernel = self.graph.add_constant(weight.T[:, :, None, None], name=node.input(1))
        inputs = [view.base, kernel]
        if bias is not None:
            inputs.append(self.graph.add_constant(bias.reshape(-1), name=node.input(2)))
        batch, _, height, width = view.base_shape
        self._put(node, view, inputs, (batch, channels, height, width), op="Conv", attrs={"kernel_shape": [1, 1]})
        return True

    def _lift_layer_norm(self, node: Node) -> bool:
        """A layer norm over the channels of an image's tokens, with a transpose on either side."""
        rank = len(self.graph.shape(node.output) or ())
        scale = self.graph.shape(node.input(1))
        if node.attrs.get("axis", -1) not in (-1, rank - 1) or scale is None or len(scale) != 1:
            return False
        view = self._channels_last(node.input(0), scale[0])
        if view is None:
            return False
        batch, channels, height, width = view.base_shape
        last = (batch, height, width, channels)
        before = self._add(
            "Transpose", [view.base], f"{node.name}/ToLast", last, attrs={"perm": [0, 2, 3, 1]}, cache=view.base
        )
        attrs = {**node.attrs, "axis": -1}
        normal = self._add(node.op, [before, *map(self._plain, node.inputs[1:])], node.name, last, attrs=attrs)
        after = self._add("Transpose", [normal], f"{node.name}/ToFirst", view.base_shape, attrs={"perm": [0, 3, 1, 2]})
        self.views[node.output] = view.with_base(after, view.base_shape)
        return True

    def _channels_last(self, value: str, channels: int) -> View | None:
        """A value as a view of an (N, C, H, W) base whose last axis runs through exactly C.

        Another view (concatenated heads, for example) of tokens whose grid is known is first brought into that form.
        """
        view = self.views.get(value)
        if view is None or channels == 1 or view.shape[-1] != channels:
            return None
        if len(view.base_shape) == 4 and view.dims[-1] == ((1, channels, 1),) and view.base_shape[1] == channels:
            tokens = view.base_shape[2] * view.base_shape[3]
            self.grids[tokens] = (view.base_shape[2], view.base_shape[3])
            return view
        if len(view.shape) != 3 or view.shape[0] != 1 or view.shape[1] not in self.grids:
            return None
        height, width = self.grids[view.shape[1]]
        shape = (1, channels, height, width)
        image = reshaped(transposed(view, (0, 2, 1), origin=view.origin), shape, origin=view.origin)
        if image is None:
            return None
        base = identity(self._make(image), shape)
        tokens_last = transposed(base, (0, 2, 3, 1), origin=view.origin)
        return reshaped(tokens_last, view.shape, origin=view.origin)

    # Emitting --------------------------------------------------------------------------------------------------------

    def _put(
        self, node: Node, view: View, inputs: list[str], shape: Shape, *, op: str = "", attrs: dict | None = None
    ) -> None:
        """Emit an operator on the base, and note its original output as the same view of the result."""
        result = self._add(op or node.op, inputs, node.name, shape, attrs=node.attrs if attrs is None else attrs)
        self.views[node.output] = view.with_base(result, shape)

    def _add(
        self, op: str, inputs: list[str], name: str, shape: Shape, *, attrs: dict, cache: str = "", output: str = ""
    ) -> str:
        """Emit a node; with `cache`, only once for that value and these attributes."""
        key = (cache, (op, str(attrs)))
        if cache and key in self.made:
            return self.made[key]
        value = output or self.graph.unique(f"{name}_output_0")
        self.graph.append(Node(op, inputs, [value], dict(attrs), name), shape=shape)
        if cache:
            self.made[key] = value
        return value

    def _emit(self, node: Node) -> None:
        """Emit a node as it is, with its inputs in the form that it knows them."""
        node.inputs = [self._plain(name) for name in node.inputs]
        for name in captured_views(node, self.views):
            self._make(self.views.pop(name), output=name)
        self.graph.append(node)

    def _plain(self, value: str) -> str:
        """A value in the form that the graph had it in."""
        return self._make(self.views[value]) if value in self.views else value

    def _emit_output(self, output: str) -> None:
        view = self.views.pop(output)
        if view.is_base:
            self.graph.append(Node("Identity", [view.base], [output], {}, self.graph.unique(f"/{output}/Identity")))
        else:
            self._make(view, output=output)

    def _make(self, view: View, *, output: str = "") -> str:
        """Emit the layout operators that make a view from its base; each view only once."""
        key = (view.base, view.dims)
        if view.is_base and not output:
            return view.base
        if key in self.made and not output:
            return self.made[key]
        steps = layout_steps(view)
        value, shape = view.base, view.base_shape
        chain: list[tuple[str, tuple[int, ...], dict, Shape]] = []
        for target in (steps.before, steps.perm, steps.after):
            if target is None:
                continue
            if target is steps.perm:
                shape = tuple(shape[axis] for axis in target)
                chain.append(("Transpose", (), {"perm": list(target)}, shape))
            else:
                shape = target
                chain.append(("Reshape", target, {}, shape))
        for index, (op, target, attrs, result) in enumerate(chain):
            inputs = [value]
            if op == "Reshape":
                inputs.append(self._shape_constant(target))
            name = self.graph.unique(f"{view.origin or view.base}/{op}")
            last = index == len(chain) - 1
            value = self._add(op, inputs, name, result, attrs=attrs, output=output if last else "")
        if not output:
            self.made[key] = value
        return value

    def _shape_constant(self, shape: tuple[int, ...]) -> str:
        if shape not in self.shape_constants:
            name = "shape_" + "x".join(map(str, shape))
            self.shape_constants[shape] = self.graph.add_constant(np.asarray(shape, np.int64), name=name)
        return self.shape_constants[shape]


def captured_views(node: Node, views: dict[str, View]) -> list[str]:
    return sorted({name for name in node.captured if name in views})


def constant_in_base(constant: np.ndarray, view: View) -> np.ndarray | None:
    """A constant operand of a view, arranged to be an operand of its base.

    Args:
        constant: broadcasts to the view's shape, axes aligned at the end.
    Returns:
        An array that broadcasts to the base's shape, of the base's rank; None where it has more axes than the view.
    """
    rank = len(view.dims)
    if constant.size == 1:
        return constant.reshape((1,) * len(view.base_shape))
    if constant.ndim > rank:
        return None
    array = constant.reshape((1,) * (rank - constant.ndim) + constant.shape)
    cut: list[int] = []
    pieces = [(axis, piece) for axis, found in enumerate(view.dims) for piece in found]
    for axis, (_, size, _) in pieces:
        cut.append(size if array.shape[axis] != 1 else 1)
    array = array.reshape(cut)
    spread = {piece[0] for (_, piece), size in zip(pieces, cut, strict=True) if size != 1}
    full = [piece[1] if piece[0] in spread else 1 for _, piece in pieces]  # all pieces of an axis, or none
    array = np.broadcast_to(array, full)
    order = sorted(range(len(pieces)), key=lambda index: (pieces[index][1][0], -pieces[index][1][2]))
    array = array.transpose(order)
    shape = [1] * len(view.base_shape)
    for index, size in zip(order, array.shape, strict=True):
        shape[pieces[index][1][0]] *= size
    return np.ascontiguousarray(array.reshape(shape))


RULE = Rule(name="channels-first", pattern=_pattern, check=_check, rewrite=_rewrite)
