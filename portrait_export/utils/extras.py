"""Say how an extra of this package is installed.

The package is on no package index, so the extra's name alone is not enough.
"""

from __future__ import annotations


def install(extra: str) -> str:
    """What to do to get an extra, for a hint.

    >>> install("heic")
    "run `pip install '.[heic]'` in a checkout of the repository"
    """
    return f"run `pip install '.[{extra}]'` in a checkout of the repository"
