"""The scripts of docs/ and benchmarks/ start, and those that can be small run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))


def run(*words: object) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("script", BENCHMARKS, ids=lambda script: script.stem)
def test_a_benchmark_starts_and_says_what_it_does(script):
    assert "usage: " in run("-m", f"benchmarks.{script.stem}", "--help")


def test_the_rewrites_are_measured_on_a_small_network():
    words = ("--models", "segformer_b0", "--size", "64x64", "--rounds", "1", "--no-packages")
    assert "segformer_b0" in run(ROOT / "benchmarks" / "rewrites.py", *words)


def test_the_readmes_picture_is_drawn(small_export, tmp_path):
    run(ROOT / "docs" / "picture.py", small_export / "segformer_b0.mlpackage", tmp_path / "masks.jpg")
    with Image.open(tmp_path / "masks.jpg") as picture:
        assert picture.size == (784, 784)


def test_make_benchmarks_runs_scripts_that_exist():
    recipe = re.search(r"^benchmarks:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    scripts = re.findall(r"benchmarks/\w+\.py", recipe[1])
    assert scripts
    assert all((ROOT / script).is_file() for script in scripts)
