"""Which plugins the parts of a run came from, as `plugins.json` keeps it.

The distributions are named when one is not installed, the checksums tell when a plugin file has changed.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from xmc.config import build_options
from xmc.errors import PluginError, XmcWarning
from xmc.plugin_manager import LoadedPlugin, Plugins
from xmc.store import write_json

PLUGINS_FILE = "plugins.json"
FACTS = ("name", "plugin", "distribution", "version")
ANSWERING = ("encoder", "head", "index", "reranker")
TRAINING = ("encoder", "head", "loss", "augmentation", "optimizer")


def write_run_plugins(run: Path, sections: Mapping[str, Mapping[str, Any]], plugins: Plugins) -> None:
    """Write for each part that is made now, kind to section, the plugin that offers it, distribution and version.

    So too for one of the same kind that an option names, as `kind.option`. What is written of other parts stays.
    """
    loaded = {each.name: each for each in plugins.loaded}
    facts = {part: values for part, values in _read(run).items() if _kind(part) not in sections}
    for part, name in _named(sections, plugins):
        found = loaded[plugins.find(_kind(part), name).plugin]
        facts[part] = {
            "name": name,
            "plugin": found.name,
            "distribution": found.distribution,
            "version": found.version,
        }
    write_json(run / PLUGINS_FILE, facts)


@runtime_checkable
class WithPlugins(Protocol):
    """Options that name another part."""

    def with_plugins(self, plugins: Plugins) -> Any:
        """The same with that part from these plugins."""


def recorded_options(plugins: Plugins, kind: str, facts: Mapping[str, Any]) -> Any:
    """The options of a part as `facts`, its `name` and its `options` as JSON has them, say that it was made.

    Raises: PluginError when it is not there; ConfigError for options that it does not take.
    """
    options_class, values = plugins.find(kind, facts["name"]).load(), facts["options"]
    if any(isinstance(value, (Mapping, list)) for value in values.values()):  # a dataclass or tuple, until it was JSON
        options = build_options(options_class, values, section=kind, source=f"recorded {kind} '{facts['name']}'")
    else:
        options = options_class(**values)
    return options.with_plugins(plugins) if isinstance(options, WithPlugins) else options


@contextlib.contextmanager
def naming_packages(run: Path, plugins: Plugins) -> Iterator[None]:
    """Add to a PluginError what the run was made with and is not there now."""
    try:
        yield
    except PluginError as error:
        if missing := _missing(run, plugins):
            raise PluginError(error.message, hint=" ".join(missing)) from error
        raise


def require_run_plugins(run: Path, plugins: Plugins) -> None:
    """Refuse a run with a part that answers and that no plugin offers here. Raises: PluginError."""
    with naming_packages(run, plugins):
        for part, facts in _read(run).items():
            if _kind(part) in ANSWERING:
                plugins.find(_kind(part), facts["name"])


def warn_of_other_files(
    run: Path, plugins: Plugins, kinds: Collection[str] = ANSWERING, *, stacklevel: int = 1
) -> None:
    """Warn where parts of these kinds were made with a plugin file whose content is another now."""
    now = {each.name: each for each in plugins.loaded if each.is_file}
    parts: dict[LoadedPlugin, list[str]] = {}
    for part, facts in _read(run).items():
        then = LoadedPlugin(facts["plugin"], facts["distribution"], facts["version"])
        if _kind(part) in kinds and then.is_file and now.get(then.name, then).version != then.version:
            parts.setdefault(then, []).append(part)
    for then, made in parts.items():
        warnings.warn(
            f"{run}: its {' and '.join(made)} came from {then.source}, {then.version[:19]}…; "
            f"{now[then.name].source} has another content now, {now[then.name].version[:19]}…, and may not "
            "do the same. Give the file as it was, or make these parts again.",
            XmcWarning,
            stacklevel=stacklevel + 1,
        )


def _missing(run: Path, plugins: Plugins) -> list[str]:
    there = {each.name for each in plugins.loaded}
    return [
        f"The run's {part} '{facts['name']}' came from {_origin(facts)}."
        for part, facts in _read(run).items()
        if facts["plugin"] not in there
    ]


def _kind(part: str) -> str:
    return part.partition(".")[0]


def _named(sections: Mapping[str, Mapping[str, Any]], plugins: Plugins) -> Iterator[tuple[str, str]]:
    """Each part and its full name, then those of its kind that its options name."""
    for kind, section in sections.items():
        yield kind, section["name"]
        offered = {offer.full_name for offer in plugins.offers[kind]}
        for option, value in section.items():
            if option != "name" and isinstance(value, str) and value in offered:
                yield f"{kind}.{option}", value


def _origin(facts: Mapping[str, str]) -> str:
    plugin = LoadedPlugin(facts["plugin"], facts["distribution"], facts["version"])
    if plugin.is_file:
        return f"{plugin.source}, {plugin.version[:19]}…: give it with --plugin-file"
    return f"{plugin.source}: pip install '{plugin.distribution}=={plugin.version}'"


def _read(run: Path) -> dict[str, dict[str, str]]:
    """What was written; nothing of a run that was made before there was such a file, nor of one that is damaged."""
    path = run / PLUGINS_FILE
    if not path.is_file():  # a pipe or a device would be read without end
        return {}
    try:
        parts = json.loads(path.read_text(encoding="utf-8")).items()
        return {part: {key: str(facts[key]) for key in FACTS} for part, facts in parts}
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return {}
