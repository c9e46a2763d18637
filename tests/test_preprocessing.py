"""A PortraitSpec from a file is refused unless every value in it can be used; one that we wrote is read as it was."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from portrait_export.errors import UsageError
from portrait_export.preprocessing import Picture, PortraitSpec

NAN = math.nan
BACKGROUND = Picture("bgr", "background", "rgb", 1 / 255, (0.5, 0.5, 0.5), (1.0, 1.0, 1.0))
WITH_PICTURE = PortraitSpec(inputs=("image", "bgr"), pictures=(BACKGROUND,))
# Values that a damaged or hostile file may state, by field, and the words that name the fault.
NO_NUMBERS = (None, "x", NAN, math.inf, True, [], [0.5], 10**400, 1e308)
REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "threshold": ((*NO_NUMBERS, 0, 1, -0.5, 1.5), "threshold must be a number between 0 and 1"),
    "scale": ((*NO_NUMBERS, 0, 1e-40, -1), "scale must be a finite number above 0"),
    "mean": ((None, 0.5, "abc", [], [0.5] * 2, [0.5, 0.5, NAN], [None] * 3, ["x"] * 3, [10**400] * 3), "mean and std"),
    "std": ((None, 0.5, "abc", [], [0.5] * 2, [NAN] * 3, [1, 1, 0], [1, 1, -1], [1, 1, 1e-40], [[]] * 3), "std > 0"),
    "height": ((None, "x", NAN, 1.5, True, 0, -1, 2**70, [512]), "not within 1..16384 pixels"),
    "width": ((None, "x", NAN, 1.5, True, 0, -1, 2**70, [512]), "not within 1..16384 pixels"),
    "inputs": ((None, 5, "image", [], ["depth"], ["image", 5], ["image", "image"], ["image", "x"]), "inputs must be"),
    "color": ((None, 5, "cmyk", [], {}), "color cannot be"),
    "resize": ((None, 5, "x", []), "resize cannot be"),
    "output": ((None, 5, "x", []), "output cannot be"),
    "positive": ((None, 5, "x", []), "positive cannot be"),
}
ROWS = [(field, value, words) for field, (values, words) in REFUSED.items() for value in values]


@pytest.mark.parametrize(("field", "value", "words"), ROWS, ids=lambda value: str(value)[:24])
def test_a_value_that_cannot_be_used_is_refused(field, value, words):
    with pytest.raises(UsageError) as caught:
        PortraitSpec.from_json(json.dumps({**PortraitSpec().to_dict(), field: value}), source="a.mlpackage")
    assert "a.mlpackage states no usable PortraitSpec" in caught.value.message
    assert words in caught.value.message
    assert len(caught.value.message) < 400  # whatever the value is


@pytest.mark.parametrize("value", [None, 5, "", "image"])
def test_a_picture_needs_a_name_of_its_own(value):
    picture = {**WITH_PICTURE.to_dict()["pictures"][0], "name": value}
    data = {**WITH_PICTURE.to_dict(), "inputs": ["image", value], "pictures": [picture]}
    with pytest.raises(UsageError, match=r"Picture.name|inputs must be"):
        PortraitSpec.from_json(json.dumps(data))


TEXTS = ["", "null", "[]", "NaN", "[" * 100_000, '{"a":' * 50_000, '{"a": ' + "9" * 5000 + "}"]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:8])
def test_a_text_that_is_no_spec_is_refused(text):
    with pytest.raises(UsageError, match="This is not a PortraitSpec"):
        PortraitSpec.from_json(text)


SOUND = {
    "the_default": PortraitSpec(),
    "depth": PortraitSpec(inputs=("image", "depth")),
    "gray": PortraitSpec(color="gray", mean=(0.5,), std=(0.2,)),
    "pictures": WITH_PICTURE,
    "whole_numbers": PortraitSpec(scale=1, mean=(0, 0, 0), std=(255, 255, 255)),
    "far_threshold": PortraitSpec(threshold=0.999999),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_spec_survives_json(name):
    assert PortraitSpec.from_json(SOUND[name].to_json()) == SOUND[name]
