"""What only Apple's platforms build is type-checked against stubs on Linux, and a mistake in it is noticed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

IOS_DEMO = Path(__file__).parents[2] / "ios_demo"
TIMEOUT_S = 600

pytestmark = pytest.mark.skipif(
    shutil.which("swift") is None or sys.platform == "darwin", reason="swift on Linux is needed"
)

MISTAKES = {  # what is changed in which file, and what the compiler says
    "a_misspelt_member": ("CoreMLEngine.swift", ".computeUnits = units", ".computeUnit = units", "computeUnit"),
    "a_model_that_leaves_its_actor": (
        "CoreMLEngine.swift",
        "try predicted(frame)",
        "try await model.prediction(from: features(of: frame), options: .init()).featureValue(for: output)",
        "risks causing data races",
    ),
}


def typecheck(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([folder / "typecheck"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(IOS_DEMO, tmp_path / "ios_demo", ignore=shutil.ignore_patterns(".build", "Tests")))


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_noticed(copy: Path, name: str) -> None:
    file, right, wrong, says = MISTAKES[name]
    source = copy / "Sources" / "PortraitCoreML" / file
    text = source.read_text()
    assert text.count(right) == 1
    source.write_text(text.replace(right, wrong))
    done = typecheck(copy)
    assert done.returncode != 0
    assert says in done.stderr


def test_nothing_is_forced_or_left_unchecked() -> None:
    sources = {path: path.read_text() for path in (IOS_DEMO / "Sources").rglob("*.swift")}
    assert len(sources) > 30
    for words in ("try!", "@unchecked Sendable", "nonisolated(unsafe)", "as!", "fatalError("):
        assert [path.name for path, text in sources.items() if words in text] == []
