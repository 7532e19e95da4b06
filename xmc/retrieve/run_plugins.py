"""Where the parts of a run came from: `plugins.json` names distributions, for the day one is not installed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from xmc.errors import PluginError
from xmc.plugin_manager import LoadedPlugin, Plugins
from xmc.store import write_json

PLUGINS_FILE = "plugins.json"


def write_run_plugins(run: Path, names: Mapping[str, str], plugins: Plugins) -> None:
    """Write for each part, kind to full name, the plugin that offers it with its distribution and version."""
    loaded = {each.name: each for each in plugins.loaded}
    facts = {}
    for kind, name in names.items():
        found = loaded[plugins.find(kind, name).plugin]
        facts[kind] = {
            "name": name,
            "plugin": found.name,
            "distribution": found.distribution,
            "version": found.version,
        }
    write_json(run / PLUGINS_FILE, facts)


@contextlib.contextmanager
def naming_packages(run: Path, plugins: Plugins) -> Iterator[None]:
    """Add to a PluginError what the run was made with and is not there now."""
    try:
        yield
    except PluginError as error:
        if missing := _missing(run, plugins):
            raise PluginError(error.message, hint=" ".join(missing)) from error
        raise


def _missing(run: Path, plugins: Plugins) -> list[str]:
    there = {each.name for each in plugins.loaded}
    return [
        f"The run's {kind} '{facts['name']}' came from {_origin(facts)}."
        for kind, facts in _read(run).items()
        if facts["plugin"] not in there
    ]


def _origin(facts: Mapping[str, str]) -> str:
    plugin = LoadedPlugin(facts["plugin"], facts["distribution"], facts["version"])
    if plugin.is_file:
        return f"{plugin.source}, {plugin.version[:19]}…: give it with --plugin-file"
    return f"{plugin.source}: pip install '{plugin.distribution}=={plugin.version}'"


def _read(run: Path) -> dict[str, dict[str, str]]:
    """What was written; nothing of a run that was made before there was such a file."""
    try:
        facts: dict[str, dict[str, str]] = json.loads((run / PLUGINS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts
