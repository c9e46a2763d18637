"""Sort names as people number them: frame 2 before frame 10."""

from __future__ import annotations

import re


def natural_key(name: str) -> tuple[tuple[bool, int, str], ...]:
    """A key for `sorted` that compares runs of digits as numbers; they come before letters."""
    parts = [part for part in re.split(r"([0-9]{1,18})", name) if part]
    return tuple((False, int(part), part) if part.isascii() and part.isdecimal() else (True, 0, part) for part in parts)
