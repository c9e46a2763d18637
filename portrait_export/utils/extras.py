"""Say how an extra of this package is installed. It is on no package index, so its name alone cannot be."""

from __future__ import annotations


def install(extra: str) -> str:
    """What to do to get an extra, for a hint.

    >>> install("heic")
    "run `pip install '.[heic]'` in a checkout of the repository"
    """
    return f"run `pip install '.[{extra}]'` in a checkout of the repository"
