"""Test that launched processes train on different photographs, keep the same weights, and only one reports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from portrait_export.training.fit import launched

ROOT = Path(__file__).parents[2]


def test_two_processes_train_one_network(painted: Path, tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    script = [str(ROOT / "tests/training/one_of_several.py"), str(painted), str(tmp_path)]
    rendezvous = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*launcher, *rendezvous, *script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert (first["first"], second["first"]) == (True, False)
    assert len(first["batches"]) == len(second["batches"]) == 2
    assert not set(first["batches"]) & set(second["batches"])
    assert first["weights"] == second["weights"]
    assert len((tmp_path / "run/log.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("environment", "devices", "nodes"),
    [
        ({"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, 4, 2),
        ({"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}, 2, 1),
        ({"WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "1"}, 1, 3),
    ],
    ids=["two_machines", "one_machine", "one_process_each"],
)
def test_numbers_of_the_launcher_are_passed_on(environment: dict[str, str], devices: int, nodes: int) -> None:
    arguments = launched(environment, some_unused=False)
    assert arguments == {"devices": devices, "num_nodes": nodes, "strategy": "ddp"}


def test_without_a_launcher_lightning_gets_no_arguments(monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert launched({}, some_unused=True) == {}
