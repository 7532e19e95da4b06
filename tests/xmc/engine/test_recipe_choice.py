"""Invariants: a named recipe is taken as it is, without a look at the data; `auto` is the recipe that suits them."""

import tomllib

import pytest

import xmc
from xmc.engine.recipe_choice import DEFAULT, settle_recipe
from xmc.errors import ConfigError, DataError
from xmc.plugin_manager import load_plugins


def test_a_named_recipe_needs_no_data():
    assert settle_recipe("linear", flags={"data": {"name": "/there/is/none"}}) == ("linear", "")


def test_auto_looks_at_the_data_that_the_last_layer_names(tmp_path):
    (tmp_path / "my.toml").write_text('[data]\nname = "tiny"\n')
    assert settle_recipe("auto", config_file=tmp_path / "my.toml")[0] == "dexml.frequent"
    recipe, why = settle_recipe("auto", config_file=tmp_path / "my.toml", settings=["data.name=icd10cm"])
    assert recipe == DEFAULT and "no other" in why
    recipe, why = settle_recipe("auto", settings=["data.name=icd10cm"], flags={"data": {"name": "tiny"}})
    assert recipe == "dexml.frequent" and "(85 % of all answers)" in why


def test_auto_without_data_says_so():
    with pytest.raises(ConfigError, match="no data set is named") as told:
        settle_recipe("auto")
    assert "--data" in told.value.hint
    with pytest.raises(DataError, match="there is no data set"):
        settle_recipe("auto", settings=["data.name=/there/is/none"])


def test_what_auto_may_take_is_installed():
    plugins = load_plugins()
    for recipe in (DEFAULT, "aggregate", "linear.fused", "dexml.passages", "dexml.frequent"):
        assert plugins.recipe(recipe)


def test_a_run_trained_with_auto_is_one_of_that_recipe(tmp_path):
    xmc.train_run("tiny", tmp_path / "run", plugin="auto", settings={"train.epochs": 1})
    config = tomllib.loads((tmp_path / "run/config.toml").read_text())
    assert config["labels"]["query_weight"] == config["fusion"]["prior"] == "auto"
