"""Rows of Core ML's compute plan, read from a fake plan: a real one exists on macOS only."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from portrait_export.errors import PackageError
from portrait_export.mil.mac import DevicePlacement, compute_plan, device_placements


class MLNeuralEngineComputeDevice:
    """Named as in coremltools: the class name is the device."""


def operation(kind: str, name: str) -> SimpleNamespace:
    return SimpleNamespace(operator_name=kind, outputs=[SimpleNamespace(name=name)])


def test_a_plan_becomes_rows():
    conv, other = operation("ios17.conv", "c"), operation("ios17.gather", "g")
    block = SimpleNamespace(operations=[operation("const", "w"), operation("ios17.const", "v"), conv, other])
    program = SimpleNamespace(functions={"main": SimpleNamespace(block=block)})
    usage = SimpleNamespace(preferred_compute_device=MLNeuralEngineComputeDevice())
    plan = SimpleNamespace(
        model_structure=SimpleNamespace(program=program),
        get_compute_device_usage_for_mlprogram_operation=lambda op: usage if op is conv else None,
        get_estimated_cost_for_mlprogram_operation=lambda op: SimpleNamespace(weight=0.75) if op is conv else None,
    )
    assert device_placements(plan) == [
        DevicePlacement("c", "ios17.conv", "NeuralEngine", 0.75),
        DevicePlacement("g", "ios17.gather", "", None),
    ]


def test_it_is_refused_off_macos(small_export, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(PackageError, match="Core ML plans on macOS only; this is linux"):
        compute_plan(small_export / "segformer_b0.mlpackage")
