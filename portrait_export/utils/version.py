"""The version of this package, and a hash of its code."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

__version__ = "0.1.0"

_ROOT = Path(__file__).parents[1]


@cache
def code_sha256(*folders: str) -> str:
    """SHA-256 of the names and sources of all modules in some folders of this package.

    It is part of the key of what is kept between runs: a changed computation then never reuses old results, not even
    between two releases.
    """
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted((_ROOT / folder).rglob("*.py")):
            source = file.read_bytes()
            digest.update(f"{file.relative_to(_ROOT).as_posix()}\0{len(source)}\0".encode() + source)
    return digest.hexdigest()
