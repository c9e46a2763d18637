"""Which comparisons run photographs in threads, and whether the reference may."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from portrait_export.capture.runners import TorchRunner
from portrait_export.models.registry import create_model
from portrait_export.preprocessing import PortraitSpec
from portrait_export.runtime.parallel import in_order
from portrait_export.runtime.runner import PackageRunner
from portrait_export.workflows.parity import overlapping


@pytest.fixture(scope="module")
def candidate(small_export: Path) -> PackageRunner:
    return PackageRunner(next(small_export.glob("*.mlpackage")))


@pytest.fixture(scope="module")
def ours(candidate: PackageRunner) -> TorchRunner:
    spec = candidate.spec
    assert isinstance(spec, PortraitSpec)
    return TorchRunner(create_model("segformer_b0", seed=0), spec)


FOREIGN: Any = SimpleNamespace(name="yours")


def test_our_own_network_runs_in_threads_as_well(ours: TorchRunner, candidate: PackageRunner) -> None:
    assert overlapping(ours, candidate) == (in_order, False)


@pytest.mark.parametrize(("threads", "run"), [(1, in_order), (2, in_order), (3, map)])
def test_anybodys_network_runs_alone_and_with_all_of_many_cores(
    candidate: PackageRunner, monkeypatch: pytest.MonkeyPatch, threads: int, run: Any
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert overlapping(FOREIGN, candidate) == (run, True)


def test_what_is_carried_from_frame_to_frame_keeps_its_order(
    ours: TorchRunner, candidate: PackageRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidate, "carried", {"r1": object()})
    assert overlapping(ours, candidate)[0] is map


def test_another_candidate_runs_one_by_one(ours: TorchRunner) -> None:
    assert overlapping(ours, FOREIGN)[0] is map
