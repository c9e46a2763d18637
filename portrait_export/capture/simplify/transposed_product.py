"""Replace a transposed matrix product by the product of the transposed factors in reverse order.

Algebra. (A·B)ᵀ = Bᵀ·Aᵀ, each number the same sum of the same products. It is done where B is itself a transposed
value B = Cᵀ, so that Bᵀ = C is there already: of two transposes (of B and of the product) one remains (of A), and that
one is a parameter of the product in MIL and in ONNX Runtime. This is attention's last step, with channels first.
"""

from __future__ import annotations

from ..onnx.graph import Graph, Node
from .rule import Match, Rule, at_each


def swaps_last_two(node: Node | None) -> bool:
    """Whether a node is a transpose of the last two axes only."""
    if node is None or node.op != "Transpose":
        return False
    perm = list(node.attrs.get("perm", []))
    rank = len(perm)
    return rank >= 2 and perm == [*range(rank - 2), rank - 1, rank - 2]


def _find(graph: Graph, node: Node) -> Node | None:
    """The product below a transpose."""
    product = graph.maker(node.input(0))
    return product if swaps_last_two(node) and product is not None and product.op == "MatMul" else None


def _check(graph: Graph, match: Match[Node]) -> str:
    product = match.parts
    ranks = {len(graph.shape(name) or ()) for name in (*product.inputs, product.output)}
    if len(ranks) != 1 or min(ranks) < 2:
        return "the factors have different ranks, broadcast batch axes would be transposed with them"
    if not graph.feeds_only(product.output, match.anchor):
        return "the product is also read untransposed"
    if not swaps_last_two(graph.maker(product.input(1))):
        return "the second factor is not a transposed value, so no transpose would be saved"
    return ""


def _rewrite(graph: Graph, match: Match[Node]) -> None:
    product = match.parts
    left, right = product.inputs
    right_maker = graph.maker(right)
    shape = graph.shape(left) or ()
    assert right_maker is not None  # established by the check
    perm = list(match.anchor.attrs["perm"])
    flipped = graph.add_node(
        "Transpose",
        [left],
        name=f"{product.name}/Transpose",
        shape=tuple(shape[axis] for axis in perm),
        attrs={"perm": perm},
    )
    graph.set_inputs(product, [right_maker.input(0), flipped])
    graph.set_output(product, shape=graph.shape(match.anchor.output) or (), like=product.output)
    graph.replace_uses(match.anchor.output, product.output)


RULE = Rule(name="transposed-product", pattern=at_each("Transpose", _find), check=_check, rewrite=_rewrite)
