"""Test that photos are found in folders, and that each has a name of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from portrait_export.errors import DataError
from portrait_export.inputs.photos import find_photos

# Files that exist, arguments → names of the results.
CASES = {
    "a_file": (["a.png"], ["a.png"], ["a"]),
    "a_folder": (["p/b.jpg", "p/a.png", "p/notes.txt"], ["p"], ["a", "b"]),
    "subfolders": (["p/a.png", "p/sub/a.png", "p/.hidden/a.png"], ["p"], ["a", "sub/a"]),
    "one_name_in_two_folders": (["x/a.png", "y/a.png"], ["x/a.png", "y/a.png"], ["x/a", "y/a"]),
    "one_name_above_another": (["x/a.png", "x/y/a.png"], ["x/a.png", "x/y/a.png"], ["a", "y/a"]),
    "one_name_with_two_suffixes": (["a.png", "a.jpg", "b.jpg"], ["a.png", "a.jpg", "b.jpg"], ["a.png", "a.jpg", "b"]),
    "both_at_once": (["p/a.png", "p/a.jpg", "q/a.png"], ["p", "q"], ["p/a.jpg", "p/a.png", "q/a"]),
    "the_same_file_twice": (["p/a.png"], ["p/a.png", "p"], ["a"]),
    "earlier_results": (["p/a.png", "p/out/a-mask.png"], ["p"], ["a"]),
    "capital_suffixes": (["p/A.JPG"], ["p"], ["A"]),
}


@pytest.mark.parametrize("case", CASES)
def test_every_photo_has_its_own_name(case: str, tmp_path: Path) -> None:
    files, arguments, names = CASES[case]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_photos([tmp_path / name for name in arguments], without=tmp_path / "p" / "out")
    assert [photo.name.as_posix() for photo in found] == names


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"There is no photo in .* or its subfolders") as caught:
        find_photos([tmp_path])
    assert ".heic" in caught.value.hint
