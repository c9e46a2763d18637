"""Apply a scale to one factor of a matrix product instead of to the product, if that factor is smaller or free.

Algebra. s·(A·B) = (s·A)·B = A·(s·B), and a scale commutes with every reshape and transpose of the factor. Attention's
1/√d so moves from the L·L' scores to the L·d queries, and from there into the weights that make them. In half precision
it also keeps the scores small.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..onnx.graph import Graph, Node
from .linear import kernel_of
from .rule import Match, Rule

LAYOUT = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten"})


@dataclass(frozen=True)
class _Parts:
    """A scaled product.

    Attributes:
        product: the product.
        scale: the number.
    """

    product: Node
    scale: float


def _pattern(graph: Graph) -> Iterator[Match[_Parts]]:
    for node in graph.nodes:
        if node.op not in ("Mul", "Div") or node.domain or graph.maker(node.output) is not node:
            continue
        for index in (0, 1):
            constant, product = graph.constant(node.input(index)), graph.maker(node.input(1 - index))
            if constant is None or constant.size != 1 or product is None or product.op != "MatMul":
                continue
            number = float(constant.reshape(()))
            if node.op == "Mul" or (index == 1 and number):
                yield Match(node, _Parts(product, number if node.op == "Mul" else 1 / number))
                break


def _source(graph: Graph, value: str) -> str:
    """Where a factor comes from, before the layout operators that only it passes through."""
    maker = graph.maker(value)
    while maker is not None and maker.op in LAYOUT and graph.sole_use(value) is not None:
        value = maker.input(0)
        maker = graph.maker(value)
    return value


def _best(graph: Graph, product: Node) -> str:
    """The factor to scale: one that a convolution makes, else the smaller."""
    factors = [_source(graph, name) for name in product.inputs]
    free = [name for name in factors if _is_free(graph, name)]
    return (free or sorted(factors, key=lambda name: math.prod(graph.shape(name) or (0,))))[0]


def _is_free(graph: Graph, value: str) -> bool:
    """Whether a value comes from a convolution whose weights can take the scale in."""
    return kernel_of(graph, graph.maker(value)) is not None and graph.sole_use(value) is not None


def _check(graph: Graph, match: Match[_Parts]) -> str:
    product = match.parts.product
    if not graph.is_float(product.output) or graph.shape(match.anchor.output) != graph.shape(product.output):
        return "it is not computed in float32 on a known shape"
    if not graph.feeds_only(product.output, match.anchor):
        return "the product is also read unscaled"
    shapes = [graph.shape(name) for name in product.inputs]
    if None in shapes or product.input(0) == product.input(1):
        return "the factors are one value, or their shapes are not known"
    best = _best(graph, product)
    if graph.sole_use(best) is None:
        return "the factor is also read unscaled"
    smaller = math.prod(graph.shape(best) or ()) < math.prod(graph.shape(product.output) or ())
    if not smaller and not _is_free(graph, best):
        return "neither factor has fewer numbers than the product"
    return ""


def _rewrite(graph: Graph, match: Match[_Parts]) -> None:
    product, scale = match.parts.product, match.parts.scale
    source = _best(graph, product)
    reader = graph.sole_use(source)
    assert reader is not None  # established by the check
    constant = graph.add_constant(np.asarray(scale, np.float32), name=f"{match.anchor.name}.scale")
    name = f"{match.anchor.name}/Scale"
    scaled = graph.add_node("Mul", [source, constant], name=name, shape=graph.shape(source) or (), before=reader)
    graph.redirect(reader, source, scaled)
    graph.remove([match.anchor])
    graph.replace_uses(match.anchor.output, product.output)


RULE = Rule(name="scale-before-product", pattern=_pattern, check=_check, rewrite=_rewrite)
