"""One part of a run (encoder, head, loss, ...) as its section of the configuration names it, with its options built."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xmc.config import build_options
from xmc.errors import ConfigError, PluginError
from xmc.plugin_manager import Plugins

METHODS = {  # that the options of a part must have
    "encoder": ("build", "load", "load_training"),
    "head": ("build",),
    "loss": ("__call__",),
    "augmentation": ("build", "fingerprint"),
    "optimizer": ("build",),
    "index": ("build", "load"),
    "reranker": (),
}


@dataclass(frozen=True)
class Component:
    """A plugin's thing by its full name, with its options built."""

    name: str
    options: Any

    def to_dict(self) -> dict[str, Any]:
        """The section as plain values; what the options derive from one another is no setting."""
        values = dataclasses.asdict(self.options)
        settings = [field.name for field in dataclasses.fields(self.options) if field.init]
        return {"name": self.name, **{name: values[name] for name in settings}}


@dataclass(frozen=True)
class RecordedComponent(Component):
    """A part that a run was trained with, as it was written: `options` are plain values, its plugin is not asked."""

    def to_dict(self) -> dict[str, Any]:
        """The section as it was written."""
        return {"name": self.name, **self.options}


def recorded_component(kind: str, values: Mapping[str, Any], *, source: str) -> RecordedComponent:
    """The part that a section names, without asking its plugin. Raises: ConfigError for a missing name."""
    return RecordedComponent(_name_in(kind, values, source), _without_name(values))


def build_component(plugins: Plugins, kind: str, values: Mapping[str, Any], *, source: str) -> Component:
    """The part of this kind that a section of a configuration names; `source` names the configuration in errors.

    Raises: ConfigError for a missing name or wrong options; PluginError for an unknown name, and for a plugin whose
    options no run can be made with.
    """
    name = _name_in(kind, values, source)
    offer = plugins.find(kind, name)
    cls, options = offer.load(), _without_name(values)
    try:
        built = build_options(cls, options, section=kind, source=f"{source} ({name})")
    except ConfigError as error:
        if options.keys() - {field.name for field in dataclasses.fields(cls)}:
            error.hint = error.hint or f"For the options of another {kind} name it too: --set {kind}.name=NAME"
        raise
    component = Component(offer.full_name, built)
    _require_contract(kind, component)
    return component


def _name_in(kind: str, values: Mapping[str, Any], source: str) -> str:
    name = values.get("name")
    if not isinstance(name, str):
        raise ConfigError(f"{source}: [{kind}] needs a name.", hint=f"See: xmc plugins --kind {kind}")
    return name


def _without_name(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != "name"}


def _require_contract(kind: str, component: Component) -> None:
    """Refuse options that lack what a part of this kind is asked for.

    Or that the configuration of a run cannot hold: a run that was trained with them could not be opened.
    Raises: PluginError naming what is missing, or the option.
    """
    if missing := [name for name in METHODS[kind] if not callable(getattr(component.options, name, None))]:
        raise PluginError(
            f"{kind} '{component.name}' has no {' and no '.join(f'{name}()' for name in missing)}.",
            hint=f"In the plugin, give {type(component.options).__name__} what docs/plugins.md says of its kind.",
        )
    whose = f"{kind} '{component.name}' has an option"
    for field in dataclasses.fields(component.options):
        if field.name == "name" and field.init:
            raise PluginError(
                f"{whose} 'name', and [{kind}] name says which {kind} it is.",
                hint="In the plugin, call that field something else.",
            )
    for key, value in component.to_dict().items():
        if not _is_plain(value):
            raise PluginError(
                f"{whose} '{key}' that a configuration cannot hold, got {value!r}.",
                hint="In the plugin, make it a bool, a number, a text, or a list, tuple, dict or dataclass of these.",
            )


def _is_plain(value: Any) -> bool:
    """Whether TOML and JSON hold it, in the same order each time."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(each) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return all(each is not None and _is_plain(each) for each in value)
    return value is None or isinstance(value, (bool, int, float, str))
