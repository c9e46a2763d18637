"""Nodes that cannot be lowered in, one LoweringError with all of them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import LoweringError

CODE = "unsupported-onnx-op"


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
        hint=f"`portrait-export inspect {source}` lists every operator and its status.",
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
        + (f": {reason}" if reason else "")
        for (op_type, reason), nodes in sorted(groups.items())
    ]


def _plural(items: Any, one: str, many: str) -> str:
    return one if len(items) == 1 else many
