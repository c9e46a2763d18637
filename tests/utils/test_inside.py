"""Test that a path which cannot be followed is an OSError, on every Python, and never something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from portrait_export.utils.inside import is_inside

UNUSABLE = {"circle": "circle", "nul": "a\0b", "surrogate": "\ud800", "too_long": "a" * 300}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_path_that_cannot_be_followed_is_an_os_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(OSError, match=r"circle|no file can have|too long"):
        is_inside(tmp_path / UNUSABLE[name], tmp_path)


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "in" / "out").symlink_to(tmp_path / "file")
    (tmp_path / "in" / "stays").symlink_to("missing")
    assert not is_inside(tmp_path / "in" / "out", tmp_path / "in")
    assert is_inside(tmp_path / "in" / "stays", tmp_path / "in")
