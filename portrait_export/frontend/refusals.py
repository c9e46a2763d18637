"""Nodes that cannot be lowered in, one LoweringError with all of them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import LoweringError

CODE = "unsupported-onnx-op"

_COUNT = "the values say how many elements it finds; Core ML's shapes are fixed"
_RANDOM = "it draws random numbers; a package gives the same for the same input, so make them an input"
_BITS = "MIL has no arithmetic on bits"
_LOOPS = "Core ML runs no part of a network again and again; write its steps out before exporting it"
_TEXT = "Core ML has no tensors of text"
WHY = {  # operators that have no lowering: why, and what to do where it is not in the hint
    **dict.fromkeys(("NonMaxSuppression", "NonZero", "Unique"), _COUNT),
    **dict.fromkeys(("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"), _RANDOM),
    **dict.fromkeys(("Bernoulli", "Multinomial"), _RANDOM),
    **dict.fromkeys(("BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitCast"), _BITS),
    **dict.fromkeys(("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer"), _TEXT),
    "CumProd": "MIL has no running product",
    "Det": "MIL has no determinant",
    "ImageDecoder": "an app decodes pictures before the network",
    "MelWeightMatrix": "its shape depends on values that the model computes",
    "Optional": "Core ML has no optional values",
    **dict.fromkeys(("Loop", "Scan", "SequenceMap"), _LOOPS),
    "TensorScatter": "it writes into a cache that outlives the call; hand the cache in and out instead",
}
WHY_DOMAIN = {
    "ai.onnx.ml": "classical machine learning, which Core ML does in models of other kinds",
    "ai.onnx.preview": "a preview, which the standard may still change; export the network without it",
    "ai.onnx.preview.training": "a step of training; export the network for inference, after model.eval()",
}
OTHER_DOMAIN = "an operator of its maker's own; add its body to the model as an ONNX function, or export without it"


@dataclass(frozen=True)
class Problem:
    """One node that cannot be lowered.

    Attributes:
        op_type, node: the operator and the node's name.
        reason: what about it has no MIL expression; empty where the operator has no lowering at all.
    """

    op_type: str
    node: str
    reason: str


def refusal(problems: Sequence[Problem], *, source: str, opset: int, op_types: int) -> LoweringError:
    """The error for all nodes that were refused; `op_types` is how many types of operators the model has."""
    missing = {p.op_type for p in problems if not p.reason}
    refused = [p for p in problems if p.reason]
    parts = []
    if missing:
        parts.append(f"{len(missing)} of {op_types} operator types {_plural(missing, 'has', 'have')} no lowering")
    if refused:
        asks = _plural(refused, "node asks", "nodes ask")
        parts.append(f"{len(refused)} {asks} for what MIL cannot express faithfully")
    return LoweringError(
        f"Cannot lower {source} (opset {opset}) to MIL: {' and '.join(parts)}.",
        code=CODE,
        context=problem_lines(problems),
        hint=f"`portrait-export inspect {source}` lists every operator and its status; `--mask-output NAME` can end the"
        " network at any value before them.",
    )


def problem_lines(problems: Sequence[Problem]) -> list[str]:
    """One aligned line per operator and reason: how many nodes, and the first of them."""
    groups: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        groups.setdefault((problem.op_type, problem.reason), []).append(problem.node)
    counts = {key: f"{len(nodes)} {_plural(nodes, 'node', 'nodes')}," for key, nodes in groups.items()}
    wide_op = max(10, *(len(op_type) + 1 for op_type, _ in groups))
    wide_count = max(len(text) for text in counts.values())
    return [
        f"{op_type:<{wide_op}} {counts[op_type, reason]:<{wide_count}} first {nodes[0]}"
        + (f": {reason or why(op_type)}" if reason or why(op_type) else "")
        for (op_type, reason), nodes in sorted(groups.items())
    ]


def why(op_type: str) -> str:
    """Why an operator has no lowering, empty where it is only missing. Its domain stands before a dot."""
    domain, _, _ = op_type.rpartition(".")
    return WHY_DOMAIN.get(domain, OTHER_DOMAIN) if domain else WHY.get(op_type, "")


def _plural(items: Any, one: str, many: str) -> str:
    return one if len(items) == 1 else many
