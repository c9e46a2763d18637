"""Test `predict` and `inspect` on packages from elsewhere: functions, states, classifiers, arrays and images."""

from __future__ import annotations

import errno
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from portrait_export.mil import coreml
from tests.runtime.packages import accumulator, from_torch


def times(factor: float) -> Any:
    """A MIL program y = factor · x."""
    ct, mb = coreml.coremltools(), coreml.builder()

    @mb.program(input_specs=[mb.TensorSpec(shape=(2, 3))], opset_version=ct.target.iOS18)
    def program(x):
        return mb.mul(x=x, y=np.float32(factor), name="y")

    return program


@pytest.fixture(scope="module")
def two_functions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with functions `twice` (default: x → 2x) and `thrice` (x → 3x), made by coremltools alone."""
    ct = coreml.coremltools()
    folder = tmp_path_factory.mktemp("functions")
    merged = ct.utils.MultiFunctionDescriptor()
    for name, factor in (("twice", 2.0), ("thrice", 3.0)):
        model = ct.convert(
            times(factor),
            source="milinternal",
            convert_to="mlprogram",
            compute_precision=ct.precision.FLOAT32,
            minimum_deployment_target=ct.target.iOS18,
            skip_model_load=True,
        )
        model.save(str(folder / f"{name}.mlpackage"))
        merged.add_function(str(folder / f"{name}.mlpackage"), "main", name)
    merged.default_function_name = "twice"
    ct.utils.save_multifunction(merged, str(folder / "both.mlpackage"))
    return folder / "both.mlpackage"


@pytest.mark.parametrize(("more", "factor"), [((), 2), (("--function", "thrice"), 3)])
def test_the_function_that_is_asked_for_runs(cli, two_functions, tmp_path, more, factor):
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.save(tmp_path / "x.npy", x)
    ran = cli("predict", two_functions, "-i", f"x={tmp_path / 'x.npy'}", "-o", tmp_path / "out", "--json", *more)
    assert ran.code == 0, ran.err
    [output] = json.loads(ran.out)
    assert (output["name"], output["shape"], output["high"]) == ("y", [2, 3], 5 * factor)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "y.npy"), factor * x)


def test_a_photo_is_stretched_and_an_image_comes_out(cli, package, photos, tmp_path):
    ran = cli("predict", package, "-i", f"image={photos / 'portrait.png'}", "-o", tmp_path / "out")
    assert ran.code == 0, ran.err
    assert "mask" in ran.out
    with Image.open(tmp_path / "out" / "mask.png") as mask:
        assert (mask.size, mask.mode) == ((64, 64), "L")


LABELS = {"strings": ["cat", "dog", "person"], "integers": [10, 20, 30]}
PROBABILITIES = [0.25, 0.125, 0.625]  # exact in half precision


@pytest.fixture(scope="module", params=LABELS.values(), ids=LABELS.keys())
def classifier(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """A classifier whose input is its probabilities, and its labels."""
    ct, labels = coreml.coremltools(), request.param
    package = from_torch(
        tmp_path_factory.mktemp("classifier") / "classifier.mlpackage",
        torch.nn.ReLU(),
        [torch.zeros(1, 3)],
        names=["p"],
        classifier_config=ct.ClassifierConfig(labels),
    )
    return package, labels


@pytest.fixture
def given(tmp_path: Path) -> str:
    np.save(tmp_path / "p.npy", np.array([PROBABILITIES], np.float32))
    return f"p={tmp_path / 'p.npy'}"


def test_a_classifiers_label_and_probabilities_are_shown(cli, classifier, given):
    package, labels = classifier
    ran = cli("predict", package, "-i", given)
    assert ran.code == 0, ran.err
    assert f"classLabel: {labels[2]}\n" in ran.out
    expected = f"classLabel_probs:\n  {labels[2]}  0.625\n  {labels[0]}  0.25\n  {labels[1]}  0.125\n"
    assert expected in ran.out


def test_a_classifiers_label_and_probabilities_are_in_the_json(cli, classifier, given):
    package, labels = classifier
    ran = cli("predict", package, "-i", given, "--json")
    assert ran.code == 0, ran.err
    label, probabilities = json.loads(ran.out)
    assert (label["name"], label["value"], label["low"]) == ("classLabel", labels[2], None)
    assert probabilities["value"] == {str(one): p for one, p in zip(labels, PROBABILITIES, strict=True)}
    assert (probabilities["low"], probabilities["high"]) == (0.125, 0.625)


def test_a_classifiers_label_and_probabilities_are_written(cli, classifier, given, tmp_path):
    package, labels = classifier
    ran = cli("predict", package, "-i", given, "-o", tmp_path / "out")
    assert ran.code == 0, ran.err
    assert f"classLabel: {labels[2]}\n" in ran.out
    files = {file.name: json.loads(file.read_text()) for file in (tmp_path / "out").iterdir()}
    probabilities = {str(one): p for one, p in zip(labels, PROBABILITIES, strict=True)}
    assert files == {"classLabel.json": labels[2], "classLabel_probs.json": probabilities}


def test_all_outputs_are_written_or_none(cli, classifier, given, tmp_path, monkeypatch):
    write, written = Path.write_bytes, []

    def fail_at_the_second(path: Path, data: bytes) -> int:
        written.append(path.name)
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", fail_at_the_second)
    ran = cli("predict", classifier[0], "-i", given, "-o", tmp_path / "out")
    assert ran.code == 2
    assert "No space left on device" in ran.err
    assert written == ["classLabel.json", "classLabel_probs.json"]
    assert list((tmp_path / "out").iterdir()) == []


def test_only_the_likeliest_of_many_labels_are_shown(cli, tmp_path):
    ct = coreml.coremltools()
    package = from_torch(
        tmp_path / "many.mlpackage",
        torch.nn.Softmax(-1),
        [torch.zeros(1, 25)],
        names=["x"],
        classifier_config=ct.ClassifierConfig([f"label{i:02}" for i in range(25)]),
    )
    np.save(tmp_path / "x.npy", np.arange(25, dtype=np.float32)[None])
    ran = cli("predict", package, "-i", f"x={tmp_path / 'x.npy'}")
    assert ran.code == 0, ran.err
    shown = ran.out.split("classLabel_probs:\n")[1].splitlines()
    assert [line.split()[0] for line in shown[:10]] == [f"label{i:02}" for i in range(24, 14, -1)]
    assert shown[10:] == ["  and 15 more"]


def test_a_photo_is_not_enlarged_beyond_memory(cli, package, photos):
    [file] = package.rglob("model.mlmodel")
    message = coreml.spec_message(file.read_bytes())
    message.description.input[0].type.imageType.width = message.description.input[0].type.imageType.height = 2**20
    file.write_bytes(message.SerializeToString())
    ran = cli("predict", package, "-i", f"image={photos / 'portrait.png'}")
    assert (ran.code, "A value of shape [1048576, 1048576, 3] would have" in " ".join(ran.err.split())) == (2, True), (
        ran.err
    )


def test_an_image_of_16_bit_floats_is_written_as_an_array(cli, tmp_path):
    ct = coreml.coremltools()
    layout = ct.colorlayout.GRAYSCALE_FLOAT16
    package = from_torch(
        tmp_path / "gray.mlpackage",
        torch.nn.Identity(),
        [torch.zeros(1, 1, 4, 6)],
        inputs=[ct.ImageType("image", (1, 1, 4, 6), color_layout=layout)],
        outputs=[ct.ImageType("same", color_layout=layout)],
    )
    Image.fromarray(np.full((4, 6, 3), 77, np.uint8)).save(tmp_path / "photo.png")
    ran = cli("predict", package, "-i", f"image={tmp_path / 'photo.png'}", "-o", tmp_path / "out")
    assert ran.code == 0, ran.err
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "same.npy"), np.full((4, 6), 77))


@pytest.fixture(scope="module", name="accumulating")
def accumulator_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return accumulator(tmp_path_factory.mktemp("state") / "accumulator.mlpackage")


def test_a_package_with_states_starts_from_zero(cli, accumulating, tmp_path):
    np.save(tmp_path / "x.npy", np.array([1, 2], np.float16))
    ran = cli("predict", accumulating, "-i", f"x={tmp_path / 'x.npy'}", "-o", tmp_path / "out")
    assert ran.code == 0, ran.err
    assert np.load(tmp_path / "out" / "total.npy").tolist() == [1, 2]


def table(text: str, heading: str) -> list[list[str]]:
    """The words of each row below a heading, up to the next empty line."""
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.split()[:1] == [heading]), len(lines))
    return [line.split() for line in itertools.takewhile(str.strip, lines[start + 1 :])]


def test_inspect_lists_states(cli, accumulating):
    text = cli("inspect", accumulating).out
    assert table(text, "states") == [["memory", "state", "2", "fp16"]]
    assert table(text, "functions") == []
    [state] = json.loads(cli("inspect", accumulating, "--json").out)["states"]
    assert (state["name"], state["shape"]) == ("memory", [2])


def test_inspect_lists_functions(cli, two_functions):
    text = cli("inspect", two_functions).out
    assert table(text, "functions") == [["thrice"], ["twice", "default,", "shown", "below"]]
    assert table(text, "states") == []
    facts = json.loads(cli("inspect", two_functions, "--json").out)
    assert (facts["functions"], facts["default_function"]) == (["thrice", "twice"], "twice")


WRONG = {
    "no such input": (["-i", "imag=a.png"], "did you mean `image`?"),
    "no pair": (["-i", "image"], "is not NAME=FILE"),
    "twice": (["-i", "image=a", "-i", "image=b"], "given twice"),
    "no such function": (["--function", "nothing"], "no function 'nothing'"),
    "no such device": (["--device", "toaster"], "toaster"),
    "an input is missing": ([], "image"),
    "no such file": (["-i", "image=/no/such.png"], "such.png"),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_are_reported_and_nothing_is_written(cli, package, tmp_path, case):
    arguments, words = WRONG[case]
    ran = cli("predict", package, *arguments, "-o", tmp_path / "out")
    assert ran.code == 2
    assert words in ran.err
    assert not (tmp_path / "out").exists()


def test_a_pickled_array_is_not_read(cli, two_functions, tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    ran = cli("predict", two_functions, "-i", f"x={tmp_path / 'x.npy'}")
    assert ran.code == 2
    assert "pickled objects are not read" in ran.err
