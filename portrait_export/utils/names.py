"""Make names unique."""

from __future__ import annotations


def unique_name(wanted: str, taken: set[str]) -> str:
    """The first of `wanted`, `wanted_2`, `wanted_3`, … that is not in `taken`. It is added to `taken`.

    >>> unique_name("weight", {"weight"})
    'weight_2'
    """
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    taken.add(name)
    return name
