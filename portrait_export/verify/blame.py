"""Find the operation at which two runs of one network diverge, from the error and range of every value.

Values are compared as they are computed: `Tally` keeps sums, no arrays, so any number of inputs can be added.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..errors import DataError
from .error_sums import ErrorSums
from .metrics import IDENTICAL_DB, NAN, badness_key
from .promise import FLOAT_BAR_DB, MARGIN_DB, Promise

if TYPE_CHECKING:
    import numpy as np

BAR_DB = 30.0  # default bar: an SNR below this, an error above a thousandth of the signal's power, is bad
DIVERGENCE_DB = (
    12.0  # below the bar with inherited error, an op is bad only if its SNR falls this far below its inputs'
)
NO_PROMISE = Promise()  # default: float32, no weights


@dataclass(frozen=True)
class OpError:
    """One value of the network, candidate against reference.

    Attributes:
        name: in the reference; candidate: in the candidate; kind: its operator, or empty; shape: its shape.
        snr_db: 10·log₁₀(Σ ref² / Σ error²), at most IDENTICAL_DB; NaN where a value is not finite.
        psnr_db: the same with the reference's range as signal.
        own_snr_db: SNR when the op alone is run on the reference's inputs, without inherited error; None if not given.
        exact_snr_db: the same with all arithmetic in float32, so that only weights and the operation itself count.
        bar_db, exact_bar_db: what `own_snr_db` (or `snr_db`, if there is none) and `exact_snr_db` must reach.
        drop_db: by how much the SNR falls below the lowest of its inputs', or of all values before it where its inputs
            are not known; NaN where a value is not finite.
        max_abs: the largest error.
        low, high: the reference's range; candidate_low, candidate_high: the candidate's.
        candidate_non_finite: how many of the candidate's values are NaN or infinite where the reference's are finite.
        overflows_here: values became NaN or infinite in this op: given the reference's inputs, or else finite ones.
        overflows_half: the reference holds a finite value beyond ±65504, which half precision turns into infinity.
        half_snr_db: SNR of the reference against itself rounded to half: what its storage alone costs. NaN on overflow.
        covers: operations of the candidate before this one that have no counterpart; their error shows up here.
        rescaled: factor and offset of a value that a compiler's pass rescaled under its old name, where everything that
            reads it is right; it is compared with the rescaled reference. Empty for all others.
        bad: whether it is to blame. Without isolated runs only the first is: the error of the rest may come from it.
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
    candidate: str = ""
    exact_snr_db: float | None = None
    bar_db: float = BAR_DB
    exact_bar_db: float = FLOAT_BAR_DB
    covers: tuple[str, ...] = ()
    overflows_here: bool = False
    rescaled: str = ""
    bad: bool = False


@dataclass(frozen=True)
class BlameReport:
    """Where two runs diverge.

    Attributes:
        ops: every compared value, in the network's order.
        bar_db: the SNR below which a value with inherited error is bad.
        overflows: values whose reference does not fit into half precision.
        left_out: value → why it was not compared.
        isolated: whether each operation's own error was measured apart from what it inherited.
    """

    ops: tuple[OpError, ...]
    bar_db: float
    overflows: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    isolated: bool = False

    @property
    def bad(self) -> tuple[OpError, ...]:
        """All values to blame, in order."""
        return tuple(op for op in self.ops if op.bad)

    @property
    def first(self) -> OpError | None:
        """The first value to blame: by its own error alone if that was measured."""
        return next(iter(self.bad), None)

    @property
    def below_bar(self) -> tuple[OpError, ...]:
        """All values below the bar, inherited error included, whether to blame or not."""
        return tuple(op for op in self.ops if not op.snr_db >= self.bar_db)

    def most_lost_in_half(self, count: int) -> tuple[OpError, ...]:
        """The values that half precision stores worst: overflows first, then the lowest `half_snr_db`."""
        return tuple(sorted(self.ops, key=lambda op: (not op.overflows_half, badness_key(op.half_snr_db)))[:count])


@dataclass(frozen=True)
class ValuePair:
    """A value of the candidate and the value of the reference that it should equal.

    Attributes:
        name: the candidate's; reference: the reference's.
        kind: the operator.
        before: the paired values that this one is computed from, by the candidate's names; None if not known.
        covers: the candidate's operations between those and this one, which have no counterpart.
        promise: the error that the stored types of all of them allow.
    """

    name: str
    reference: str
    kind: str = ""
    before: tuple[str, ...] | None = None
    covers: tuple[str, ...] = ()
    promise: Promise = NO_PROMISE


