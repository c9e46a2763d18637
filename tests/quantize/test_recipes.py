"""Every recipe has a summary and gates."""

from __future__ import annotations

import json

import pytest

from portrait_export.errors import QuantizeError
from portrait_export.quantize.apply import check_activations, check_recipe
from portrait_export.quantize.recipes import RECIPES, get_recipe


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_a_summary_and_a_stored_type(name):
    recipe = get_recipe(name)
    assert recipe.name == name
    assert len(recipe.summary) > 20
    assert recipe.compresses == (recipe.dtype is not None)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_gates(name):
    from portrait_export.verify.gates import kind_of, thresholds_for

    for trained in (True, False):
        assert thresholds_for(kind_of(name, "fp16"), trained=trained).psnr_db or trained


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(QuantizeError, match=r"no quantization recipe 'int9'\.\s+hint: did you mean `int8`"):
        get_recipe("int9")


def test_a_target_that_is_too_old_is_refused():
    with pytest.raises(QuantizeError, match="Recipe int8 needs iOS16; the deployment target is iOS15"):
        check_recipe(get_recipe("int8"), target="iOS15")


@pytest.mark.parametrize(("name", "target"), [("palette3", "iOS17"), ("int4-block32", "iOS16")])
def test_a_recipe_of_ios18_is_refused_for_an_older_target(name, target):
    with pytest.raises(QuantizeError, match=f"{name} needs iOS18; the deployment target is {target}"):
        check_recipe(get_recipe(name), target=target)


def test_error_compensation_is_refused_where_it_would_do_nothing():
    with pytest.raises(QuantizeError, match="Recipe none compresses no weights"):
        check_recipe(get_recipe("none"), target="iOS18", rounding="gptq")


def test_recipes_that_measure_photographs_are_not_judged_on_them():
    fitted = {name for name, recipe in RECIPES.items() if recipe.fitted()}
    assert set(RECIPES) - fitted == {"none", "int8"}
    assert get_recipe("int8").fitted("gptq")
    assert not get_recipe("int8").fitted("nearest")
    assert not get_recipe("none").fitted("gptq")


def test_the_command_lists_every_recipe(cli):
    ran = cli("recipes", "--json")
    rows = {row["name"]: row for row in json.loads(ran.out)}
    assert list(rows) == list(RECIPES)
    assert (rows["palette3"]["target"], rows["palette3"]["rounding"]) == ("iOS18", "gptq")
    assert all(name in cli("recipes").out for name in RECIPES)


@pytest.mark.parametrize("chosen", [{"method": "mse"}, {"asymmetric": True}], ids=["method", "asymmetric"])
def test_ranges_of_activations_are_refused_for_recipes_of_weights(chosen):
    asked = {"method": None, "asymmetric": False, **chosen}
    with pytest.raises(QuantizeError, match="Recipe int8 compresses weights alone"):
        check_activations(get_recipe("int8"), asked["method"], asymmetric=asked["asymmetric"], precision="fp16")


def test_activations_of_full_precision_are_refused():
    with pytest.raises(QuantizeError, match="Recipe w8a8 rounds half-precision activations; the precision is fp32"):
        check_activations(get_recipe("w8a8"), None, asymmetric=False, precision="fp32")


def test_activations_need_ios17():
    with pytest.raises(QuantizeError, match="Recipe w8a8 needs iOS17; the deployment target is iOS16"):
        check_recipe(get_recipe("w8a8"), target="iOS16")
