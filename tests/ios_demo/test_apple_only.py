"""What only Apple's platforms build is type-checked against stubs on Linux, and a mistake in it is noticed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IOS_DEMO = ROOT / "ios_demo"
TIMEOUT_S = 600

pytestmark = pytest.mark.skipif(
    shutil.which("swift") is None or sys.platform == "darwin", reason="swift on Linux is needed"
)

ENGINE = "ios_demo/Sources/PortraitCoreML/CoreMLEngine.swift"
DOCUMENT = "docs/ios.md"
MISTAKES = {  # what is changed in which file, and what the compiler says
    "a_misspelt_member": (ENGINE, ".computeUnits = units", ".computeUnit = units", "computeUnit"),
    "a_misspelt_option_of_the_live_path": (
        "ios_demo/Sources/PortraitCoreML/CoreMLEngineLive.swift",
        "options.outputBackings",
        "options.outputBuffers",
        "outputBuffers",
    ),
    "a_model_that_leaves_its_actor": (
        ENGINE,
        "try predicted(frame)",
        (
            "try await model.prediction(from: features(pixels: .bgra(frame.image), depth: nil), options: .init())"
            ".featureValue(for: output)"
        ),
        "risks causing data races",
    ),
    "a_snippet_of_an_older_interface": (DOCUMENT, "refinedMask(along: photo)", "refined(photo)", "'refined'"),
}


def typecheck(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([folder / "typecheck"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    shutil.copyfile(ROOT / DOCUMENT, tmp_path / DOCUMENT)
    shutil.copytree(IOS_DEMO, tmp_path / "ios_demo", ignore=shutil.ignore_patterns(".build", "Tests"))
    return tmp_path


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_noticed(copy: Path, name: str) -> None:
    file, right, wrong, says = MISTAKES[name]
    text = (copy / file).read_text()
    assert text.count(right) == 1
    (copy / file).write_text(text.replace(right, wrong))
    done = typecheck(copy / "ios_demo")
    assert done.returncode != 0
    assert says in done.stderr


def test_a_document_without_snippets_is_noticed(copy: Path) -> None:
    (copy / DOCUMENT).write_text((copy / DOCUMENT).read_text().replace("```swift", "```"))
    done = typecheck(copy / "ios_demo")
    assert done.returncode != 0
    assert "docs-*.swift" in done.stderr


def test_nothing_is_forced_or_left_unchecked() -> None:
    sources = {path: path.read_text() for path in (IOS_DEMO / "Sources").rglob("*.swift")}
    assert len(sources) > 30
    for words in ("try!", "@unchecked Sendable", "nonisolated(unsafe)", "as!", "fatalError("):
        assert [path.name for path, text in sources.items() if words in text] == []
