"""Two traces of one network in, the operation where they part out: error and range op by op.

A trace is a plain dict, name → array of one intermediate value, of one run on one input. What made it is no matter:
PyTorch hooks, ONNX Runtime, our runtime.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from .metrics import IDENTICAL_DB, NAN, badness_key, max_abs_error, plain_data, psnr_db

if TYPE_CHECKING:
    import numpy as np

HALF_MAX = 65504.0  # largest finite IEEE 754 half
BAR_DB = 30.0  # an SNR below this, a thousandth of the signal's power, is called bad unless the caller says otherwise
SUFFIXES = re.compile(r"(_cast_fp16|_cast_fp32|_to_fp16|_to_fp32)+$")  # what the fp16 pass appends to a value's name


@dataclass(frozen=True)
class OpError:
    """One value of the network, candidate against reference.

    Attributes:
        name: the reference's; kind: its operator, or empty; shape: its shape.
        snr_db: 10·log₁₀(Σ ref² / Σ error²), at most IDENTICAL_DB; NaN where a value is not finite.
        psnr_db: the same with the reference's range as signal.
        own_snr_db: SNR when the op alone is run on the reference's inputs, without inherited error; None if not given.
        drop_db: by how much the SNR falls below the lowest of all values before it; NaN where a value is not finite.
        max_abs: the largest error.
        low, high: the reference's range; candidate_low, candidate_high: the candidate's.
        candidate_non_finite: how many of the candidate's values are NaN or infinite where the reference's are finite.
        overflows_half: the reference holds a finite value beyond ±65504, which half precision turns into infinity.
        half_snr_db: SNR of the reference against itself rounded to half: what its storage alone costs. NaN on overflow.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    snr_db: float
    psnr_db: float
    own_snr_db: float | None
    drop_db: float
    max_abs: float
    low: float
    high: float
    candidate_low: float
    candidate_high: float
    candidate_non_finite: int
    overflows_half: bool
    half_snr_db: float


@dataclass(frozen=True)
class Blame:
    """Where two traces part.

    Attributes:
        ops: every compared value, in the network's order.
        bar_db: the SNR below which a value is called bad.
        first_bad: the first value below the bar or not finite; with isolated traces the first that is so by its own
            fault. Empty if there is none.
        largest_drop: the value at which the SNR falls most; empty if it never falls.
        overflows: values whose reference does not fit into half precision.
        left_out: value → why it was not compared.
    """

    ops: tuple[OpError, ...]
    bar_db: float
    first_bad: str
    largest_drop: str
    overflows: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]

    def most_lost_in_half(self, count: int) -> tuple[OpError, ...]:
        """The values that half precision stores worst: overflows first, then the lowest `half_snr_db`."""
        return tuple(sorted(self.ops, key=lambda op: (not op.overflows_half, badness_key(op.half_snr_db)))[:count])

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; NaN and infinities are null."""
        data: dict[str, Any] = plain_data(asdict(self))
        return data


def blame(
    reference: Mapping[str, np.ndarray],
    candidate: Mapping[str, np.ndarray],
    order: Sequence[str],
    *,
    isolated: Mapping[str, np.ndarray] | None = None,
    kinds: Mapping[str, str] | None = None,
    bar_db: float = BAR_DB,
) -> Blame:
    """Compare two traces value by value.

    Args:
        reference: name → value, as it should be.
        candidate: the same names (see `paired`) → value, as it came out.
        order: the names to compare, in the order of computation.
        isolated: name → the candidate's value of that op when it is given the reference's inputs.
        kinds: name → operator type, to show.
        bar_db: SNR below which a value is bad.
    Raises:
        DataError: not one name could be compared.
    """
    ops: list[OpError] = []
    left_out: list[tuple[str, str]] = []
    lowest = IDENTICAL_DB
    for name in order:
        reason = _cannot_compare(reference.get(name), candidate.get(name))
        if reason:
            left_out.append((name, reason))
            continue
        own = None if isolated is None or name not in isolated else snr_db(reference[name], isolated[name])
        op = _compare(name, (kinds or {}).get(name, ""), reference[name], candidate[name], own, lowest)
        ops.append(op)
        lowest = lowest if math.isnan(op.snr_db) else min(lowest, op.snr_db)
    if not ops:
        raise DataError(
            f"None of {len(order)} values could be compared.",
            context=[f"{name}: {reason}" for name, reason in left_out[:10]],
            hint="pair the names of the two traces with `paired`.",
        )
    falling = [op for op in ops if op.drop_db > 0]
    return Blame(
        ops=tuple(ops),
        bar_db=bar_db,
        first_bad=next((op.name for op in ops if _is_bad(op, bar_db, own=isolated is not None)), ""),
        largest_drop=max(falling, key=lambda op: op.drop_db).name if falling else "",
        overflows=tuple(op.name for op in ops if op.overflows_half),
        left_out=tuple(left_out),
    )


def paired(reference: Iterable[str], candidate: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A candidate's trace under the reference's names.

    Core ML allows only letters, digits and underscores in names, and the fp16 pass appends `_cast_fp16`; with that set
    aside, names are equal or they are not. Values without a partner are left out.
    """
    found: dict[str, str] = {}
    for name in candidate:
        found.setdefault(plain_name(name), name)
    known = {name: name if name in candidate else found.get(plain_name(name)) for name in reference}
    return {name: candidate[partner] for name, partner in known.items() if partner is not None}


