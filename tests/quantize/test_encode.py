"""How many bits a recipe gives each weight: as it says, or 8 where few bits harm most or hardly change the size."""

from __future__ import annotations

import pytest

from portrait_export.quantize import encode
from portrait_export.quantize.encode import bits_of, sensitive, weights_of
from portrait_export.quantize.layer import Layer
from portrait_export.quantize.layers import Weights
from portrait_export.quantize.recipes import RECIPES

LOW = [name for name, recipe in RECIPES.items() if 0 < recipe.bits < 8]


def layer(name: str, elements: int, **options) -> Layer:
    return Layer(name, (elements // 16, 16, 1, 1), ("conv",), **options)


@pytest.fixture
def found(monkeypatch):
    """`weights_of` a network of the given layers."""

    def of(*layers: Layer) -> dict[str, Layer]:
        weights = Weights({one.name: one for one in layers}, {}, {}, {})
        monkeypatch.setattr(encode, "find_weights", lambda function, min_elements: weights)
        return weights_of(None, RECIPES["palette4"]).layers

    return of


@pytest.mark.parametrize("recipe", LOW)
def test_the_smallest_weights_keep_8_bits_as_long_as_they_hardly_count(found, recipe):
    layers = found(layer("deep", 960_000), layer("early", 16_000), layer("first_block", 8_000), layer("next", 48_000))
    bits = {name: bits_of(one, RECIPES[recipe]) for name, one in layers.items()}
    low = RECIPES[recipe].bits
    assert bits == {"deep": low, "early": 8, "first_block": 8, "next": low}


def test_layers_that_keep_8_bits_anyway_take_no_share(found):
    layers = found(layer("depthwise", 30_000, grouped=True), layer("early", 16_000), layer("deep", 954_000))
    assert sensitive(layers["depthwise"])
    assert [name for name, one in layers.items() if one.small] == ["early"]


def test_a_network_of_a_few_equal_weights_has_no_small_ones(found):
    assert not any(one.small for one in found(*(layer(f"layer{n}", 16_000) for n in range(20))).values())


def test_recipes_of_8_bits_are_the_same_for_all(found):
    layers = found(layer("deep", 960_000), layer("early", 16_000))
    assert {bits_of(one, RECIPES["palette8"]) for one in layers.values()} == {8}
