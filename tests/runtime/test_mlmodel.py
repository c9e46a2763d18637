"""Test MLModel: scripts for coremltools' class with one import changed, and what Core ML's Python binding refuses."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from portrait_export.errors import PackageError, PortraitError
from portrait_export.mil import coreml
from portrait_export.runtime import ComputeUnit, MLModel
from portrait_export.utils.quiet import quiet
from tests.runtime.packages import accumulator, from_builder, from_torch, tools

THEIRS = "from coremltools.models import MLModel"
OURS = "from portrait_export.runtime import MLModel"

PHOTO = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
X = np.array([[1, -2, 0.5], [-0.25, 3, -1]], np.float32)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A package of each kind: image input, half precision, classifier, states, several functions."""
    folder, ct, mb = tmp_path_factory.mktemp("mlmodel"), tools(), coreml.builder()
    paths = {
        "image": from_torch(
            folder / "image.mlpackage",
            torch.nn.Conv2d(3, 2, 3, padding=1),
            [torch.zeros(1, 3, 8, 6)],
            inputs=[ct.ImageType("photo", (1, 3, 8, 6), scale=1 / 255)],
            outputs=[ct.TensorType("mask")],
            precision="FLOAT32",
        ),
        "gray": from_torch(
            folder / "gray.mlpackage",
            torch.nn.ReLU(),
            [torch.zeros(1, 1, 8, 6)],
            inputs=[ct.ImageType("photo", (1, 1, 8, 6), color_layout=ct.colorlayout.GRAYSCALE)],
            outputs=[ct.ImageType("mask", color_layout=ct.colorlayout.GRAYSCALE)],
        ),
        "half": from_torch(
            folder / "half.mlpackage",
            torch.nn.ReLU(),
            [torch.zeros(2, 3)],
            inputs=[ct.TensorType("x", (2, 3), dtype=np.float16)],
            outputs=[ct.TensorType("y", dtype=np.float16)],
        ),
        "classifier": from_torch(
            folder / "classifier.mlpackage",
            torch.nn.Softmax(-1),
            [torch.zeros(1, 3)],
            names=["scores"],
            precision="FLOAT32",
            classifier_config=ct.ClassifierConfig(["cat", "dog", "person"]),
        ),
        "state": accumulator(folder / "state.mlpackage"),
    }
    description = ct.utils.MultiFunctionDescriptor()
    for name, factor in (("double", 2.0), ("triple", 3.0)):
        weight = np.full((2, 300), factor, np.float32)
        part = from_builder(
            folder / f"{name}.mlpackage",
            {"x": ((2, 300), np.float32)},
            lambda x, w=weight: mb.mul(x=x, y=w, name="out"),
            target="iOS18",
        )
        description.add_function(str(part), src_function_name="main", target_function_name=name)
    description.default_function_name = "triple"
    with quiet():
        ct.utils.save_multifunction(description, str(folder / "several.mlpackage"))
    paths["several"] = folder / "several.mlpackage"
    return {name: str(path) for name, path in paths.items()}


# ---------------------------------------------------------------------------------------------------------------------
# One script, run twice: everything that coremltools' class does without Core ML

