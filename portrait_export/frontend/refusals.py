"""Why nodes cannot be lowered, and the one LoweringError that reports all of them."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass

from ..errors import LoweringError

CODE = "unsupported-onnx-op"

_COUNT = "the number of elements in its result depends on the values; Core ML's shapes are fixed"
_RANDOM = "it draws random numbers; a package is deterministic, so make them an input"
_BITS = "MIL has no bitwise operations"
_LOOPS = "loops are not supported; unroll it before exporting the network"
_TEXT = "Core ML has no string tensors"
WHY = {  # operators without a lowering: the reason, and what to do if the hint does not say it
    **dict.fromkeys(("NonMaxSuppression", "NonZero", "Unique"), _COUNT),
    **dict.fromkeys(("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"), _RANDOM),
    **dict.fromkeys(("Bernoulli", "Multinomial"), _RANDOM),
    **dict.fromkeys(("BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitCast"), _BITS),
    **dict.fromkeys(("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer"), _TEXT),
    "CumProd": "MIL has no cumulative product",
    "Det": "MIL has no determinant",
    "ImageDecoder": "an app decodes images before it runs the network",
    "MelWeightMatrix": "its shape depends on values that the model computes",
    "Optional": "Core ML has no optional values",
    **dict.fromkeys(("Loop", "Scan", "SequenceMap"), _LOOPS),
    "TensorScatter": "it writes to a cache that outlives the call; make the cache an input and an output instead",
}
WHY_DOMAIN = {
    "ai.onnx.ml": "classical machine learning, which Core ML supports in other kinds of models only",
    "ai.onnx.preview": "a preview operator that the standard may still change; export the network without it",
    "ai.onnx.preview.training": "a training operator; export the network for inference, after model.eval()",
}
OTHER_DOMAIN = "a custom operator; add its body to the model as an ONNX function, or export without it"


class Unsupported(Exception):
    """The reason why a node has no faithful MIL expression. `convert` collects all of them into one LoweringError."""


class MissingOperator(Unsupported):
    """The operator has neither a lowering nor a function body."""


class UnknownAttribute(Unsupported):
    """The node has an attribute that the lowering does not know, so no function body can replace the lowering."""


@dataclass(frozen=True)
class Problem:
    """One node that cannot be lowered.

    Attributes:
        op_type, node: the operator, and the node's name.
        reason: what about it has no MIL expression; empty if the operator has no lowering at all.
    """

    op_type: str
    node: str
    reason: str


def refusal(problems: Sequence[Problem], *, source: str, opset: int, op_types: int, file: str = "") -> LoweringError:
    """The error that reports all refused nodes.

    Args:
        source: what to call the model.
        op_types: the number of operator types in the model.
        file: the ONNX file that the model was read from; empty if there is none to inspect.
    """
    ways = f"`portrait-export inspect {file}`" if file else "`portrait-export onnx` and then `inspect` of its file"
    verb = "lists" if file else "list"
    missing = {p.op_type for p in problems if not p.reason}
    refused = [p for p in problems if p.reason]
    parts = []
    if missing:
        parts.append(f"{len(missing)} of {op_types} operator types {_plural(missing, 'has', 'have')} no lowering")
    if refused:
        nodes = _plural(refused, "node has", "nodes have")
        parts.append(f"{len(refused)} {nodes} no faithful MIL expression")
    return LoweringError(
        f"Cannot lower {source} (opset {opset}) to MIL: {' and '.join(parts)}.",
        code=CODE,
        context=problem_lines(problems),
        hint=f"{ways} {verb} every operator and its status; `mask_output=NAME` can cut the"
        " network off at any value before them.",
    )


def problem_lines(problems: Sequence[Problem]) -> list[str]:
    """One aligned line per operator and reason: the number of nodes, and the first of them."""
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
    """Why an operator (with its domain before a dot) has no lowering; empty if no reason is known."""
    domain, _, _ = op_type.rpartition(".")
    return WHY_DOMAIN.get(domain, OTHER_DOMAIN) if domain else WHY.get(op_type, "")


def one_line(error: BaseException) -> str:
    """The message of a library's error on one line of at most 160 characters."""
    return " ".join(str(error).split())[:160] or type(error).__name__


def _plural(items: Sized, one: str, many: str) -> str:
    return one if len(items) == 1 else many
