"""Keyword arguments become a source; wrong ones are refused in Python's words."""

from __future__ import annotations

from pathlib import Path

import pytest

from portrait_export.api.arguments import require_known, source_of
from portrait_export.errors import UsageError


def test_a_registered_model():
    source = source_of(model="serseg_b0", checkpoint="weights.pth", size=(64, 96))
    assert (source.model, source.checkpoint, source.size) == ("serseg_b0", Path("weights.pth"), (64, 96))
    assert source.foreign is None


def test_a_network_of_the_users_own():
    settings = {"mean": 0.5, "std": [0.1, 0.2, 0.3], "person_class": "1-3", "fix_inputs": {"r1": 0}, "color": "bgr"}
    network = source_of(onnx="net.onnx", network=settings).foreign
    assert network is not None
    assert (network.onnx, network.color) == (Path("net.onnx"), "bgr")
    assert (network.mean, network.std) == ((0.5, 0.5, 0.5), (0.1, 0.2, 0.3))
    assert (network.person_class, network.fix_inputs) == ((1, 2, 3), (("r1", 0.0),))


REFUSED = {
    "text_size": (
        {"size": "64x64"},
        r"A size is \(height, width\) in whole pixels, such as \(512, 512\); found '64x64'",
    ),
    "one_side": ({"size": (64,)}, r"found \(64,\)"),
    "empty_path": ({"checkpoint": ""}, "A path is empty"),
    "four_means": (
        {"onnx": "a.onnx", "network": {"mean": [1, 2, 3, 4]}},
        r"`mean=\[1, 2, 3, 4\]` cannot be used: expected one number or three, found 4",
    ),
    "unknown_color": ({"onnx": "a.onnx", "network": {"color": "rbg"}}, "`color='rbg'` cannot be used"),
    "no_mapping_to_fix_inputs": (
        {"onnx": "a.onnx", "network": {"fix_inputs": 3}},
        'such as {"ratio": 0.25}; found int',
    ),
    "no_mapping_to_carry": ({"onnx": "a.onnx", "network": {"carry": "r1i"}}, "`carry=` maps inputs, .* found str"),
    "no_path": ({"onnx": "a.onnx", "network": {"preprocessing": 3}}, "A path is a string or a pathlib.Path; found an"),
    "text_in_fix_inputs": ({"onnx": "a.onnx", "network": {"fix_inputs": {"r": "x"}}}, "is not a number"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unusable_values_are_refused(name):
    arguments, message = REFUSED[name]
    with pytest.raises(UsageError, match=message):
        source_of(**arguments)


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(UsageError, match="`target='ios17'` does not exist") as caught:
        require_known("target", "ios17", ["iOS16", "iOS17"])
    assert caught.value.hint.startswith("did you mean `iOS17`?")


@pytest.mark.parametrize(("argument", "value"), [("recipes", "int9"), ("activations", "mini"), ("target", "iOS9")])
def test_the_names_are_listed_in_one_plural(argument, value):
    with pytest.raises(UsageError) as caught:
        require_known(argument, value, ["int8", "minmax", "iOS17"])
    assert f"The {argument.removesuffix('s')}s are: " in caught.value.hint
