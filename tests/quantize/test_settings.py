"""Rules from TOML files: which weights they take, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from portrait_export.errors import PortraitError, QuantizeError
from portrait_export.quantize.assignment import Storage
from portrait_export.quantize.encode import LEFT_LIGHT
from portrait_export.quantize.layer import Layer
from portrait_export.quantize.layers import Weights
from portrait_export.quantize.settings import LEFT_BY_DEFAULT, LEFT_BY_RULE, assign_by_rules, read_settings

LAYERS = {
    "stem_weight": Layer("stem_weight", (8, 3, 3, 3), ("conv",), edge=True),
    "block_dense": Layer("block_dense", (64, 64), ("linear",)),
    "block_depthwise": Layer("block_depthwise", (64, 1, 3, 3), ("conv",), grouped=True),
    "memory": Layer("memory", (64, 64), ("gru",)),
}
WEIGHTS = Weights(LAYERS, {}, {}, {"table": "read by gather, which is not a layer"})


def read(tmp_path: Path, text: str, target: str = "iOS18"):
    file = tmp_path / "rules.toml"
    file.write_text(text)
    return read_settings(file, target=target)


def assigned(tmp_path: Path, text: str):
    return assign_by_rules(WEIGHTS, read(tmp_path, text), file="rules.toml")


def test_the_first_rule_that_takes_a_weight_decides_and_holds_exactly(tmp_path):
    found = assigned(
        tmp_path,
        """
        recipe = "palette4"
        [[rules]]
        weights = "*depthwise"
        recipe = "palette3"
        [[rules]]
        operations = ["conv", "gru"]
        weights = ["*_*", "mem*"]
        recipe = "none"
        """,
    )
    assert found.stored == {"block_dense": Storage("palette", 4), "block_depthwise": Storage("palette", 3)}
    assert found.left == {**WEIGHTS.left, "stem_weight": LEFT_BY_RULE, "memory": LEFT_BY_RULE}


def test_the_default_keeps_8_bits_in_sensitive_layers(tmp_path):
    found = assigned(tmp_path, 'recipe = "palette4"')
    assert {name: storage.bits for name, storage in found.stored.items()} == {
        "stem_weight": 8,
        "block_dense": 4,
        "block_depthwise": 8,
        "memory": 8,
    }


def test_the_default_leaves_light_layers_and_a_rule_can_take_them(tmp_path):
    light = replace(WEIGHTS, layers={"stem_weight": replace(LAYERS["stem_weight"], light=True)})
    settings = read(tmp_path, 'recipe = "palette4"')
    assert assign_by_rules(light, settings, file="rules.toml").left == {**WEIGHTS.left, "stem_weight": LEFT_LIGHT}
    rule = read(tmp_path, '[[rules]]\nweights = "stem*"\nrecipe = "int8"')
    assert assign_by_rules(light, rule, file="rules.toml").stored == {"stem_weight": Storage("channels", 8)}


def test_without_a_default_the_other_weights_stay_as_they_are(tmp_path):
    found = assigned(tmp_path, '[[rules]]\nweights = "block_dense"\nrecipe = "int4-block32"')
    assert found.stored == {"block_dense": Storage("blocks", 4, 32)}
    assert found.left["memory"] == LEFT_BY_DEFAULT


def test_patterns_that_fit_nothing_are_refused_all_at_once(tmp_path):
    text = """
        [[rules]]
        weights = ["block_*", "*decoder*"]
        recipe = "palette4"
        [[rules]]
        operations = "matmul"
        recipe = "int8"
        [[rules]]
        weights = "block_dense"
        recipe = "int8"
        """
    with pytest.raises(QuantizeError) as caught:
        assigned(tmp_path, text)
    assert "rules.toml has patterns that fit no weight" in caught.value.message
    assert caught.value.context == (
        "rules[0]: weights '*decoder*' fit none",
        "rules[1]: operations 'matmul' fit none",
        "rules[2] takes no weight: its patterns fit none together, or earlier rules do",
    )
    assert "block_depthwise" in caught.value.hint


REFUSED = {
    "an unknown key": ('recipes = "int8"', "recipes: not a setting; did you mean `recipe`"),
    "an unknown key of a rule": ('[[rules]]\nrecipe = "int8"\nweight = "*"', "rules[0].weight: not a setting"),
    "an unknown recipe": ('recipe = "int9"', "not a recipe for a single weight; did you mean `int8`"),
    "a recipe for whole networks": ('recipe = "mixed"', "not a recipe for a single weight"),
    "a number": ("recipe = 4", "not a recipe for a single weight"),
    "a rule without a recipe": ('[[rules]]\nweights = "*"', "rules[0] has no recipe"),
    "a rule without patterns": ('[[rules]]\nrecipe = "int8"', "rules[0] has no patterns"),
    "a pattern that is no text": ('[[rules]]\nrecipe = "int8"\nweights = [1]', "expected text"),
    "no TOML": ("recipe = ", "is not TOML"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(tmp_path, case):
    text, complaint = REFUSED[case]
    with pytest.raises(PortraitError) as caught:
        read(tmp_path, text)
    assert complaint in str(caught.value)


def test_a_recipe_that_the_target_does_not_support_is_refused(tmp_path):
    with pytest.raises(QuantizeError, match="Recipe palette3 needs iOS18; the deployment target is iOS17"):
        read(tmp_path, '[[rules]]\nweights = "*"\nrecipe = "palette3"', target="iOS17")
