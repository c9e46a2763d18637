"""Test how arguments are put into words."""

from __future__ import annotations

import pytest

from portrait_export.utils.wording import in_texts, in_words

WORDED = {
    "name": ("set by `min_iou=`; more", "set by min_iou; more"),
    "value": ("`rounding=gptq` compensates", "rounding gptq compensates"),
    "switch": ("pass `tune=True`", "pass tune"),
    "digits": ("`keep_fp32=`", "keep_fp32"),
    "no_argument": ("`portrait-export parity` and 1 = 1", "`portrait-export parity` and 1 = 1"),
}


@pytest.mark.parametrize("name", WORDED)
def test_arguments_are_put_into_words(name):
    text, expected = WORDED[name]
    assert in_words(text) == expected
    assert in_texts({"a": [(text, 1.5), None], text: True}, in_words) == {"a": [[expected, 1.5], None], text: True}
