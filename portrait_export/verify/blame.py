"""Two traces of one network in, the operation where they part out: error and range op by op.

A trace is a plain dict, name → array of one intermediate value, of one run on one input. What made it is no matter:
PyTorch hooks, ONNX Runtime, our runtime. Where values are compared as they are computed, `Tally` keeps their sums only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from ..utils.plain import plain_data
from .error_sums import ErrorSums
from .metrics import IDENTICAL_DB, NAN, badness_key
from .pairing import plain_name
from .promise import FLOAT_BAR_DB, MARGIN_DB, Promise

if TYPE_CHECKING:
    import numpy as np

BAR_DB = 30.0  # an SNR below this, a thousandth of the signal's power, is called bad unless the caller says otherwise
PARTING_DB = 12.0  # below the bar with inherited error, an op is bad only if it loses this much of what its inputs had
NO_PROMISE = Promise()  # nothing is known of an operation: float32, no weights


@dataclass(frozen=True)
class OpError:
    """One value of the network, candidate against reference.

    Attributes:
        name: the reference's; candidate: the candidate's; kind: its operator, or empty; shape: its shape.
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
        covers: operations of the candidate before this one that have no partner, so that it answers for them too.
        bad: whether it is to blame. Without isolated runs only the first is: the rest may be its doing.
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
    bad: bool = False


@dataclass(frozen=True)
class Blame:
    """Where two traces part.

    Attributes:
        ops: every compared value, in the network's order.
        bar_db: the SNR below which a value with inherited error is called bad.
        first_bad: the first value to blame: with isolated traces by its own error alone. Empty if there is none.
        largest_drop: the value at which the SNR falls most; empty if it never falls.
        overflows: values whose reference does not fit into half precision.
        left_out: value → why it was not compared.
        isolated: whether inherited and own error were told apart.
    """

    ops: tuple[OpError, ...]
    bar_db: float
    first_bad: str
    largest_drop: str
    overflows: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    isolated: bool = False

    @property
    def bad(self) -> tuple[OpError, ...]:
        """All values to blame, in order."""
        return tuple(op for op in self.ops if op.bad)

    @property
    def first(self) -> OpError | None:
        """The first value to blame."""
        return next(iter(self.bad), None)

    @property
    def below_bar(self) -> tuple[OpError, ...]:
        """All values below the bar with what they inherited, whether to blame or not."""
        return tuple(op for op in self.ops if not op.snr_db >= self.bar_db)

    def most_lost_in_half(self, count: int) -> tuple[OpError, ...]:
        """The values that half precision stores worst: overflows first, then the lowest `half_snr_db`."""
        return tuple(sorted(self.ops, key=lambda op: (not op.overflows_half, badness_key(op.half_snr_db)))[:count])

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; NaN and infinities are null."""
        data: dict[str, Any] = plain_data(asdict(self))
        return data


@dataclass(frozen=True)
class Compared:
    """A value that is to be compared, as the candidate's graph has it.

    Attributes:
        name: the candidate's; reference: its partner's.
        kind: the operator.
        before: the candidate's values with partners that it is computed from; None if that is not known.
        covers: operations between them and this one.
        promise: what its stored types, and theirs, let expect.
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
        ops: what is compared, in order.
        whole: sums with inherited error; own: of each op alone; exact: of each op alone in float32. By `Compared.name`.
        shapes: of the values seen; left_out: value → why it was not compared.
    """

    ops: Sequence[Compared]
    whole: dict[str, ErrorSums] = field(default_factory=dict)
    own: dict[str, ErrorSums] = field(default_factory=dict)
    exact: dict[str, ErrorSums] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(
        self, sums: dict[str, ErrorSums], name: str, reference: np.ndarray | None, candidate: np.ndarray | None
    ) -> None:
        """Compare one value; `sums` is one of this tally's own three."""
        reason = _cannot_compare(reference, candidate)
        if reason or reference is None or candidate is None:
            self.left_out.setdefault(name, reason)
            return
        self.shapes[name] = tuple(int(n) for n in reference.shape)
        sums.setdefault(name, ErrorSums()).add(reference, candidate)

    def blame(self, *, bar_db: float | None = None, own_bar_db: float | None = None, half: bool = True) -> Blame:
        """Judge.

        Args:
            bar_db: SNR below which a value with inherited error is bad.
            own_bar_db: SNR below which an op alone is bad; by default what its stored types promise.
            half: whether results declared as half were rounded to half.
        Raises:
            DataError: not one value could be compared.
        """
        if not self.whole:
            raise DataError(
                f"None of {len(self.ops)} values could be compared.",
                context=[f"{name}: {reason}" for name, reason in list(self.left_out.items())[:10]],
                hint="pair the names of the two traces with `paired`.",
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
        falling = [op for op in ops if op.drop_db > 0]
        return Blame(
            ops=tuple(ops),
            bar_db=bar,
            first_bad=next((op.name for op in ops if op.bad), ""),
            largest_drop=max(falling, key=lambda op: op.drop_db).name if falling else "",
            overflows=tuple(op.name for op in ops if op.overflows_half),
            left_out=tuple(self.left_out.items()),
            isolated=bool(self.own),
        )

    def _judge(self, op: Compared, inherited: float, bar: float, own_bar: float | None, half: bool) -> OpError:
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
            bad = not snr >= bar and not math.isnan(inherited) and not snr > inherited - _parting(op)
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
            overflows_here=(whole.candidate_non_finite > 0 and not math.isnan(inherited))
            if own is None
            else own.candidate_non_finite > 0,
            bad=bad,
        )


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
    tally = Tally([Compared(name, name, (kinds or {}).get(name, "")) for name in order])
    for name in order:
        tally.add(tally.whole, name, reference.get(name), candidate.get(name))
        if isolated is not None and name in isolated and name in reference and name not in tally.left_out:
            tally.add(tally.own, name, reference[name], isolated[name])
    return tally.blame(bar_db=bar_db, own_bar_db=bar_db)


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


def _lowest(seen: Mapping[str, float], before: Sequence[str] | None) -> float:
    """The SNR that a value starts from: the lowest of its inputs', or of all before it that are numbers.

    NaN if an input is not finite: then nothing that follows is the op's own doing.
    """
    if before is None:
        return min([IDENTICAL_DB, *(value for value in seen.values() if not math.isnan(value))])
    values = [seen[name] for name in before if name in seen]
    return NAN if any(math.isnan(value) for value in values) else min([IDENTICAL_DB, *values])


def _parting(op: Compared) -> float:
    """How far below its inputs' an SNR must lie; where inputs are not known every value below the bar is bad."""
    return PARTING_DB if op.before is not None else -math.inf


def _cannot_compare(reference: np.ndarray | None, candidate: np.ndarray | None) -> str:
    """Why two values cannot be compared, or nothing."""
    if reference is None or candidate is None:
        return f"not in the {'reference' if reference is None else 'candidate'}'s trace"
    if reference.shape != candidate.shape:
        return f"shapes differ: {tuple(reference.shape)} and {tuple(candidate.shape)}"
    if reference.size == 0:
        return "it is empty"
    return ""


def _ends(low: float, high: float) -> tuple[float, float]:
    """A range, or twice NaN if not one number was seen."""
    return (low, high) if low <= high else (NAN, NAN)
