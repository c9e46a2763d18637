"""Make names unique, and put them into sentences."""

from __future__ import annotations

from collections.abc import Sequence


def listed(names: Sequence[str], most: int) -> str:
    """The first few names, and how many more there are.

    >>> listed(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


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


def with_article(noun: str) -> str:
    """A noun after `a` or `an`, by its first letter.

    >>> with_article("EfficientNet-FPN"), with_article("SegFormer")
    ('an EfficientNet-FPN', 'a SegFormer')
    """
    return f"{'an' if noun[:1].lower() in 'aeio' else 'a'} {noun}"
