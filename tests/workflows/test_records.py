"""Test the records of an export."""

from __future__ import annotations

import importlib.metadata

import pytest

from portrait_export.workflows.records import tool_versions


@pytest.mark.parametrize("label", ["", "+cpu", "+cu130"])
def test_the_label_of_a_local_build_is_not_recorded(monkeypatch: pytest.MonkeyPatch, label: str) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"2.13.0{label}")
    versions = tool_versions()
    assert versions["torch"] == "2.13.0"
    assert not any("+" in version for version in versions.values())
