"""The table of lowerings by ONNX operator: `@lowers("HardSwish", since=14)` and ONE_TO_ONE tables add to it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from .context import NodeContext
    from .values import Result

Lowering: TypeAlias = "Callable[[NodeContext], Result]"

FAMILIES = (  # modules of `lower/`, alphabetical; each registers its operators when imported
    "activation",
    "constant",
    "control",
    "conv",
    "elementwise",
    "gather",
    "linear",
    "logical",
    "normalization",
    "pool",
    "quantize",
    "recurrent",
    "reduction",
    "resize",
    "sample",
    "scatter",
    "sequence",
    "signal",
    "tensor",
    "vision",
)


@dataclass(frozen=True)
class Entry:
    """One lowering.

    Attributes:
        op_type: ONNX operator.
        since: first opset whose definition of the operator it implements.
        lower: the function; takes a NodeContext, returns the value of each output (one value, or a tuple).
        owner: `module.function`, for messages.
    """

    op_type: str
    since: int
    lower: Lowering
    owner: str


_ENTRIES: dict[tuple[str, int], Entry] = {}


def register(op_type: str, since: int, lower: Lowering, owner: str) -> None:
    """Add one lowering. Raises ValueError if the operator already has one since the same opset."""
    key = (op_type, since)
    if key in _ENTRIES:
        raise ValueError(f"{op_type} since opset {since} has two lowerings: {_ENTRIES[key].owner} and {owner}.")
    _ENTRIES[key] = Entry(op_type=op_type, since=since, lower=lower, owner=owner)


def lowers(*op_types: str, since: int = 1) -> Callable[[Lowering], Lowering]:
    """Register the decorated function as the lowering of one or more operators from opset `since` on."""

    def decorate(function: Lowering) -> Lowering:
        for op_type in op_types:
            register(op_type, since, function, f"{function.__module__}.{getattr(function, '__qualname__', function)}")
        return function

    return decorate


def register_table(table: Mapping[str, str], make: Callable[[str], Lowering], owner: str) -> None:
    """Add the rows of a ONE_TO_ONE table: ONNX operator → MIL operator, lowered by `make(mil_operator)`."""
    for op_type, mil_op in table.items():
        register(op_type, 1, make(mil_op), f"{owner}.ONE_TO_ONE")


@cache
def _load() -> None:
    for family in FAMILIES:
        importlib.import_module(f".lower.{family}", __package__)


def find(op_type: str, opset: int) -> Entry | None:
    """The lowering of an operator at an opset: the newest one that is not newer than the opset."""
    _load()
    versions = [entry for (name, since), entry in _ENTRIES.items() if name == op_type and since <= opset]
    return max(versions, key=lambda entry: entry.since, default=None)


def entries() -> tuple[Entry, ...]:
    """Every lowering, by operator and opset."""
    _load()
    return tuple(_ENTRIES[key] for key in sorted(_ENTRIES))


def markdown() -> str:
    """A table of every lowered operator: the first opset of each of its lowerings, and its family."""
    since: dict[str, list[str]] = {}
    family: dict[str, str] = {}
    for entry in entries():
        since.setdefault(entry.op_type, []).append(str(entry.since))
        family[entry.op_type] = entry.owner.split(".lower.")[-1].split(".")[0]
    rows = [f"| `{name}` | {', '.join(versions)} | `{family[name]}` |" for name, versions in since.items()]
    heading = "| Operator | since | family |\n|---|---|---|"
    return f"{len(rows)} operators have a lowering.\n\n{heading}\n" + "\n".join(rows)