def plain_name(name: str) -> str:
    """A value's name without the marks of tools: `/enc/Add_1.out_cast_fp16` → `enc_Add_1_out`."""
    return re.sub(r"[^0-9A-Za-z]+", "_", SUFFIXES.sub("", name)).strip("_")


def snr_db(reference: np.ndarray, candidate: np.ndarray) -> float:
    """Signal-to-noise ratio, 10·log₁₀(Σ reference² / Σ (candidate − reference)²), at most IDENTICAL_DB.

    NaN where a value is not finite, or where an all-zero reference is not met exactly.
    """
    import numpy as np

    exact = reference.astype(np.float64)
    error = candidate.astype(np.float64) - exact
    if not (np.isfinite(exact).all() and np.isfinite(error).all()):
        return NAN
    noise, signal = float(np.sum(error * error)), float(np.sum(exact * exact))
    if noise == 0:
        return IDENTICAL_DB
    return min(IDENTICAL_DB, 10 * math.log10(signal / noise)) if signal > 0 else NAN


def _is_bad(op: OpError, bar_db: float, *, own: bool) -> bool:
    """Below the bar: by its own error where ops were isolated, else by all of it. A NaN is below every bar."""
    value = op.own_snr_db if own else op.snr_db
    return value is not None and not value >= bar_db


def _cannot_compare(reference: np.ndarray | None, candidate: np.ndarray | None) -> str:
    """Why two values cannot be compared, or nothing."""
    if reference is None or candidate is None:
        return f"not in the {'reference' if reference is None else 'candidate'}'s trace"
    if reference.shape != candidate.shape:
        return f"shapes differ: {tuple(reference.shape)} and {tuple(candidate.shape)}"
    if reference.size == 0:
        return "it is empty"
    return ""


def _compare(
    name: str, kind: str, reference: np.ndarray, candidate: np.ndarray, own_snr: float | None, lowest_before: float
) -> OpError:
    import numpy as np

    snr = snr_db(reference, candidate)
    finite = np.isfinite(reference.astype(np.float64))
    low, high = _range(reference)
    overflows = bool((np.abs(reference.astype(np.float64)[finite]) > HALF_MAX).any())
    return OpError(
        name=name,
        kind=kind,
        shape=tuple(int(n) for n in reference.shape),
        snr_db=snr,
        psnr_db=psnr_db(reference, candidate),
        own_snr_db=own_snr,
        drop_db=NAN if math.isnan(snr) else max(0.0, lowest_before - snr),
        max_abs=max_abs_error(reference, candidate),
        low=low,
        high=high,
        candidate_low=_range(candidate)[0],
        candidate_high=_range(candidate)[1],
        candidate_non_finite=int(np.count_nonzero(finite & ~np.isfinite(candidate.astype(np.float64)))),
        overflows_half=overflows,
        half_snr_db=NAN if overflows else snr_db(reference, _as_half(reference)),
    )


def _range(values: np.ndarray) -> tuple[float, float]:
    """The lowest and highest value that is a number; infinities count, NaN does not unless there is nothing else."""
    import numpy as np

    numbers = values.astype(np.float64)
    numbers = numbers[~np.isnan(numbers)]
    return (float(numbers.min()), float(numbers.max())) if numbers.size else (NAN, NAN)


def _as_half(values: np.ndarray) -> np.ndarray:
    import numpy as np

    with np.errstate(over="ignore"):
        return values.astype(np.float16)