SCRIPT = f"""
{THEIRS}
import coremltools as ct

model = MLModel(path, skip_model_load=True, compute_units=ct.ComputeUnit.CPU_ONLY)
shown = [model.compute_unit, model.function_name, model.is_package, model.package_path, model.weights_dir]
shown += [model.author, model.license, model.short_description, model.version, dict(model.user_defined_metadata)]
shown += [list(model.input_description), len(model.output_description), repr(model.input_description), str(model)]
model.author, model.license, model.version = "Ada", "MIT", "1.2"
model.short_description = "Doubles \\N{{greek small letter lamda}}"
model.user_defined_metadata["trained_on"] = "portraits"
for name in model.input_description:
    shown += [name in model.input_description, model.input_description[name]]
    model.input_description[name] = "the input " + name
for name in model.output_description:
    model.output_description[name] = "the output " + name
spec = model.get_spec()
spec.description.metadata.author = "nobody"
shown += [model.get_spec().SerializeToString(deterministic=True), spec.WhichOneof("Type"), spec.specificationVersion]
model.save(out)
again = MLModel(out + ".mlpackage", skip_model_load=True)
shown += [again.author, again.version, again.user_defined_metadata["trained_on"], str(again)]
shown += [again.input_description[name] for name in again.input_description]
shown += [again.get_spec().SerializeToString(deterministic=True)]
third = MLModel(again.get_spec(), weights_dir=again.weights_dir or empty, skip_model_load=True)
shown += [third.is_temp_package, third.get_spec() == again.get_spec(), third.package_path.endswith(".mlpackage")]
for wrong in (
    lambda: model.input_description["nonsense"],
    lambda: model.output_description.__setitem__("nonsense", ""),
    lambda: MLModel(path, compute_units="ALL"),
    lambda: MLModel(42),
    lambda: MLModel(path, function_name="nonsense", skip_model_load=True),
    lambda: model.predict([3]),
    lambda: model.predict("x"),
):
    try:
        wrong()
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        shown.append([kind for kind in (KeyError, AttributeError, TypeError, ValueError) if isinstance(error, kind)])
"""


def _run(source: str, **given: Any) -> dict[str, Any]:
    with quiet():
        exec(source, given)
    return given


@pytest.mark.parametrize("kind", ["image", "gray", "half", "classifier", "state", "several"])
def test_a_script_shows_the_same_with_one_import_changed(packages: dict[str, str], kind: str, tmp_path: Path) -> None:
    shown = {}
    (tmp_path / "empty").mkdir()
    for name, source in (("theirs", SCRIPT), ("ours", SCRIPT.replace(THEIRS, OURS))):
        given = {"path": packages[kind], "out": str(tmp_path / name), "empty": str(tmp_path / "empty")}
        shown[name] = _run(source, **given)["shown"]
    assert shown["ours"] == shown["theirs"]


def test_what_one_saves_the_other_opens(packages: dict[str, str], tmp_path: Path) -> None:
    model = MLModel(packages["image"])
    model.author = "Ada"
    model.save(tmp_path / "ours")
    with quiet():
        theirs = tools().models.MLModel(str(tmp_path / "ours.mlpackage"), skip_model_load=True)
        theirs.save(str(tmp_path / "theirs.mlpackage"))
    assert theirs.author == "Ada"
    given = {"photo": Image.fromarray(PHOTO)}
    expected = model.predict(given)["mask"]
    np.testing.assert_array_equal(MLModel(tmp_path / "theirs.mlpackage").predict(given)["mask"], expected)


# ---------------------------------------------------------------------------------------------------------------------
# Scripts that predict, as coremltools' guide has them


def test_an_image_script(packages: dict[str, str]) -> None:
    script = f"""
{OURS}
import PIL.Image

model = MLModel(path, compute_units=ct.ComputeUnit.CPU_AND_NE)
photo = PIL.Image.fromarray(pixels).resize((6, 8))
mask = model.predict({{"photo": photo}})["mask"]
"""
    found = _run(script, path=packages["image"], pixels=PHOTO, ct=tools())
    assert (found["mask"].shape, found["mask"].dtype) == ((1, 2, 8, 6), np.float32)
    assert found["model"].last_predict_duration_in_nano_seconds > 0
    assert found["model"].load_duration_in_nano_seconds > 0


def test_a_classifier_script(packages: dict[str, str]) -> None:
    script = f"""
{OURS}
spec = MLModel(path).get_spec()
label, probabilities = spec.description.predictedFeatureName, spec.description.predictedProbabilitiesName
found = MLModel(path).predict({{"scores": [[0.0, 1.0, 4.0]]}})
"""
    found = _run(script, path=packages["classifier"])
    assert found["found"][found["label"]] == "person"
    expected = torch.softmax(torch.tensor([0.0, 1, 4]), 0).tolist()
    assert list(found["found"][found["probabilities"]].values()) == pytest.approx(expected, abs=1e-6)


