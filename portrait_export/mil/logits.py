"""Find the value of a compiled program that holds the network's logits, whatever coremltools' passes named it.

A pass that fuses operations names the result after one of them, so a name alone does not identify the logits. The
operations between the logits and the program's output do: they are noted before the passes and followed back after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..artifacts import Lowered

LOGITS = "logits"
TRANSPARENT = frozenset({"cast", "identity"})  # the passes add and remove these


@dataclass(frozen=True)
class _Step:
    type: str
    x: str


def tail_of(lowered: Lowered) -> tuple[str, ...] | None:
    """The operators from the first output back to the value named `logits`; None if there is no such chain.

    To be called before the program is compiled, as the passes change it.
    """
    function = lowered.program.functions["main"]
    steps = {
        out.name: _Step(op.op_type, getattr(op.inputs.get("x"), "name", ""))
        for op in function.operations
        for out in op.outputs
    }
    return _followed(steps, function.outputs[0].name, until=LOGITS)


def logits_in(spec: Any, tail: Sequence[str] | None) -> str:
    """The name of the compiled value that holds the logits; empty if it cannot be found.

    Args:
        spec: the Core ML `Model` protobuf.
        tail: from `tail_of`.
    """
    [block] = spec.mlProgram.functions["main"].block_specializations.values()
    steps = {
        out.name: _Step(op.type, op.inputs["x"].arguments[0].name if op.inputs["x"].arguments else "")
        for op in block.operations
        if "x" in op.inputs
        for out in op.outputs
    }
    name = block.outputs[0] if tail is not None else ""
    for wanted in tail or ():
        name = _through_casts(steps, name)
        step = steps.get(name)
        if step is None or step.type != wanted:
            return ""
        name = step.x
    return _through_casts(steps, name)


def _followed(steps: Mapping[str, _Step], name: str, *, until: str) -> tuple[str, ...] | None:
    """The operators on the way from a value back to another along `x`; None if the way ends before it."""
    types: list[str] = []
    while name != until:
        step = steps.get(name)
        if step is None:
            return None
        if step.type not in TRANSPARENT:
            types.append(step.type)
        name = step.x
    return tuple(types)


def _through_casts(steps: Mapping[str, _Step], name: str) -> str:
    """The value that casts only convert."""
    while name in steps and steps[name].type in TRANSPARENT:
        name = steps[name].x
    return name
