"""What a package states for apps is compared with its program and with its network; what may differ is let pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import portrait_export as pe
from portrait_export.errors import PackageError
from portrait_export.inputs.stated import completed, require_agreeing
from portrait_export.mil.coreml import spec_message
from portrait_export.preprocessing import SPEC_KEY, Picture, PortraitSpec

MODEL: dict[str, Any] = {"model": "segformer_b0", "random_weights": True}
SPEC = PortraitSpec(height=64, width=64)
OTHER_UNITS = {
    "scale": 1.0,
    "mean": tuple(255 * value for value in SPEC.mean),
    "std": tuple(255 * value for value in SPEC.std),
}
BACKGROUND = Picture("bgr", "background", "rgb", 1 / 255, (0.5,) * 3, (1.0,) * 3)


def state(package: Path, spec: PortraitSpec) -> None:
    """Replace what a package states, and nothing else."""
    [file] = package.rglob("model.mlmodel")
    message = spec_message(file.read_bytes())
    message.description.metadata.userDefined[SPEC_KEY] = spec.to_json()
    file.write_bytes(message.SerializeToString())


# What a package states beside SPEC, the network's; the words of the error for a registered network, and for one's own.
STATED: dict[str, tuple[dict[str, Any], str, str]] = {
    "threshold": ({"threshold": 0.99}, "threshold: stated 0.99; the network has 0.5", ""),
    "resize": ({"resize": "crop"}, "resize: stated crop; the network has stretch", ""),
    "positive": ({"positive": "background"}, "positive: stated background; the network has person", ""),
    "color": ({"color": "bgr"}, "color of image: stated bgr; the network takes rgb", ""),
    "std": ({"std": (1.0,) * 3}, "normalisation of image: stated scale 0.00392157", ""),
    "scale": ({"scale": 1.0}, "normalisation of image: stated scale 1,", ""),
    "depth": ({"inputs": ("image", "depth")}, "inputs: stated image, depth; the network takes image", "inputs: stated"),
    "pictures": (
        {"inputs": ("image", "bgr"), "pictures": (BACKGROUND,)},
        "inputs: stated image, bgr",
        "inputs: stated",
    ),
    "size": ({"height": 32}, "", ""),
    "output": ({"output": "logits"}, "", ""),
    "other_units": (OTHER_UNITS, "", ""),
    "nothing": ({}, "", ""),
}


@pytest.mark.parametrize("own", [False, True], ids=["registered", "own"])
@pytest.mark.parametrize("name", STATED)
def test_what_a_package_states_agrees_with_its_network(name, own):
    changes, *words = STATED[name]
    stated = replace(SPEC, **changes)
    if not words[own]:
        require_agreeing("a.mlpackage", stated, SPEC, own=own)
        return
    with pytest.raises(PackageError, match=r"a\.mlpackage states for apps what contradicts its network") as caught:
        require_agreeing("a.mlpackage", stated, SPEC, own=own)
    assert [words[own] in line for line in caught.value.context] == [True]


def test_what_a_network_of_the_users_own_states_counts_and_the_rest_is_the_packages():
    network, stated = replace(SPEC, threshold=0.3), replace(SPEC, threshold=0.4, resize="fit")
    with pytest.raises(PackageError) as caught:
        require_agreeing("a.mlpackage", stated, network, own=True)
    assert caught.value.context == ("threshold: stated 0.4; the network has 0.3",)
    assert completed(stated, network) == replace(network, resize="fit")
    assert completed(stated, SPEC) == stated


# What parity says of a package whose metadata alone were changed.
CHANGED = {
    "threshold": ({"threshold": 0.99}, "contradicts its network", "threshold: stated 0.99"),
    "crop": ({"resize": "crop"}, "contradicts its network", "resize: stated crop"),
    "depth": ({"inputs": ("image", "depth")}, "is not what its metadata", "the program takes image"),
    "output": (
        {"output": "logits"},
        "is not what its metadata",
        "output: stated logits; the program returns mask (image)",
    ),
    "size": ({"height": 128}, "is not what its metadata", "size: stated 128x64; the program takes 64×64"),
    "both": ({"height": 128, "output": "multiarray"}, "is not what its metadata", "size: stated 128x64"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_parity_refuses_a_package_that_states_something_else(package, photos, name):
    changes, message, words = CHANGED[name]
    state(package, replace(SPEC, **changes))
    with pytest.raises(PackageError) as caught:
        pe.check_parity(package, **MODEL, data=photos)
    assert caught.value.code == "contradicted-spec"
    assert message in caught.value.message
    assert words in str(caught.value.context[0])
    assert len(caught.value.context) == (2 if name == "both" else 1)


def test_parity_takes_the_same_normalisation_in_other_units(package, photos):
    state(package, replace(SPEC, **OTHER_UNITS))
    assert pe.check_parity(package, **MODEL, data=photos).passed


@pytest.mark.parametrize("output", ["mask", "multiarray", "logits"])
def test_every_kind_of_output_is_as_stated(output, photos, tmp_path):
    export = pe.export(**MODEL, size=(64, 64), output=output, out=tmp_path, parity=False)
    assert pe.check_parity(export.package.path, **MODEL, data=photos, min_iou=0.9).passed


def test_a_package_of_the_users_own_network_is_compared_as_it_states(small_export, photos, tmp_path):
    """Neither the threshold nor the resizing is given again; given otherwise, they contradict the package."""
    onnx = tmp_path / "own.onnx"
    onnx.write_bytes((small_export / "segformer_b0.onnx").read_bytes())
    strip(onnx)
    (tmp_path / "as_made.toml").write_text('threshold = 0.4\nresize = "fit"\n')
    (tmp_path / "another.toml").write_text("threshold = 0.3\n")
    given: dict[str, Any] = {"onnx": onnx, "mean": 0.5, "std": 0.5}
    export = pe.export(**given, preprocessing=tmp_path / "as_made.toml", out=tmp_path / "out", parity=False)
    assert pe.check_parity(export.package.path, **given, data=photos, min_iou=0.9).passed
    with pytest.raises(PackageError, match="contradicts its network"):
        pe.check_parity(export.package.path, **given, preprocessing=tmp_path / "another.toml", data=photos)


def strip(path: Path) -> None:
    """Remove an ONNX file's metadata, as another tool would have written it."""
    import onnx

    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)
