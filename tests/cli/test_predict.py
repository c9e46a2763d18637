"""`predict` runs packages that are not ours: several functions, arrays and images, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from portrait_export.mil import coreml


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
def test_what_is_wrong_is_said_and_nothing_written(cli, package, tmp_path, case):
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
