"""Choose items at even distances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def evenly(items: Sequence[T], count: int) -> list[T]:
    """`count` of the items at even distances, from the first one on; all if there are fewer.

    Photographs of one kind follow each other, so the first ones would be of one kind.

    >>> evenly("abcdefg", 3)
    ['a', 'c', 'e']
    >>> evenly("abc", 5)
    ['a', 'b', 'c']
    """
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]
