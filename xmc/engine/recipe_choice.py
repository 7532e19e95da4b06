"""`--plugin auto`: the recipe that suits the data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xmc.config import Settings, merge, parse_assignments, read_toml
from xmc.data.dataset import load_dataset
from xmc.data.recipe_advice import recipe_advice
from xmc.errors import ConfigError
from xmc.given_names import given_name
from xmc.given_paths import given_path

AUTO, DEFAULT = "auto", "dexml"


def settle_recipe(
    plugin: str, *, config_file: Path | None = None, settings: Settings = (), flags: Mapping[str, Any] | None = None
) -> tuple[str, str]:
    """The recipe that `plugin` names, and in words why if that is `auto`; the others say which data.

    >>> settle_recipe("linear")
    ('linear', '')
    >>> settle_recipe("auto", settings=["data.name=icd10cm"])
    ('dexml', 'recipe dexml: no other is known to suit these data better')

    Raises: ConfigError when `auto` has no data to look at; what `load_dataset` raises.
    """
    if given_name(plugin, name="plugin") != AUTO:
        return plugin, ""
    from_file = read_toml(given_path(config_file, name="config_file")) if config_file else {}
    name = _data_name([from_file, parse_assignments(settings), flags or {}])
    if not name:
        raise ConfigError(
            "--plugin auto chooses a recipe by the data, and no data set is named.",
            hint="Give --data NAME_OR_FOLDER, or name a recipe (docs/recipes.md).",
        )
    data = load_dataset(name)
    if advice := recipe_advice(data.train, data.labels.texts):
        return advice.recipe, f"recipe {advice.recipe}: it suits {advice.suits}"
    return DEFAULT, f"recipe {DEFAULT}: no other is known to suit these data better"


def _data_name(layers: list[Mapping[str, Any]]) -> str:
    """`[data] name` of the last layer that has it."""
    tree: dict[str, Any] = {}
    for layer in layers:
        tree = merge(tree, layer)
    section = tree.get("data", {})
    return str(section.get("name", "")) if isinstance(section, Mapping) else ""