def test_a_stateful_script(packages: dict[str, str]) -> None:
    script = f"""
{OURS}
model = MLModel(path)
state = model.make_state()
totals = [model.predict({{"x": np.array([1.0, n])}}, state=state)["total"] for n in (1, 2, 3)]
memory = state.read_state(name="memory")
state.write_state(name="memory", value=np.array([10, 20], np.float32))
after = model.predict({{"x": np.zeros(2)}}, state)["total"]
"""
    found = _run(script, path=packages["state"], np=np)
    assert [total.tolist() for total in found["totals"]] == [[1, 1], [2, 3], [3, 6]]
    assert (found["memory"].tolist(), found["memory"].dtype) == ([3, 6], np.float32)
    assert found["after"].tolist() == [10, 20]


def test_a_script_of_several_functions(packages: dict[str, str]) -> None:
    x = np.ones((2, 300), np.float32)
    for name, factor in ((None, 3), ("double", 2), ("triple", 3)):
        model = MLModel(packages["several"], function_name=name)
        assert model.function_name == (name or "triple")
        assert set(np.unique(model.predict({"x": x})["out"])) == {factor}


def test_a_renamed_specification_predicts(packages: dict[str, str], tmp_path: Path) -> None:
    first = MLModel(packages["several"], function_name="double")
    spec = first.get_spec()
    spec.description.metadata.author = "renamed"
    second = MLModel(spec, weights_dir=first.weights_dir, function_name="double")
    x = np.ones((2, 300), np.float32)
    np.testing.assert_array_equal(second.predict({"x": x})["out"], first.predict({"x": x})["out"])
    folder = Path(second.package_path)
    assert folder.is_dir()
    del second
    assert not folder.exists()


GIVEN: dict[str, Any] = {
    "float32": X,
    "float64": X.astype(np.float64),
    "float16": X.astype(np.float16),
    "torch": torch.from_numpy(X),
    "lists": X.tolist(),
}


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN.keys())
def test_half_precision_comes_back_as_float32(packages: dict[str, str], given: Any) -> None:
    data = {"x": given}
    (value,) = MLModel(packages["half"]).predict(data).values()
    assert value.dtype == np.float32
    np.testing.assert_array_equal(value, np.maximum(X, 0))
    assert data["x"] is given


