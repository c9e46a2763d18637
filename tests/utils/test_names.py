"""Test that names are put into sentences with the right article."""

from __future__ import annotations

import pytest

from portrait_export.utils.names import with_article

NOUNS = {"EfficientNet-FPN": "an EfficientNet-FPN", "SegFormer": "a SegFormer", "int": "an int", "argmax": "an argmax"}


@pytest.mark.parametrize("noun", NOUNS)
def test_the_article_is_that_of_the_first_letter(noun):
    assert with_article(noun) == NOUNS[noun]
