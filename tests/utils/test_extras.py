"""Test that hints about extras can be followed: the package is on no index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from portrait_export.utils.extras import install

ROOT = Path(__file__).parents[2]
EXTRAS = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text().partition("optional-dependencies]")[2], re.M)


@pytest.mark.parametrize("extra", ["coreai", "heic", "train"])
def test_an_extra_is_installed_from_a_checkout(extra):
    assert extra in EXTRAS
    assert install(extra) == f"run `pip install '.[{extra}]'` in a checkout of the repository"


def test_no_hint_names_the_package_to_an_index():
    files = [path for folder in ("portrait_export", "models", "calibration") for path in (ROOT / folder).rglob("*.py")]
    assert [str(path) for path in files if "portrait-export[" in path.read_text()] == []
