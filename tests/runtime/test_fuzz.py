"""Check that damaged packages give a clean error or a result: no crash, no hang, no excessive allocation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime.families import families

CASES = 600
PEAK_KIB = 5 * 2**20  # torch itself takes 0.4 GiB; one value may take 2 GiB, and a step holds two or three


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return families(tmp_path_factory.mktemp("fuzz"))


def test_damaged_packages_never_crash(packages: list[Path]) -> None:
    command = [sys.executable, "-m", "tests.runtime.fuzzing", *map(str, packages), "--count", str(CASES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert report["bad"] == []
    assert sum(report["outcomes"].values()) == CASES
    assert report["outcomes"]["result"] > CASES / 20, "the mutations leave nothing alive: they are too coarse"
    assert report["peak_kib"] < PEAK_KIB
