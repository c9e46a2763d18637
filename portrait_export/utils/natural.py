"""Sort names as people number them: frame 2 before frame 10."""

from __future__ import annotations

import re


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """A key for `sorted` that compares runs of digits as numbers."""
    return tuple(
        (int(part), part) if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]{1,18})", name) if part
    )
