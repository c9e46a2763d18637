"""Audit every weight and every byte of a saved program."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...errors import PackageError
from ..activations import activation_problems, rounded_values
from ..constants import Constant
from ..encoded import Compression, EncodedWeight
from ..program import Operation, Program
from ..types import TensorType
from ..weights import BITS
from .compare import Comparison, channel_factors, compare, compare_kept, odd_values
from .fitted import misfit
from .grids import layout_of
from .health import collapse_of, collapsed_scales, fault_of, note_of, zeroed
from .matching import Stored
from .nearest import nearest
from .originals import Original, Originals
from .requantized import avoidable_loss
from .result import Audit, StoredWeight
from .storage import storage_of
from .stored import StoredValues

WEIGHT_ELEMENTS = 256  # constants of up to this many elements are parameters, not weights

UNEXPLAINED = "unexplained"


@dataclass(frozen=True)
class _Place:
    """One weight where it is stored, before and after it is audited."""

    values: StoredValues
    op: Operation
    weight: StoredWeight
    fault: str = ""


def list_weights(program: Program) -> Audit:
    """The stored weights by type and bytes, without decoding them. Raises PackageError if one is damaged."""
    return Audit(None, tuple(place.weight for place in _ordered(_places(program))))


def decoded_weights(program: Program) -> list[Stored]:
    """The weights and small constants that are floats, decoded, without those that are damaged."""
    found = []
    for place in (*_ordered(_places(program)), *_ordered(_places(program, small=True))):
        try:
            values = place.values.decode(place.op)
        except PackageError:
            continue
        if values.dtype.kind == "f":
            weight = place.values.is_weight(place.op)
            found.append(Stored(place.op.outputs[0][0], values, place.weight.compressed, weight))
    return found


def audit_program(
    program: Program,
    *,
    requested: str | None = None,
    allowed: Collection[str] = (),
    min_elements: int = 2048,
    left: Mapping[str, str] | None = None,
    originals: Originals | None = None,
    compensated: bool = False,
    compression: Compression | None = None,
) -> Audit:
    """Audit every weight of a saved program.

    Args:
        program: read from disk.
        requested: the stored type that the recipe requests, or None.
        allowed: stored types that a compressed weight may have too.
        min_elements: weights of up to this many elements need not be compressed.
        left: known reasons why weights are not compressed, by name.
        originals: finds what a weight should be, to compute errors.
        compensated: whether the package says that rounding errors of its weights were compensated.
        compression: what the quantizer decided for each weight; then each must be stored so, bit for bit, and
            `requested` and `min_elements` do not count.
    Raises:
        PackageError: a weight file cannot be read at all. Damage of single weights is among the problems.
    """
    _open_weight_files(program)
    places = [_checked(place, originals, compression, compensated=compensated) for place in _ordered(_places(program))]
    weights = tuple(place.weight for place in places)
    if requested is not None or compression is not None or any(weight.compressed for weight in weights):
        otherwise = "not compressed by the recipe" if compression is not None else UNEXPLAINED
        known = compression.left if compression is not None else left or {}
        weights = _explained(places, min_elements, known, otherwise)
    small = [_checked_small(place, originals) for place in _ordered(_places(program, small=True))]
    problems = [f"{place.weight.name} {place.weight.shape} {place.fault}" for place in (*places, *small) if place.fault]
    if compression is not None:
        problems += [*_departures(places, compression), *_untuned(program, compression)]
    elif requested is not None:
        problems += _unfulfilled(weights, requested, {requested, *allowed})
    problems += activation_problems(program, None if compression is None else compression.activations)
    blobs = [leaf.place for place in places for leaf in _leaves(place.values, place.op)]
    storage = storage_of(program, [blob for blob in blobs if blob is not None])
    return Audit(requested, weights, (*problems, *storage.problems), storage, rounded_values(program))


def _open_weight_files(program: Program) -> None:
    """Raise PackageError if a weight file is missing or is none, before its weights are looked at one by one."""
    for name in {constant.place[0] for _, _, constant in program.constants() if constant.place is not None}:
        _ = program.weights.open(name, "a weight").data


def _places(program: Program, *, small: bool = False) -> Iterator[_Place]:
    """Every weight once, although several functions may read the same bytes under the same name.

    Args:
        small: the constants instead that are too small to be weights.
    """
    seen: set[tuple[object, ...]] = set()
    names: set[str] = set()
    for function in program.functions.values():
        values = StoredValues.of(function)
        for op in values.weights:
            if (op.type == "const" and _elements(op) <= WEIGHT_ELEMENTS) != small:
                continue
            name = op.outputs[0][0]
            key = (name, op.type, *(leaf.place for leaf in _leaves(values, op)))
            if key in seen:
                continue
            seen.add(key)
            weight = _described(values, op, f"{function.name}/{name}" if name in names else name)
            names.add(name)
            yield _Place(values, op, weight)


def _ordered(places: Iterable[_Place]) -> list[_Place]:
    return sorted(places, key=lambda place: (-place.weight.size_bytes, place.weight.name))


def _leaves(values: StoredValues, op: Operation) -> list[Constant]:
    """The constants that a weight is decoded from; none if the program is damaged there."""
    try:
        return list(values.leaves(op))
    except PackageError:
        return []


def _described(values: StoredValues, op: Operation, name: str) -> StoredWeight:
    kind = op.outputs[0][1]
    shape = tuple(side or 0 for side in kind.shape) if isinstance(kind, TensorType) else ()
    sizes = {leaf.place or index: leaf.size_bytes for index, leaf in enumerate(_leaves(values, op))}
    try:
        dtype, form = values.dtype(op), values.form(op)
    except PackageError:
        dtype, form = op.type, "unknown"
    return StoredWeight(name, values.users(op), shape, dtype, op.type != "const", sum(sizes.values()), form=form)


def _elements(op: Operation) -> int:
    kind = op.outputs[0][1]
    return (kind.count or 0) if isinstance(kind, TensorType) and kind.dtype != "string" else 0


def _checked(
    place: _Place, originals: Originals | None, compression: Compression | None, *, compensated: bool
) -> _Place:
    """Decode a weight, look for faults, and compare it with its original."""
    values, op, weight = place.values, place.op, place.weight
    name = op.outputs[0][0]
    try:
        decoded = values.decode(op)
        place = replace(
            place, weight=replace(weight, note=note_of(values, op, decoded)), fault=fault_of(values, op, decoded)
        )
        found = originals(name, decoded) if originals and decoded.dtype.kind == "f" else None
        if isinstance(found, Original):
            intended = compression is not None and compression.decides(name)
            place = _compared(place, decoded, found, compensated=compensated, intended=intended)
        else:
            why = f"not compared: {found}" if found else ""
            note = "; ".join(filter(None, (place.weight.note, why)))
            fault = place.fault or collapse_of(values, op, decoded)
            place = replace(place, weight=replace(place.weight, note=note), fault=fault)
    except PackageError as error:
        return replace(place, fault=f"is damaged: {error.message}")
    if compression is None:
        return place
    return replace(place, weight=replace(place.weight, output_error=compression.errors.get(name)))


def _checked_small(place: _Place, originals: Originals | None) -> _Place:
    """Look for faults of a constant that is too small to be listed as a weight."""
    op, kind = place.op, place.op.outputs[0][1]
    if not isinstance(kind, TensorType) or kind.dtype not in ("fp16", "fp32"):
        return place
    try:
        if not kind.count and (len(kind.shape) > 1 or place.values.is_parameter(op)):
            return replace(place, fault=f"is declared as {kind}, which has no values")
        decoded = place.values.decode(op)
        fault = fault_of(place.values, op, decoded)
        if not fault and originals:
            fault = _small_fault(place, decoded, originals(op.outputs[0][0], decoded))
    except PackageError as error:
        fault = f"is damaged: {error.message}"
    return replace(place, fault=fault)


def _small_fault(place: _Place, decoded: np.ndarray, found: Original | str) -> str:
    """Why a small constant is not its original, as far as that can be told.

    Norms are folded into biases, and tuning changes them, so of those only single values far off are faults.
    """
    if not isinstance(found, Original):
        return ""
    if place.values.is_weight(place.op):
        return _compared(place, decoded, found, compensated=False, intended=False).fault
    return odd_values(decoded, found.values)


def _compared(place: _Place, decoded: np.ndarray, original: Original, *, compensated: bool, intended: bool) -> _Place:
    """Add the error of a weight, and what is wrong if it is not its original in the form that is stored."""
    weight, wanted = place.weight, original.values
    bits = BITS.get(weight.dtype, 16)
    layout = layout_of(place.values, place.op, decoded.shape)
    rows = tuple(layout.rows(array) for array in (decoded, nearest(place.values, place.op, wanted), wanted))
    if weight.form.startswith("sparse"):
        found = compare_kept(*rows, layout=layout, bits=bits, intended=intended)
    else:
        plain = not weight.compressed
        measured = compensated and weight.compressed
        found = compare(*rows, layout=layout, bits=bits, plain=plain, compensated=measured, intended=intended)
    fault = place.fault or _fault_of_values(place, decoded, wanted, found, bits=bits, intended=intended)
    return replace(place, weight=replace(weight, error=found.error, compared_with=original.title), fault=fault)


def _fault_of_values(
    place: _Place, decoded: np.ndarray, wanted: np.ndarray, found: Comparison, *, bits: int, intended: bool
) -> str:
    """What is wrong with a weight whose original is known: its scales of 0, its values, its other scales and tables."""
    values, op = place.values, place.op
    collapsed = collapsed_scales(values, op)
    if intended:
        return f"has {zeroed(collapsed, decoded.size)}" if collapsed else found.fault
    misfits = misfit(values, op, wanted) if place.weight.compressed else ""
    if collapsed and misfits:
        return misfits
    if found.fault:
        return found.fault + (channel_factors(decoded, wanted) if decoded.ndim > 1 else "")
    if misfits or not place.weight.compressed:
        return misfits
    return avoidable_loss(values, op, wanted, bits=bits, error=found.error)


def _explained(
    places: Sequence[_Place], min_elements: int, known: Mapping[str, str], otherwise: str
) -> tuple[StoredWeight, ...]:
    """The weights, with the reason why each uncompressed one was left alone."""
    return tuple(
        place.weight
        if place.weight.compressed
        else replace(place.weight, skipped=_reason_to_skip(place, min_elements, known) or otherwise)
        for place in places
    )


def _reason_to_skip(place: _Place, min_elements: int, known: Mapping[str, str]) -> str:
    """Why a weight is not compressed; empty if nothing explains it."""
    weight = place.weight
    if weight.name in known:
        return known[weight.name]
    if weight.dtype not in ("fp16", "fp32"):
        return f"{weight.dtype}, not a float"
    if weight.elements <= min_elements:
        return f"{weight.elements} elements, too small: scales would cost more than they save"
    return "one-dimensional" if len(weight.shape) <= 1 else ""


def _unfulfilled(weights: Sequence[StoredWeight], requested: str, allowed: Collection[str]) -> list[str]:
    """Every way in which the weights are not stored in the requested type."""
    unexplained = [w for w in weights if w.skipped == UNEXPLAINED]
    other_type = [w for w in weights if w.compressed and w.dtype not in allowed]
    wanted = " or ".join(sorted(allowed))
    problems = [f"{w.name} {w.shape} stayed {w.dtype} ({', '.join(w.used_by)})" for w in unexplained]
    problems += [f"{w.name} is stored as {w.dtype}, not {wanted}" for w in other_type]
    if not any(w.compressed and w.dtype == requested for w in weights):
        problems.append(f"no weight is stored as {requested}")
    return problems


def _departures(places: Sequence[_Place], compression: Compression) -> list[str]:
    """Every way in which the stored weights are not those that the quantizer computed."""
    stored = {place.weight.name: place for place in places if place.weight.compressed}
    unasked = [stored[name].weight for name in stored if name not in compression.encoded]
    problems = [f"{weight.name} {weight.shape} is compressed; the recipe left it alone" for weight in unasked]
    for name, intended in compression.encoded.items():
        fault = _departure(stored.get(name), intended)
        if fault:
            problems.append(f"{name} {intended.decoded.shape} {fault}")
    return problems


def _untuned(program: Program, compression: Compression) -> list[str]:
    """Every bias and factor of a norm that does not have the values that tuning gave it."""
    left, problems = dict(compression.tuned), []
    for function in program.functions.values():
        values = StoredValues.of(function)
        for op in values.weights:
            intended = left.pop(op.outputs[0][0], None)
            if intended is not None and not np.array_equal(values.decode(op), intended.decoded):
                problems.append(f"{op.outputs[0][0]} does not have the values that tuning gave it")
    return problems + [f"{name}, which tuning changed, is not in the package" for name in left]


def _departure(place: _Place | None, intended: EncodedWeight) -> str:
    """How a stored weight differs from the intended one; empty if it decodes to the same values, bit for bit."""
    if place is None:
        return f"is not compressed; the recipe stores it as {intended.dtype}"
    if place.op.type != intended.operator:
        return f"is stored by {place.op.type}, not {intended.operator}"
    if place.weight.dtype != intended.dtype:
        return f"is stored as {place.weight.dtype}, not {intended.dtype}"
    try:
        decoded = place.values.decode(place.op)
    except PackageError:
        return ""  # its damage is reported already
    if decoded.shape != intended.decoded.shape or decoded.dtype != intended.decoded.dtype:
        return f"is {decoded.dtype} {decoded.shape}; the recipe computed {intended.decoded.dtype}"
    wrong = int((bits_of(decoded) != bits_of(intended.decoded)).sum())
    return f"has {wrong} of {decoded.size} values that do not decode to what the recipe computed" if wrong else ""


def bits_of(values: np.ndarray) -> np.ndarray:
    """Floats as integers of the same bits, with one zero: −0 and 0 are equal."""
    return (values + values.dtype.type(0)).view(f"u{values.dtype.itemsize}")
