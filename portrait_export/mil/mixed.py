"""Keep chosen operations of a half-precision program in float32, and measure what that costs."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .types import TensorType

if TYPE_CHECKING:
    from .program import Function

SUFFIXES = re.compile(r"(_cast_fp16|_cast_fp32|_to_fp16|_to_fp32)+$")  # what the fp16 pass appends to a value's name
_NEAR = 5  # names that the error for a pattern without a match suggests
_CONSTANTS = ("const", "constexpr_")


@dataclass
class Kept:
    """Decides for each operation whether it stays in float32: coremltools' fp16 pass asks it.

    A pattern is an operator type of MIL (`softmax`, `layer_norm`, in any spelling of its case and underscores) or a
    value's name in ONNX or MIL; `*`, `?` and `[…]` match as in file names.

    Attributes:
        patterns: as given.
        found: the operations that are kept, name → type.
    """

    patterns: Sequence[str]
    found: dict[str, str] = field(default_factory=dict)
    _unmatched: dict[str, None] = field(default_factory=dict)
    _known: dict[str, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._unmatched = dict.fromkeys(self.patterns)

    def becomes_half(self, op: Any) -> bool:
        """Whether coremltools may convert the operation to half precision."""
        if op.op_type.startswith(_CONSTANTS):
            return True
        names = [value.name for value in op.outputs]
        self._known.update(dict.fromkeys((op.op_type, *names)))
        matching = [pattern for pattern in self.patterns if _matches(pattern, op.op_type, names)]
        for pattern in matching:
            self._unmatched.pop(pattern, None)
        if matching:
            self.found[names[0]] = op.op_type
        return not matching

    def require_all_matched(self) -> None:
        """Raise UsageError if a pattern matched no operation, naming similar types and values."""
        if not self._unmatched:
            return
        lines = [f"{pattern}: {_similar(pattern, list(self._known))}" for pattern in self._unmatched]
        raise UsageError(
            f"`keep_fp32=` matches no operation of the program: {', '.join(self._unmatched)}.",
            context=lines,
            hint="give an operator type or a value's name from the table of `blame`; `*` matches any characters."
            " Values that a compiler pass fused into others have no name of their own.",
        )


def _matches(pattern: str, op_type: str, names: Sequence[str]) -> bool:
    as_type = pattern.replace("_", "").casefold()
    if fnmatchcase(op_type.replace("_", "").casefold(), as_type):
        return True
    as_name = _plain(pattern)
    return any(fnmatchcase(_plain(name), as_name) for name in names)


def _plain(name: str) -> str:
    """A name or pattern without the passes' suffixes, ONNX's separators as MIL's underscores."""
    return re.sub(r"[^0-9A-Za-z*?\[\]]+", "_", SUFFIXES.sub("", name)).strip("_")


def _similar(pattern: str, known: Sequence[str]) -> str:
    plain = {_plain(name): name for name in known}
    wanted = re.sub(r"[*?\[\]]", "", _plain(pattern))
    close = [plain[name] for name in difflib.get_close_matches(wanted, plain, n=_NEAR, cutoff=0.5)]
    close = close or [name for key, name in plain.items() if wanted and wanted.casefold() in key.casefold()][:_NEAR]
    return f"similar are {', '.join(f'`{name}`' for name in close)}" if close else "nothing has a similar name"


@dataclass(frozen=True)
class MixedCost:
    """What a half-precision program's float32 operations cost.

    Attributes:
        operations: how many there are by type.
        total: the number of operations that compute floats, in either precision.
        casts: conversions between the two float types, those at the program's inputs and outputs included.
        weight_bytes: by how much their constants are larger than in half precision.
        activation_bytes: by how much their results are.
    """

    operations: dict[str, int]
    total: int
    casts: int
    weight_bytes: int
    activation_bytes: int

    @property
    def count(self) -> int:
        """The number of float32 operations."""
        return sum(self.operations.values())

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.operations.items())
        sizes = f"{self.weight_bytes / 1e6:.2f} MB more weights, {self.activation_bytes / 1e6:.2f} MB more activations"
        return f"{self.count} of {self.total} operations in float32 ({kinds}): {sizes}, {self.casts} casts"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {**asdict(self), "count": self.count}


def mixed_cost(function: Function) -> MixedCost:
    """Count a saved function's float32 operations, and the bytes that half precision would save."""
    operations: Counter[str] = Counter()
    total = casts = weights = activations = 0
    for op in function.block.operations:
        kind = op.outputs[0][1]
        if not isinstance(kind, TensorType) or kind.dtype not in ("fp16", "fp32"):
            continue
        saved = 2 * (kind.count or 0) if kind.dtype == "fp32" else 0
        if op.type.startswith(_CONSTANTS):
            weights += saved if op.type == "const" else 0
        elif op.type == "cast":
            casts += 1
        else:
            total += 1
            activations += saved
            if saved:
                operations[op.type] += 1
    return MixedCost(dict(operations.most_common()), total, casts, weights, activations)
