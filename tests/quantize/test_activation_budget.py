"""The worst of their values leave operations in half precision, until no more than a share of the error is left."""

from __future__ import annotations

from portrait_export.mil.encoded import ActivationGrid, Activations
from portrait_export.quantize.activation_budget import within
from portrait_export.quantize.activation_layers import Candidate, Candidates

GRID = ActivationGrid(0.1, 0)
# x → q and k, whose results nothing else rounds; y → first → z → second
FOUND = (
    Candidate("q", "x", ("q_out",)),
    Candidate("k", "x", ("k_out",)),
    Candidate("first", "y", ("z",)),
    Candidate("second", "z", ("out",)),
)
VALUES = ("x", "q_out", "k_out", "y", "z", "out")
ACTIVATIONS = Activations(
    dict.fromkeys(VALUES, GRID),
    tuple(one.operation for one in FOUND),
    {"add": "additions"},
    dict.fromkeys(VALUES, 30.0),
)
CANDIDATES = Candidates(FOUND, {"add": "additions"})


def left_with(moved: dict[str, float], kept: float) -> Activations:
    return within(CANDIDATES, ACTIVATIONS, moved, kept=kept)


def test_nothing_changes_if_all_of_the_error_may_stay() -> None:
    after = left_with({"x": 1.0, "z": 2.0}, 1.0)
    assert (after.layers, after.grids, after.left) == (ACTIVATIONS.layers, ACTIVATIONS.grids, ACTIVATIONS.left)
    assert left_with({}, 0.0).layers == ACTIVATIONS.layers


def test_all_operations_of_the_worst_value_are_left_with_its_share() -> None:
    """Both that read it, and the one that makes it: it would be rounded for any of them."""
    after = left_with({"x": 1.0, "z": 3.0}, 0.6)
    assert after.layers == ("q", "k")
    reason = "8 bits of z would make 75.0 % of the masks' error"
    assert after.left == {"add": "additions", "first": reason, "second": reason}
    assert after.grids.keys() == after.snr_db.keys() == {"x", "q_out", "k_out"}


def test_what_leaves_with_the_worst_value_counts() -> None:
    """`y` and `out` are no longer rounded once `first` and `second` are left, so `x` may stay."""
    after = left_with({"z": 3.0, "y": 2.0, "out": 2.0, "x": 1.0}, 0.125)
    assert after.layers == ("q", "k")


def test_if_nothing_may_stay_all_that_moves_the_masks_is_left() -> None:
    after = left_with({"x": 1.0, "out": 1e-9}, 0.0)
    assert after.layers == ("first",)
    assert left_with(dict.fromkeys(VALUES, 1.0), 0.0).layers == ()
