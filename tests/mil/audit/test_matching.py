"""The original of each stored weight is found among a network's weights, whatever conversion made of it."""

from __future__ import annotations

import numpy as np
import pytest

from portrait_export.mil.audit.matching import Stored, match
from portrait_export.mil.audit.originals import Original

from .packages import gaussian

NETWORK = {
    "stem.weight": gaussian(0, (32, 3, 3, 3)),
    "block.0.query.weight": gaussian(1, (64, 64)),
    "block.0.key.weight": gaussian(2, (64, 64)),
    "block.0.sr.weight": gaussian(3, (64, 64, 2, 2)),
    "up.weight": gaussian(4, (16, 8, 2, 2)),
    "head.weight": gaussian(5, (1, 256, 1, 1)),
}


def in_two_bits(weight: np.ndarray) -> np.ndarray:
    table = np.quantile(weight, [0.1, 0.4, 0.6, 0.9])
    return table[np.abs(weight[..., None] - table).argmin(axis=-1)].astype(np.float16)


# Name → the weight as it is stored, and its original's title.
STORED = {
    "as it is": (NETWORK["stem.weight"], "stem.weight"),
    "in two bits": (in_two_bits(NETWORK["block.0.key.weight"]), "block.0.key.weight"),
    "half of its values pruned": (
        np.where(np.abs(NETWORK["block.0.query.weight"]) > 0.08, NETWORK["block.0.query.weight"], 0),
        "block.0.query.weight",
    ),
    "nearly all of its values pruned": (
        np.where(np.abs(NETWORK["block.0.query.weight"]) > 0.32, NETWORK["block.0.query.weight"], 0),
        "block.0.query.weight",
    ),
    "a linear layer as a convolution": (NETWORK["block.0.key.weight"][..., None, None], "block.0.key.weight"),
    "transposed": (NETWORK["block.0.key.weight"].T, "block.0.key.weight"),
    "channels last": (NETWORK["stem.weight"].transpose(2, 3, 1, 0), "stem.weight"),
    "a convolution as a matrix": (NETWORK["block.0.sr.weight"].reshape(64, 256), "block.0.sr.weight"),
    "a convolution as a transposed matrix": (NETWORK["block.0.sr.weight"].reshape(64, 256).T, "block.0.sr.weight"),
    "without sides of one": (NETWORK["head.weight"].reshape(1, 256), "head.weight"),
}


@pytest.mark.parametrize("name", STORED)
def test_a_weight_is_found_by_its_values(name):
    values, title = STORED[name]
    found = match([Stored("w", values, True)], NETWORK)("w", values)
    assert isinstance(found, Original)
    assert found.title == title
    assert found.values.shape == values.shape


def test_of_a_weight_and_its_half_the_nearer_is_found():
    whole, half = NETWORK["block.0.key.weight"], NETWORK["block.0.key.weight"] / 2
    network = {**NETWORK, "scaled": half}
    assert match([Stored("w", half, True)], network)("w", half).title == "scaled"
    assert match([Stored("w", whole, True)], network)("w", whole).title == "block.0.key.weight"


def test_a_ruined_weight_gets_the_original_that_nothing_else_resembles():
    key, noise = NETWORK["block.0.key.weight"], gaussian(99, (64, 64))
    found = match([Stored("a", key, True), Stored("b", noise, True)], NETWORK)
    assert found("b", noise).title == "block.0.query.weight"
    assert found.elements == key.size


def test_a_ruined_weight_gets_the_original_of_its_name():
    noise = gaussian(99, (64, 64))
    found = match([Stored("block_0_key_weight_to_fp16_palettized", noise, False)], NETWORK)
    assert found("block_0_key_weight_to_fp16_palettized", noise).title == "block.0.key.weight"


def one_huge(weight: np.ndarray) -> np.ndarray:
    """The highest bit of an exponent of half precision, flipped."""
    changed = weight.astype(np.float16)
    changed.flat[7] = 3000
    return changed


# Name → what became of the plain weight of a layer.
RUINED = {
    "one huge value": one_huge,
    "zeros": np.zeros_like,
    "noise": lambda weight: gaussian(99, weight.shape),
    "shifted by one": lambda weight: np.roll(weight, 1),
}


@pytest.mark.parametrize("name", RUINED)
def test_a_ruined_plain_weight_of_a_layer_gets_its_original(name):
    weights = {title: values for title, values in NETWORK.items() if values.size > 256}
    key = "block.0.key.weight"
    ruined = RUINED[name](weights[key])
    others = [Stored(f"w{i}", value, False, True) for i, (title, value) in enumerate(weights.items()) if title != key]
    variants = {f"{title} (not simplified)": value * np.float32(1.5) for title, value in weights.items()}
    found = match([*others, Stored("w", ruined, False, True)], {**variants, **weights})("w", ruined)
    assert isinstance(found, Original)
    assert found.title.removesuffix(" (not simplified)") == key


def test_a_weight_has_no_original_where_others_resemble_all_of_its_shape():
    """Such as one that a converter computes."""
    key, noise = NETWORK["block.0.key.weight"], gaussian(99, (64, 64))
    network = {"key": key, "key (not simplified)": key * 2}
    found = match([Stored("a", key, False, True), Stored("b", noise, False, True)], network)
    assert found("b", noise) == "no weight of the network resembles it"


SMALL = gaussian(6, (24,))
# Name → a small constant, whether it is a layer's weight, and whether it has an original.
SMALLS = {
    "as it is": (SMALL.astype(np.float16), False, True),
    "one value damaged": (np.where(np.arange(24) == 3, 3000, SMALL).astype(np.float16), False, True),
    "a bias with a folded norm": (SMALL + gaussian(7, (24,)), False, False),
    "a layer's weight, negated": (-SMALL, True, True),
    "a layer's weight of noise": (gaussian(7, (24,)), True, True),
    "all values equal": (np.ones(24), False, False),
}


@pytest.mark.parametrize("name", SMALLS)
def test_a_small_constant_has_an_original_where_that_is_sure(name):
    values, weight, sure = SMALLS[name]
    found = match([Stored("w", values, False, weight)], {"small": SMALL})
    assert isinstance(found("w", values), Original) == sure
    assert found.elements == 0


def test_a_plain_constant_that_is_no_weight_has_no_original():
    noise = gaussian(99, (64, 64))
    found = match([Stored("position_table", noise, False), Stored("other", gaussian(1, (7, 41)), False)], NETWORK)
    assert found("position_table", noise) == "no weight of the network resembles it"
    assert found("other", gaussian(1, (7, 41))) == "no weight of the network has its shape"
    assert found.elements == 0
