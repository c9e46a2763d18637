"""Pair the values of two networks that should be equal: by name, then by the operators that read them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ..artifacts import Value
from ..mil.mixed import SUFFIXES

# The same operator under its names in ONNX and in MIL, where they differ by more than case and underscores.
_SYNONYMS = {"div": "realdiv", "gemm": "linear"}


def plain_name(name: str) -> str:
    """A value's name without the suffixes that tools append: `/enc/Add_1.out_cast_fp16` → `enc_Add_1_out`."""
    return re.sub(r"[^0-9A-Za-z]+", "_", SUFFIXES.sub("", name)).strip("_")


def pair_values(reference: Sequence[Value], candidate: Sequence[Value]) -> dict[str, str]:
    """Find the value of the reference that each of the candidate's values should equal.

    By name first. A value whose name has no counterpart (an operator was fused into another one, a transpose was moved
    away) is found by the operators that read it: if an operator that is paired by name reads exactly one unpaired value
    on each side, and the two have the same shape, they are the same value.

    Returns:
        candidate's name → reference's name, in the candidate's order. Two candidates may share a reference: a value
        and its cast.
    """
    known = {value.name: value for value in reference}
    by_plain_name: dict[str, str] = {}
    for value in reference:
        by_plain_name.setdefault(plain_name(value.name), value.name)
    pairs: dict[str, str] = {}
    for value in candidate:
        partner = value.name if value.name in known else by_plain_name.get(plain_name(value.name))
        if partner is not None and _may_be_equal(known[partner], value):
            pairs[value.name] = partner
    while found := _found_by_readers(known, {value.name: value for value in candidate}, pairs):
        pairs.update(found)
    return {value.name: pairs[value.name] for value in candidate if value.name in pairs}


def _found_by_readers(
    reference: Mapping[str, Value], candidate: Mapping[str, Value], pairs: Mapping[str, str]
) -> dict[str, str]:
    """Further pairs, on which all readers agree."""
    taken = set(pairs.values())
    proposals: dict[str, set[str]] = {}
    for name, partner in pairs.items():
        if _kind(candidate[name]) != _kind(reference[partner]):
            continue
        ours = {one for one in candidate[name].inputs if one in candidate and one not in pairs}
        theirs = {one for one in reference[partner].inputs if one in reference and one not in taken}
        if len(ours) == len(theirs) == 1:
            proposals.setdefault(ours.pop(), set()).add(theirs.pop())
    agreed = {name: partners.pop() for name, partners in proposals.items() if len(partners) == 1}
    return {name: partner for name, partner in agreed.items() if _same_shape(reference[partner], candidate[name])}


def _kind(value: Value) -> str:
    kind = re.sub(r"[^0-9a-z]", "", value.kind.lower())
    return _SYNONYMS.get(kind, kind)


def _may_be_equal(one: Value, other: Value) -> bool:
    return one.shape is None or other.shape is None or one.shape == other.shape


def _same_shape(one: Value, other: Value) -> bool:
    return one.shape is not None and one.shape == other.shape


def nearest_paired(
    values: Iterable[Value], paired: Iterable[str]
) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Find the paired values that each value was computed from, looking through unpaired ones.

    Args:
        values: in the order of computation.
        paired: names of the paired values.
    Returns:
        name → (the nearest paired values before it, the unpaired values between).
    """
    known = set(paired)
    found: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
    for value in values:
        before: dict[str, None] = {}
        between: dict[str, None] = {}
        for name in value.inputs:
            if name in known:
                before[name] = None
            elif name in found:
                before.update(dict.fromkeys(found[name][0]))
                between.update(dict.fromkeys((*found[name][1], name)))
        found[value.name] = (tuple(before), tuple(between))
    return found
