"""What is said where Core AI's packages cannot be, or are not, installed."""

from __future__ import annotations

import pytest

from portrait_export.coreai import installed
from portrait_export.coreai.installed import CoreAIError, require_installed


def test_old_python_and_old_glibc_are_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed.sys, "version_info", (3, 10, 4))
    monkeypatch.setattr(installed, "_glibc", lambda: (2, 31))
    with pytest.raises(CoreAIError, match="cannot be installed here") as caught:
        require_installed()
    assert "they need Python 3.11 or later; this is 3.10" in caught.value.context
    assert "they need glibc 2.34 or later; this system has 2.31" in caught.value.context


def test_missing_and_other_versions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "_platform_problems", lambda python, glibc: [])
    monkeypatch.setattr(installed, "_version", {"coreai-core": "1.0.0b2", "coreai-onnx": ""}.get)
    with pytest.raises(CoreAIError) as caught:
        require_installed()
    assert caught.value.context == (
        "coreai-core 1.0.0b3 is needed; 1.0.0b2 is installed",
        "coreai-onnx 1.2.1 is needed; it is not installed",
    )
    assert caught.value.hint == "run `pip install '.[coreai]'` in a checkout of the repository."


def test_versions_are_those_of_the_extra() -> None:
    from pathlib import Path

    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    for name, version in installed.VERSIONS.items():
        assert f'"{name}=={version}; ' in text
