"""How many bits a recipe gives each weight: as it says, or 8 where few bits harm most or hardly change the size."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from portrait_export.quantize import encode
from portrait_export.quantize.encode import LEFT_LIGHT, assign, bits_of, sensitive, weights_of
from portrait_export.quantize.layer import Layer
from portrait_export.quantize.layers import Weights
from portrait_export.quantize.recipes import RECIPES

LOW = [name for name, recipe in RECIPES.items() if 0 < recipe.bits < 8]


def layer(name: str, elements: int, **options) -> Layer:
    return Layer(name, (elements // 16, 16, 1, 1), ("conv",), **options)


@pytest.fixture
def found(monkeypatch):
    """The layers of `weights_of` a network of the given ones."""
    return lambda *layers: weights_in(monkeypatch, layers).layers


def weights_in(monkeypatch: pytest.MonkeyPatch, layers: Sequence[Layer]) -> Weights:
    weights = Weights({one.name: one for one in layers}, {}, {}, {})
    monkeypatch.setattr(encode, "find_weights", lambda function, min_elements: weights)
    return weights_of(None, min_elements=RECIPES["palette4"].min_elements)


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


@pytest.mark.parametrize("recipe", [name for name, recipe in RECIPES.items() if recipe.form not in ("none", "mixed")])
def test_first_and_last_layers_stay_as_they_are_where_that_costs_little(monkeypatch, recipe):
    first, last = layer("first", 16_000, edge=True), layer("last", 8_000, edge=True)
    weights = weights_in(monkeypatch, [first, layer("deep", 960_000), last])
    found = assign(weights, RECIPES[recipe])
    assert set(found.stored) == {"deep"}
    assert found.left == {"first": LEFT_LIGHT, "last": LEFT_LIGHT}


def test_a_large_first_layer_is_compressed_and_a_small_last_one_is_not(monkeypatch):
    weights = weights_in(
        monkeypatch, [layer("first", 40_000, edge=True), layer("deep", 900_000), layer("last", 4_000, edge=True)]
    )
    found = assign(weights, RECIPES["palette4"])
    assert {name: storage.bits for name, storage in found.stored.items()} == {"first": 8, "deep": 4}
    assert found.left == {"last": LEFT_LIGHT}
