"""The gate as a CI runner has it: a wheel outside the repository, no terminal, no home folder, the action's script."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of the built wheel, unpacked outside the repository."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    kept = ("portrait_export", "models", "calibration", "pyproject.toml", "README.md", "LICENSE")
    for name in kept:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        extra = {"symlinks": True, "ignore": shutil.ignore_patterns("__pycache__")} if (ROOT / name).is_dir() else {}
        source.mkdir(exist_ok=True)
        copy(ROOT / name, source / name, **extra)
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source)]
    subprocess.run([sys.executable, *build], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def test_the_source_distribution_has_what_the_wheel_has_and_no_tests(installed, tmp_path):
    source = shutil.copytree(installed.parent / "source", tmp_path / "source", symlinks=True)
    for name in ("tests", "docs"):
        (source / name).mkdir()
    shutil.copy(ROOT / "tests" / "test_messages.py", source / "tests")
    for name in ("MANIFEST.in", "CHANGELOG.md", "constraints.txt"):
        shutil.copy(ROOT / name, source)
    script = f"from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", script], cwd=source, check=True, capture_output=True)
    (made,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(made) as archive:
        names = {Path(*Path(entry.name).parts[1:]).as_posix() for entry in archive if entry.isfile()}
    wheel = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()}
    assert {name for name in wheel if ".dist-info/" not in name and "__pycache__" not in name} <= names
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"} <= names
    assert not any(name.startswith("tests/") for name in names)


@pytest.fixture
def runner(installed: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of a CI job, with `portrait-export` of the wheel in the action's virtual environment."""
    script = tmp_path / "runner/portrait-export/bin/portrait-export"
    script.parent.mkdir(parents=True)
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m portrait_export "$@"\n')
    script.chmod(0o755)
    return {
        "CI": "true",
        "PATH": f"{script.parent}:/usr/bin:/bin",
        "PYTHONPATH": str(installed),
        "RUNNER_TEMP": str(tmp_path / "runner"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }


def test_the_wheel_has_what_the_commands_need(installed, runner, tmp_path):
    script = "import portrait_export; print(portrait_export.__file__)"
    done = subprocess.run([sys.executable, "-c", script], env=runner, cwd=tmp_path, capture_output=True, text=True)
    assert Path(done.stdout.strip()).is_relative_to(installed), done.stderr
    names = {
        path.relative_to(installed / "portrait_export").as_posix()
        for path in (installed / "portrait_export").rglob("*")
    }
    assert {"py.typed", "calibration/manifest.json", "models/weights/serseg_b0.safetensors"} <= names
    assert "training/configs/smoke.toml" in names
    assert not any(name.startswith("tests") for name in names)


@pytest.mark.parametrize(("weights", "code"), [("own", 0), ("other", 1)])
def test_the_actions_script_gates_and_writes_the_jobs_summary(runner, small_models, photos, tmp_path, weights, code):
    package, checkpoint = small_models / "out/segformer_b0.mlpackage", small_models / f"{weights}.safetensors"
    inputs = {"PACKAGE": str(package), "MODEL": "", "CHECKPOINT": str(checkpoint), "ONNX": "", "DATA": str(photos)}
    done = subprocess.run(
        ["bash", "-e", "-c", parity_script()],
        env={**runner, **inputs, "MIN_IOU": "0.9"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == code, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    summary = (tmp_path / "summary.md").read_text()
    assert ("✅ passed" in summary, "gates failed" in summary) == (code == 0, code == 1)
    assert "| portrait |" in summary
    assert "<testsuites>" in (tmp_path / "runner/parity.xml").read_text()


def test_a_package_is_exported_from_the_wheel(runner, photos, tmp_path):
    words = "coreml -m segformer_b0 --random-weights --size 64x64 --quantize int8 --min-iou 0.5 --json -o out --data"
    done = subprocess.run(
        ["portrait-export", *words.split(), str(photos)], env=runner, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode in (0, 1), done.stderr
    assert json.loads(done.stdout)["package"]
    assert (tmp_path / "out/segformer_b0.mlpackage").is_dir()


def parity_script() -> str:
    """The shell script of the action's step `Parity`."""
    text = (ROOT / "action.yml").read_text()
    (block,) = re.findall(r"- name: Parity\n.*?run: \|\n(.*)\Z", text, re.DOTALL)
    return textwrap.dedent(block)


@pytest.fixture(scope="module")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package, the checkpoint it was made from (`own`) and one of other weights (`other`)."""
    from safetensors.torch import save_file

    from portrait_export import create_model
    from portrait_export.cli import run

    folder = tmp_path_factory.mktemp("models")
    for name, seed in (("own", 1), ("other", 2)):
        save_file(create_model("segformer_b0", seed=seed).state_dict(), folder / f"{name}.safetensors")
    made = ["coreml", "-m", "segformer_b0", "--size", "64x64", "--no-parity", "-q", "-o", str(folder / "out")]
    assert run([*made, "--checkpoint", str(folder / "own.safetensors")]) == 0
    return folder
