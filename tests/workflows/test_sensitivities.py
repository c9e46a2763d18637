"""Measured sensitivities are used again only if nothing that they depend on has changed."""

from __future__ import annotations

import pytest

from portrait_export.quantize.knapsack import Option
from portrait_export.workflows import sensitivities
from portrait_export.workflows.sensitivities import BY_GRADIENTS, Measured, key_of, open_cache

OPTIONS = {"w": [Option("int8", 8, 0.1)]}


@pytest.fixture
def file(tmp_path):
    """Sensitivities that were measured with today's code."""
    path = tmp_path / "sensitivities.json"
    Measured(key_of("net"), BY_GRADIENTS, OPTIONS, file=path).save()
    return path


def test_they_are_used_again_for_the_same_network_and_code(file):
    assert open_cache(file, key_of("net"), ["w"]).options == OPTIONS


@pytest.mark.parametrize("what", ["network", "code", "weights"])
def test_they_are_measured_again_for_another(file, monkeypatch, what):
    if what == "code":
        monkeypatch.setattr(sensitivities, "code_sha256", lambda *folders: "of another rounding")
    key = key_of("another" if what == "network" else "net")
    assert open_cache(file, key, ["v"] if what == "weights" else ["w"]).options == {}


def test_the_code_of_the_rounding_counts():
    assert {"quantize", "workflows", "runtime"} <= set(sensitivities.CODE)
