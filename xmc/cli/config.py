"""`xmc config`: print a full configuration as commented TOML."""

from __future__ import annotations

import typer

from xmc.cli.options import ConfigOption, PluginOption, SettingsOption


def config_command(
    plugin: PluginOption = "dexml", config: ConfigOption = None, settings: SettingsOption = None
) -> None:
    """Print the resolved configuration: a template to edit and pass to xmc train --config.

    Example: xmc config --plugin dexml > my.toml
    """
    from xmc.engine.recipe_choice import settle_recipe
    from xmc.engine.run_config import resolve, template
    from xmc.plugin_manager import load_plugins

    plugins = load_plugins()
    recipe, _ = settle_recipe(plugin, config_file=config, settings=settings or ())
    typer.echo(template(resolve(plugins, plugin=recipe, config_file=config, settings=settings or ()), plugins))