@dataclass
class Tally:
    """Collects the errors of values as they are computed, over any number of inputs.

    Attributes:
        ops: the pairs to compare, in order.
        whole: sums with inherited error; own: of each op alone; exact: of each op alone in float32. All by name.
        shapes: by name; left_out: value → why it was not compared.
        rescaled: values that are compared with the reference's times a factor plus an offset → which.
    """

    ops: Sequence[ValuePair]
    whole: dict[str, ErrorSums] = field(default_factory=dict)
    own: dict[str, ErrorSums] = field(default_factory=dict)
    exact: dict[str, ErrorSums] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    rescaled: Mapping[str, str] = field(default_factory=dict)

    @property
    def far_off(self) -> tuple[str, ...]:
        """The values below the bar with inherited error: finite, but quite other numbers."""
        return tuple(name for name, sums in self.whole.items() if sums.snr_db < BAR_DB)

    def add(
        self, sums: dict[str, ErrorSums], name: str, reference: np.ndarray | None, candidate: np.ndarray | None
    ) -> None:
        """Add one value to `sums`, which is `whole`, `own` or `exact`."""
        reason = _cannot_compare(reference, candidate)
        if reason or reference is None or candidate is None:
            self.left_out.setdefault(name, reason)
            return
        self.shapes[name] = tuple(int(n) for n in reference.shape)
        sums.setdefault(name, ErrorSums()).add(reference, candidate)

    def blame(self, *, bar_db: float | None = None, own_bar_db: float | None = None, half: bool = True) -> BlameReport:
        """Judge every value.

        Args:
            bar_db: SNR below which a value with inherited error is bad.
            own_bar_db: SNR below which an op alone is bad; by default what its stored types promise.
            half: whether results declared as half were rounded to half.
        Raises:
            DataError: no value could be compared.
        """
        if not self.whole:
            raise DataError(
                f"None of {len(self.ops)} values could be compared.",
                context=[f"{name}: {reason}" for name, reason in list(self.left_out.items())[:10]],
                hint="the two graphs share no value names; compare a package with the model it was made from.",
            )
        bar = BAR_DB if bar_db is None else bar_db
        ops: list[OpError] = []
        seen: dict[str, float] = {}
        for op in self.ops:
            if op.name not in self.whole:
                continue
            judged = self._judge(op, _lowest(seen, op.before), bar, own_bar_db, half)
            if judged.bad and not self.own and any(one.bad for one in ops):
                judged = replace(judged, bad=False)  # what comes after the first may be inherited from it
            ops.append(judged)
            seen[op.name] = judged.snr_db
        return BlameReport(
            ops=tuple(ops),
            bar_db=bar,
            overflows=tuple(op.name for op in ops if op.overflows_half),
            left_out=tuple(self.left_out.items()),
            isolated=bool(self.own),
        )

    def _judge(self, op: ValuePair, inherited: float, bar: float, own_bar: float | None, half: bool) -> OpError:
        whole, own, exact = self.whole[op.name], self.own.get(op.name), self.exact.get(op.name)
        snr = whole.snr_db
        low, high = _ends(whole.low, whole.high)
        candidate_low, candidate_high = _ends(whole.candidate_low, whole.candidate_high)
        promised = op.promise.weights_db if own_bar is None else own_bar
        allowed = promised
        if own_bar is None and half and op.promise.half and not math.isnan(whole.half_snr_db):
            allowed = min(promised, whole.half_snr_db - MARGIN_DB)
        if own is not None:
            bad = not own.snr_db >= allowed or (exact is not None and not exact.snr_db >= promised)
        else:
            bad = not snr >= bar and not math.isnan(inherited) and not snr > inherited - _divergence(op)
        return OpError(
            name=op.reference,
            kind=op.kind,
            shape=self.shapes[op.name],
            snr_db=snr,
            psnr_db=whole.psnr_db,
            own_snr_db=None if own is None else own.snr_db,
            drop_db=NAN if math.isnan(snr) else max(0.0, (IDENTICAL_DB if math.isnan(inherited) else inherited) - snr),
            max_abs=NAN if whole.different or whole.candidate_non_finite else whole.max_abs,
            low=low,
            high=high,
            candidate_low=candidate_low,
            candidate_high=candidate_high,
            candidate_non_finite=whole.candidate_non_finite,
            overflows_half=whole.overflows > 0,
            half_snr_db=whole.half_snr_db,
            candidate=op.name,
            exact_snr_db=None if exact is None else exact.snr_db,
            bar_db=bar if own is None else allowed,
            exact_bar_db=promised,
            covers=op.covers,
            rescaled=self.rescaled.get(op.name, ""),
            overflows_here=(whole.candidate_non_finite > 0 and not math.isnan(inherited))
            if own is None
            else own.candidate_non_finite > 0,
            bad=bad,
        )


def _lowest(seen: Mapping[str, float], before: Sequence[str] | None) -> float:
    """The SNR that a value starts from: the lowest of its inputs', or of all before it that are numbers.

    NaN if an input is not finite: then no error can be attributed to the op.
    """
    if before is None:
        return min([IDENTICAL_DB, *(value for value in seen.values() if not math.isnan(value))])
    values = [seen[name] for name in before if name in seen]
    return NAN if any(math.isnan(value) for value in values) else min([IDENTICAL_DB, *values])


def _divergence(op: ValuePair) -> float:
    """How far an SNR must fall below its inputs'. Without known inputs every value below the bar is bad."""
    return DIVERGENCE_DB if op.before is not None else -math.inf


def _cannot_compare(reference: np.ndarray | None, candidate: np.ndarray | None) -> str:
    """Why two values cannot be compared, or an empty string."""
    if reference is None or candidate is None:
        return f"the {'reference' if reference is None else 'candidate'} has no such value"
    if reference.shape != candidate.shape:
        return f"shapes differ: {tuple(reference.shape)} and {tuple(candidate.shape)}"
    if reference.size == 0:
        return "it is empty"
    return ""


def _ends(low: float, high: float) -> tuple[float, float]:
    """A range, or (NaN, NaN) if there was no number."""
    return (low, high) if low <= high else (NAN, NAN)
