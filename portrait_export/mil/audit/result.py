"""Describe the weights that a package stores, and what an audit found about them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from ..activations import RoundedValue
from .storage import Storage
from .stored import WEIGHTS


@dataclass(frozen=True)
class StoredWeight:
    """One weight as the package holds it.

    Attributes:
        name: of the value in the program.
        used_by: operator types that read it.
        shape: of the decoded weight.
        dtype: of the stored elements: `int8`, `fp16` …
        compressed: whether an operator decodes it at load.
        size_bytes: stored elements, scales and tables together.
        error: root mean square of (decoded - original) over that of the original; None if no original is known.
        skipped: why the requested compression left it alone; empty if it did not, or none was requested.
        form: how it is stored: `plain`, `linear`, `palette`, `sparse`, `cast`, or several such as `sparse palette`.
        output_error: share of its layer's output energy that rounding changes; None if no inputs were measured.
        compared_with: the original that `error` is measured against; empty if there is none.
        note: what to know about it that is no fault.
    """

    name: str
    used_by: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    compressed: bool
    size_bytes: int
    error: float | None = None
    skipped: str = ""
    form: str = "plain"
    output_error: float | None = None
    compared_with: str = ""
    note: str = ""

    @property
    def elements(self) -> int:
        """Number of elements of the decoded weight."""
        return math.prod(self.shape)

    @property
    def bits(self) -> float:
        """Stored bits per element, scales and tables included."""
        return 8 * self.size_bytes / max(self.elements, 1)

    @property
    def of_layer(self) -> bool:
        """Whether a layer reads it as its weight, which is then a network's own."""
        return not WEIGHTS.keys().isdisjoint(self.used_by)

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {**asdict(self), "bits": self.bits}


@dataclass(frozen=True)
class Audit:
    """The requested compression, and the weights that the package stores.

    Attributes:
        requested: the requested stored type, such as `int8`; None for no compression.
        weights: every stored weight, largest first.
        problems: every deviation from the request, and every weight that is wrong; empty if there is none.
        storage: what the bytes of the package are for.
        activations: every value that the program rounds to 8 bits.
    """

    requested: str | None
    weights: tuple[StoredWeight, ...]
    problems: tuple[str, ...] = ()
    storage: Storage | None = None
    activations: tuple[RoundedValue, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every weight is right, and stored as requested."""
        return not self.problems

    @property
    def size_bytes(self) -> int:
        """Bytes of all weights."""
        return sum(weight.size_bytes for weight in self.weights)

    @property
    def applied(self) -> tuple[StoredWeight, ...]:
        """The weights stored in the requested type."""
        return tuple(weight for weight in self.weights if weight.compressed)

    @property
    def skipped(self) -> tuple[StoredWeight, ...]:
        """The weights that the requested compression left alone."""
        return tuple(weight for weight in self.weights if weight.skipped)

    @property
    def largest_error(self) -> float | None:
        """The largest relative error of a compressed weight."""
        return max((w.error for w in self.applied if w.error is not None), default=None)

    def by_dtype(self) -> dict[str, dict[str, int]]:
        """Stored type → number of weights, elements and bytes."""
        table: dict[str, dict[str, int]] = {}
        for weight in self.weights:
            row = table.setdefault(weight.dtype, {"weights": 0, "elements": 0, "bytes": 0})
            row["weights"] += 1
            row["elements"] += weight.elements
            row["bytes"] += weight.size_bytes
        return dict(sorted(table.items()))

    def to_json(self) -> dict[str, object]:
        """Plain values for export.json."""
        return {
            "requested": self.requested,
            "passed": self.passed,
            "problems": list(self.problems),
            "applied": len(self.applied),
            "skipped": len(self.skipped),
            "by_dtype": self.by_dtype(),
            "weights": [weight.to_json() for weight in self.weights],
            "storage": self.storage.to_json() if self.storage else None,
            **({"activations": [asdict(value) for value in self.activations]} if self.activations else {}),
        }
