"""Find the photos that paths and folders name, and give each a name of its own."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import DataError


@dataclass(frozen=True)
class NamedPhoto:
    """A photo's file and the relative path, without suffix, that its results are called by."""

    path: Path
    name: Path


def find_photos(paths: Sequence[Path], *, without: Path | None = None, numbered: bool = False) -> list[NamedPhoto]:
    """List the photos of files and of folders with their subfolders, each once.

    A photo is called by its path below the folder that was given, a single file by its own name. Where several have
    one name, they are called by their paths below the folder that they share, and then with their suffixes.

    Args:
        without: a folder whose files are left out, such as that of earlier results.
        numbered: sort the files of a folder by the numbers in their names: frame2 before frame10.
    Raises:
        DataError: there is no photo in a folder.
    """
    found: dict[Path, NamedPhoto] = {}
    for path in paths:
        for photo in _below(path, without, numbered=numbered) if path.is_dir() else [NamedPhoto(path, Path(path.stem))]:
            found.setdefault(Path(os.path.abspath(photo.path)), photo)
    photos = _renamed(list(found.values()), _below_shared_folder)
    return _renamed(photos, lambda group: [photo.name.with_name(photo.path.name) for photo in group])


def _below(folder: Path, without: Path | None, *, numbered: bool) -> list[NamedPhoto]:
    from ..calibration.dataset import SUFFIXES
    from ..utils.natural import natural_key

    left_out = None if without is None else without.absolute()
    files = [
        file
        for file in sorted(folder.rglob("*"), key=(lambda path: natural_key(str(path))) if numbered else None)
        if file.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and not (left_out is not None and left_out != folder.absolute() and file.absolute().is_relative_to(left_out))
        and file.is_file()
    ]
    if not files:
        hint = f"the suffixes are: {' '.join(sorted(SUFFIXES))}."
        raise DataError(f"There is no photo in {folder} or its subfolders.", hint=hint)
    return [NamedPhoto(file, file.relative_to(folder).with_suffix("")) for file in files]


def _renamed(photos: list[NamedPhoto], rename: Callable[[Sequence[NamedPhoto]], list[Path]]) -> list[NamedPhoto]:
    groups = defaultdict(list)
    for photo in photos:
        groups[photo.name].append(photo)
    names = {}
    for group in groups.values():
        new = rename(group) if len(group) > 1 else [photo.name for photo in group]
        names.update({photo.path: name for photo, name in zip(group, new, strict=True)})
    return [replace(photo, name=names[photo.path]) for photo in photos]


def _below_shared_folder(group: Sequence[NamedPhoto]) -> list[Path]:
    paths = [os.path.abspath(photo.path) for photo in group]
    shared = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [Path(path).relative_to(shared).with_suffix("") for path in paths]
