"""Leave the operations in half precision whose 8-bit values move the masks most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..mil.encoded import Activations
from .activation_layers import Candidates


def within(candidates: Candidates, activations: Activations, moved: Mapping[str, float], *, kept: float) -> Activations:
    """Leave operations out, those of the worst value first, until no more than a share of the error is left.

    Rounding errors of different values are independent, so what they do to the masks adds up.

    Args:
        activations: what was decided by the values alone.
        moved: by value: the squared change of the masks when it is rounded. A value without one does nothing.
        kept: the share of the sum over all values that may stay.
    """
    touching = {one.operation: frozenset(one.values) for one in candidates.found if one.operation in activations.layers}
    total = sum(moved.get(name, 0.0) for name in activations.grids)
    left = dict(activations.left)
    for worst in sorted(activations.grids, key=lambda name: -moved.get(name, 0.0)):
        if sum(moved.get(name, 0.0) for name in _rounded(touching)) <= kept * total:
            break
        for operation in [name for name, values in touching.items() if worst in values]:
            share = 100 * moved.get(worst, 0.0) / total
            left[operation] = f"8 bits of {worst} would make {share:.1f} % of the masks' error"
            del touching[operation]
    rounded = _rounded(touching)
    return replace(
        activations,
        grids={name: grid for name, grid in activations.grids.items() if name in rounded},
        layers=tuple(name for name in activations.layers if name in touching),
        left=left,
        snr_db={name: snr for name, snr in activations.snr_db.items() if name in rounded},
    )


def _rounded(touching: Mapping[str, frozenset[str]]) -> frozenset[str]:
    return frozenset[str]().union(*touching.values())
