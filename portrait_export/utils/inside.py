"""Tell whether a path that a file names stays inside a folder."""

from __future__ import annotations

import errno
from pathlib import Path


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path is in a folder, after following links.

    Raises:
        OSError: it cannot be followed: links in a circle, names too long, or characters that no file name has.
    """
    try:
        resolved = path.resolve()
        if resolved.is_symlink():  # links in a circle, from Python 3.13 on
            raise RuntimeError
        return resolved.is_relative_to(folder.resolve())
    except RuntimeError as error:
        raise OSError(errno.ELOOP, "its links lead in a circle") from error
    except ValueError as error:  # NUL, or half of a surrogate pair
        raise OSError(errno.EINVAL, "no file can have this name") from error
