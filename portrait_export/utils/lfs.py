"""Recognise Git LFS pointers.

They are small texts that a clone has in the place of large files until `git lfs pull`.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import PortraitError

START = b"version https://git-lfs.github.com/spec/v1"  # github.com/git-lfs/git-lfs, docs/spec.md


def refuse_pointer(file: str | os.PathLike[str], error: type[PortraitError]) -> None:
    """Raise `error` if a file is a Git LFS pointer. What cannot be opened is left to what reads it."""
    try:
        if not Path(file).is_file():
            return  # opening a pipe could wait for ever
        with Path(file).open("rb") as stream:
            start = stream.read(len(START))
    except (OSError, ValueError):
        return
    if start == START:
        raise error(
            f"{os.fspath(file)} is a Git LFS pointer, not the file.",
            code="git-lfs-pointer",
            hint="run `git lfs pull` in the clone that it is from.",
        )
