"""The public names exist, are typed, and cost nothing to import."""

from __future__ import annotations

import importlib.metadata
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import portrait_export as pe

ROOT = Path(__file__).parents[1]
FUNCTIONS = [name for name in pe.__all__ if inspect.isfunction(getattr(pe, name))]


@pytest.mark.parametrize("name", [name for name in pe.__all__ if name != "__version__"])
def test_every_public_name_is_documented(name):
    assert getattr(pe, name).__doc__
    assert name in dir(pe)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_is_documented(name):
    function = getattr(pe, name)
    text = inspect.getdoc(function) or ""
    arguments = text.partition("Args:")[2].partition("Returns:")[0].partition("Raises:")[0]
    named = set(re.findall(r"\w+", " ".join(re.findall(r"^ {4}([\w, ]+):", arguments, re.MULTILINE))))
    assert set(inspect.signature(function).parameters) <= named or name == "list_models"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pe.nothing


def test_the_version_is_the_distributions():
    assert importlib.metadata.version("portrait-export") == pe.__version__


def test_importing_the_package_imports_nothing_heavy():
    heavy = {"torch", "numpy", "PIL", "coremltools", "onnx", "click"}
    script = f"import sys, portrait_export; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


GOOD = """\
import portrait_export as pe

class Printer(pe.SilentObserver):
    def stage_finished(self, stage: pe.Stage) -> None:
        print(stage.name, stage.seconds)

export = pe.export("serseg_b0", quantize="int8", out="build", observer=Printer())
print(export.package.path, export.package.size_bytes, [gate.value for gate in export.gates], export.passed)
package = pe.load(export.package.path)
package.predict("me.jpg").cutout().save("me.png")
report = pe.check_parity(export.package.path, "serseg_b0", min_iou=0.99)
print(report.passed, report.worst(5), package.spec.height, pe.list_models("serseg_*"), pe.__version__)
print(pe.export(onnx="net.onnx", mean=0.5, person_class=[1, 2], parity=False).folder / "export.json")
"""
# a line → the error that mypy must report on it
BAD = {
    'pe.export("serseg_b0", quantise="int8")': 'Unexpected keyword argument "quantise" for "export"; did you mean',
    'pe.export(onnx="net.onnx", meen=0.5)': 'Unexpected keyword argument "meen" for "export"',
    'pe.export("serseg_b0", size="64x64")': 'Argument "size" to "export" has incompatible type "str"',
    'pe.export("serseg_b0", observer=print)': 'Argument "observer" to "export" has incompatible type',
    'pe.export("serseg_b0").pased': '"CoreMLExport" has no attribute "pased"; maybe "passed"?',
    'pe.load("a.mlpackage").predikt("me.jpg")': '"Package" has no attribute "predikt"; maybe "predict"?',
    'pe.segment("me.jpg", model="serseg_b0").probabilty': '"Segmentation" has no attribute "probabilty"',
    'pe.check_parity("a.mlpackage", "serseg_b0").gate': '"ParityReport" has no attribute "gate"',
    'pe.evaluate("serseg_b0").iou_men': '"Evaluation" has no attribute "iou_men"',
    "pe.list_model()": 'Module has no attribute "list_model"; maybe "list_models"?',
}


def test_mypy_strict_accepts_a_users_script_and_finds_misspelt_names(tmp_path):
    """As a type checker sees the package where it is installed: its sources are followed, its own errors not shown."""
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "bad.py").write_text("import portrait_export as pe\n" + "\n".join(BAD) + "\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--cache-dir", tmp_path / "cache"]
    done = subprocess.run(
        [*command, "good.py", "bad.py"], capture_output=True, text=True, cwd=tmp_path, env={"MYPYPATH": str(ROOT)}
    )
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert [line for line in errors if not line.startswith("bad.py")] == [], done.stdout + done.stderr
    found = {int(line.split(":")[1]): line for line in errors}
    for number, (code, expected) in enumerate(BAD.items(), start=2):
        assert expected in found.get(number, "no error"), f"{code}\n{done.stdout}{done.stderr}"


def test_type_checkers_find_that_the_package_is_typed():
    assert (ROOT / "portrait_export/py.typed").is_file()
    assert '"portrait_export" = ["py.typed"]' in (ROOT / "pyproject.toml").read_text()
