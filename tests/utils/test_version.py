"""The hash of the code changes with any source of the folders that it is asked for, and with no other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from portrait_export.utils import version
from portrait_export.utils.version import code_sha256


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A copy of the quantizer and of the pictures' code, which may be changed."""
    package = Path(version.__file__).parents[1]
    for folder in ("quantize", "imaging"):
        shutil.copytree(package / folder, tmp_path / folder)
    monkeypatch.setattr(version, "_ROOT", tmp_path)
    code_sha256.cache_clear()
    yield tmp_path
    code_sha256.cache_clear()


@pytest.mark.parametrize(("file", "changes"), [("quantize/rounding.py", True), ("imaging/resize.py", False)])
def test_a_changed_source_changes_the_hash_of_its_folder_alone(sources, file, changes):
    before = code_sha256("quantize")
    with (sources / file).open("a", encoding="utf-8") as stream:
        stream.write("# another rounding\n")
    code_sha256.cache_clear()
    assert (code_sha256("quantize") != before) == changes


def test_a_new_source_and_a_new_name_change_the_hash(sources):
    found = [code_sha256("quantize")]
    (sources / "quantize" / "more.py").write_text("x = 1\n", encoding="utf-8")
    code_sha256.cache_clear()
    found.append(code_sha256("quantize"))
    (sources / "quantize" / "more.py").rename(sources / "quantize" / "other.py")
    code_sha256.cache_clear()
    found.append(code_sha256("quantize"))
    assert len(set(found)) == 3
