"""Find the operations that turn finite values into NaN or infinity."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..artifacts import Value
from .error_sums import HALF_MAX

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Extent:
    """What is known of one computed value.

    Attributes:
        finite: it holds no NaN and no infinity.
        largest: its largest finite absolute value, 0 without any.
    """

    finite: bool
    largest: float


def extent(array: np.ndarray) -> Extent:
    """The extent of a value of any type."""
    import numpy as np

    if array.size == 0 or array.dtype.kind not in "fiu":
        return Extent(True, 0.0)
    known = np.isfinite(array)
    largest = float(np.abs(array, where=known, out=np.zeros(array.shape)).max(initial=0.0))
    return Extent(bool(known.all()), largest)


def origins(values: Sequence[Value], extents: Mapping[str, Extent], outputs: Sequence[str]) -> list[Value]:
    """The operations from which the outputs' NaN and infinity come: finite inputs, a result that is not.

    An infinity that never reaches an output (a masked attention score) is not blamed.

    Args:
        values: in the order of computation.
        extents: by name; values without one count as finite.
        outputs: names of the program's outputs.
    """
    broken = {name for name, one in extents.items() if not one.finite}
    makers = {value.name: value for value in values}
    pending, seen = [name for name in outputs if name in broken], set()
    found: set[str] = set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        before = [one for one in makers[name].inputs if one in broken and one in makers] if name in makers else []
        pending += before
        if not before:
            found.add(name)
    return [value for value in values if value.name in found]


def describe_origin(value: Value, extents: Mapping[str, Extent], photograph: str, *, half: bool) -> str:
    """One sentence on an operation that `origins` found."""
    largest = max((extents[name].largest for name in value.inputs if name in extents), default=math.nan)
    inputs = "" if math.isnan(largest) else f", whose inputs are finite and reach {largest:.6g}"
    reason = (
        f" Half precision holds numbers up to {HALF_MAX:,.0f}; `precision=auto` keeps larger ones in float32."
        if half
        else ""
    )
    return f"NaN or infinity first appears in {value.name} ({value.kind}) on {photograph}{inputs}.{reason}"