def test_the_example_of_the_documents(packages: dict[str, str], tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    page = (Path(__file__).parents[2] / "docs/mlmodel.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert OURS in example
    assert THEIRS in example
    monkeypatch.chdir(tmp_path)
    Image.fromarray(PHOTO).save("me.jpg")
    shutil.copytree(packages["image"], "my.mlpackage")
    exec(example, {})
    assert "9.0" in (printed := capsys.readouterr().out)
    assert "{'mask': (1, 2, 8, 6)}" in printed


def test_a_list_of_inputs(packages: dict[str, str]) -> None:
    model = MLModel(packages["half"])
    assert [found["y"].tolist() for found in model.predict([{"x": X}, {"x": -X}])] == [
        np.maximum(X, 0).tolist(),
        np.maximum(-X, 0).tolist(),
    ]
    assert model.predict([]) == []


def test_a_gray_image_goes_in_and_comes_out(packages: dict[str, str]) -> None:
    gray = Image.fromarray(PHOTO).convert("L")
    mask = MLModel(packages["gray"]).predict({"photo": gray})["mask"]
    assert (mask.mode, mask.size) == ("L", (6, 8))
    np.testing.assert_array_equal(np.asarray(mask), np.asarray(gray))


# ---------------------------------------------------------------------------------------------------------------------
# What the binding and Core ML refuse: package, call, the built-in exception that coremltools raises, and our words

RGB, GRAY = Image.fromarray(PHOTO), Image.fromarray(PHOTO).convert("L")

REFUSED: dict[str, tuple[str, dict[str, Any], type[Exception], str]] = {
    "rgb_for_gray": ("gray", {"photo": RGB}, TypeError, "takes PIL mode 'L'; found 'RGB'"),
    "gray_for_rgb": ("image", {"photo": GRAY}, TypeError, "takes PIL mode 'RGB'; found 'L'"),
    "rgba": ("image", {"photo": RGB.convert("RGBA")}, TypeError, "found 'RGBA'"),
    "array_for_image": ("image", {"photo": PHOTO}, TypeError, "is an image (rgb); found ndarray"),
    "no_image": ("image", {}, TypeError, "is an image (rgb); found nothing"),
    "image_of_another_size": ("image", {"photo": RGB.resize((8, 6))}, RuntimeError, "8×6 pixels (height × width)"),
    "unknown": ("half", {"x": X, "z": X}, KeyError, "has no input 'z'"),
    "missing": ("half", {}, RuntimeError, "missing input 'x'"),
    "another_shape": ("half", {"x": X.T}, RuntimeError, "found shape [3, 2]"),
    "int64": ("half", {"x": X.astype(np.int64)}, RuntimeError, "found int64"),
    "list_of_ints": ("half", {"x": [[1, 2, 3], [4, 5, 6]]}, RuntimeError, "np.asarray(x, np.float32)"),
    "uint8": ("half", {"x": X.astype(np.uint8)}, RuntimeError, "found uint8"),
    "bool": ("half", {"x": X > 0}, RuntimeError, "found bool"),
    "bfloat16": ("half", {"x": torch.from_numpy(X).bfloat16()}, TypeError, "is not an array"),
    "no_state": ("state", {"x": np.zeros(2)}, RuntimeError, "states are: memory"),
}


@pytest.mark.parametrize(("kind", "given", "error", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(packages: dict[str, str], kind: str, given: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        MLModel(packages[kind]).predict(given)
    assert isinstance(caught.value, PortraitError)
    assert words in str(caught.value)


MISUSES: dict[str, tuple[Callable[[dict[str, str]], Any], type[Exception], str]] = {
    "not_loaded": (
        lambda paths: MLModel(paths["half"], skip_model_load=True).predict({"x": X}),
        RuntimeError,
        "cannot predict",
    ),
    "state_for_a_list": (
        lambda paths: MLModel(paths["state"]).predict([{"x": X[0, :2]}], MLModel(paths["state"]).make_state()),
        RuntimeError,
        "not with a list",
    ),
    "unknown_state": (
        lambda paths: MLModel(paths["state"]).make_state().read_state("memori"),
        RuntimeError,
        "did you mean `memory`",
    ),
    "state_of_another_shape": (
        lambda paths: MLModel(paths["state"]).make_state().write_state("memory", np.zeros(3)),
        RuntimeError,
        "has shape [2]; found [3]",
    ),
    "unknown_function": (
        lambda paths: MLModel(paths["several"], function_name="duble"),
        ValueError,
        "did you mean `double`",
    ),
    "no_weights": (lambda paths: MLModel(MLModel(paths["half"]).get_spec()), PortraitError, "needs `weights_dir=`"),
    "no_package": (lambda paths: MLModel("/nowhere/at.mlpackage"), PackageError, "There is no package"),
    "program": (lambda paths: MLModel(paths["half"], mil_program=3), PortraitError, "`mil_program=` is not supported"),
    "suffix": (lambda paths: MLModel(paths["half"]).save("m.mlmodel"), PortraitError, "must end in .mlpackage"),
}


@pytest.mark.parametrize(("misuse", "error", "words"), MISUSES.values(), ids=MISUSES.keys())
def test_misuses(packages: dict[str, str], misuse: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        misuse(packages)
    assert words in str(caught.value)


def test_compute_units_are_those_of_coremltools(packages: dict[str, str]) -> None:
    assert {unit.name: unit.value for unit in ComputeUnit} == {u.name: u.value for u in tools().ComputeUnit}
    for unit in (*ComputeUnit, *tools().ComputeUnit):
        assert MLModel(packages["half"], compute_units=unit, skip_model_load=True).compute_unit is unit
