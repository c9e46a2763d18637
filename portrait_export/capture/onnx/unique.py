"""A name that is wanted and the names in use in, a free one out."""

from __future__ import annotations


def unique_name(wanted: str, taken: set[str]) -> str:
    """`wanted`, or `wanted_2`, `wanted_3`, …: the first that is not in `taken`. It is taken from now on."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    taken.add(name)
    return name
