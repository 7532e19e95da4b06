"""Find, load and look up plugins. Loading returns a value: there is no global registry."""

from __future__ import annotations

import functools
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pluggy

from xmc import hookspecs
from xmc.errors import PluginError, XmcWarning, did_you_mean
from xmc.specs import Spec
from xmc.values import IndexReport, RunInfo

GROUP = "xmc"
CORE = "core"
KINDS = {
    "loss": "xmc_losses",
    "index": "xmc_indexes",
    "encoder": "xmc_encoders",
    "head": "xmc_heads",
    "reranker": "xmc_rerankers",
    "augmentation": "xmc_augmentations",
    "optimizer": "xmc_optimizers",
    "metric": "xmc_metrics",
    "check": "xmc_checks",
    "recipe": "xmc_recipes",
}
NAME_PATTERN = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class LoadedPlugin:
    """A plugin that answers: its entry-point name and the distribution it came with."""

    name: str
    distribution: str
    version: str


@dataclass(frozen=True)
class FailedPlugin:
    """A plugin that could not be loaded; nothing of it is used, and its error is raised only when it is asked for."""

    name: str
    distribution: str
    error: BaseException

    def describe(self) -> str:
        """One line: type and text of the error."""
        return f"{type(self.error).__name__}: {self.error}"


@dataclass(frozen=True)
class Offer:
    """A spec with the plugin that offers it; `full_name` is what a configuration names."""

    plugin: str
    spec: Spec

    @property
    def full_name(self) -> str:
        """`plugin.name`, or the bare name when the plugin and the thing are called the same or core offers it."""
        return self.spec.name if self.plugin in (CORE, self.spec.name) else f"{self.plugin}.{self.spec.name}"


@dataclass(frozen=True)
class Plugins:
    """All loaded plugins and what they offer; made by `load_plugins`."""

    loaded: tuple[LoadedPlugin, ...]
    failed: tuple[FailedPlugin, ...]
    offers: Mapping[str, tuple[Offer, ...]]
    _manager: pluggy.PluginManager = field(repr=False)

    def find(self, kind: str, name: str) -> Offer:
        """Look up one thing by full name, or by short name when only one plugin offers it.

        Raises: PluginError for an unknown or ambiguous name, or for a name that belongs to a failed plugin.
        """
        offers = self.offers[kind]
        for offer in offers:
            if offer.full_name == name:
                return offer
        short = [offer for offer in offers if offer.spec.name == name]
        if len(short) == 1:
            return short[0]
        names = sorted(offer.full_name for offer in offers)
        if short:
            candidates = ", ".join(sorted(offer.full_name for offer in short))
            raise PluginError(f"{kind} '{name}' is offered by several plugins: {candidates}.", hint="Use a full name.")
        self.require_not_failed(name.partition(".")[0])
        raise PluginError(
            f"unknown {kind} '{name}'. {did_you_mean(name, [*names, *(o.spec.name for o in offers)])}".strip(),
            hint=f"Installed: {', '.join(names) or 'none'} (see: xmc plugins).",
        )

    def require_not_failed(self, plugin: str) -> None:
        """Raise the PluginError of `plugin` if it is installed but failed to load."""
        for failed in self.failed:
            if failed.name == plugin:
                raise PluginError(
                    f"plugin '{plugin}' ({failed.distribution}) failed to load: {failed.describe()}.",
                    hint="Mend or uninstall it, or leave it out with XMC_DISABLED_PLUGINS.",
                ) from failed.error

    def recipe(self, plugin: str) -> dict[str, Any]:
        """The configuration of `--plugin NAME`: the plugin's recipe of its own name, or the recipe called NAME.

        Raises: PluginError when there is none, or when the plugin failed to load.
        """
        self.require_not_failed(plugin)
        return cast("dict[str, Any]", self.find("recipe", plugin).spec.load())

    def run_started(self, run: RunInfo) -> None:
        """Tell observers that a run begins."""
        self._tell("xmc_run_started", run=run)

    def epoch_finished(self, run: RunInfo, epoch: int, metrics: Mapping[str, float]) -> None:
        """Tell observers that an epoch ended."""
        self._tell("xmc_epoch_finished", run=run, epoch=epoch, metrics=metrics)

    def index_built(self, run: RunInfo, report: IndexReport) -> None:
        """Tell observers that an index was committed."""
        self._tell("xmc_index_built", run=run, report=report)

    def run_finished(self, run: RunInfo, error: BaseException | None) -> None:
        """Tell observers that a run ended, well or not."""
        self._tell("xmc_run_finished", run=run, error=error)

    def _tell(self, hook: str, **facts: Any) -> None:
        """Call every observer, the newest first; one that raises is warned about and changes nothing else."""
        for observer in reversed(getattr(self._manager.hook, hook).get_hookimpls()):
            try:
                observer.function(*(facts[name] for name in observer.argnames))
            except Exception as error:  # an observer may raise anything, and a run must not depend on who watches
                message = f"plugin '{observer.plugin_name}' failed in {hook}: {type(error).__name__}: {error}"
                warnings.warn(message, XmcWarning, stacklevel=3)


def load_plugins(
    *,
    entry_points: Iterable[metadata.EntryPoint] | None = None,
    disabled: Iterable[str] | None = None,
    plugin_file: Path | None = None,
) -> Plugins:
    """Load every installed plugin of the group `xmc`; one that fails is recorded, not raised.

    `entry_points` replaces the installed ones (tests); `disabled` names what to leave out and defaults to the
    comma-separated `XMC_DISABLED_PLUGINS`; `plugin_file` is a Python file that is a plugin without packaging.
    Raises: PluginError when two plugins offer the same full name.
    """
    manager = pluggy.PluginManager("xmc")
    manager.add_hookspecs(hookspecs)
    found = metadata.entry_points(group=GROUP) if entry_points is None else entry_points
    blocked = os.environ.get("XMC_DISABLED_PLUGINS", "").split(",") if disabled is None else disabled
    skip = {name.strip() for name in blocked}
    loaded: list[LoadedPlugin] = []
    failed: list[FailedPlugin] = []
    offers: dict[str, list[Offer]] = {kind: [] for kind in KINDS}
    described = functools.cache(_described)
    for entry_point in sorted(found, key=lambda e: e.name):
        if entry_point.name in skip or manager.has_plugin(entry_point.name):
            continue  # decided before load: a disabled plugin runs no code
        name, version = described(entry_point.dist)
        try:
            _register(manager, entry_point.name, entry_point.load(), offers)
        except Exception as error:  # a plugin may raise anything at import, and must not take the host down
            failed.append(FailedPlugin(entry_point.name, f"{name} {version}" if name else "no distribution", error))
        else:
            loaded.append(LoadedPlugin(entry_point.name, name, version))
    if plugin_file is not None:
        _register(manager, plugin_file.stem, _import_file(plugin_file), offers)
        loaded.append(LoadedPlugin(plugin_file.stem, str(plugin_file), ""))
    _refuse_duplicates(offers)
    frozen = {kind: tuple(sorted(found, key=lambda o: o.full_name)) for kind, found in offers.items()}
    return Plugins(tuple(loaded), tuple(failed), frozen, manager)


def _described(distribution: metadata.Distribution | None) -> tuple[str, str]:
    """Name and version; each question makes the library parse the whole description, so ask once a distribution."""
    return (distribution.name, distribution.version) if distribution else ("", "")


def _register(manager: pluggy.PluginManager, name: str, module: object, offers: dict[str, list[Offer]]) -> None:
    """Register one plugin and collect what it declares, or leave no trace of it and raise."""
    try:
        manager.register(module, name=name)
        manager.check_pending()
        declared = {kind: _declared(module, name, hook) for kind, hook in KINDS.items()}
    except Exception:
        if manager.has_plugin(name):
            manager.unregister(name=name)  # registered, then refused: else every later check_pending raises
        raise
    for kind, specs in declared.items():
        offers[kind].extend(Offer(name, spec) for spec in specs)


def _declared(module: object, plugin: str, hook: str) -> list[Spec]:
    function = getattr(module, hook, None)
    if function is None:
        return []
    specs = list(function())
    for spec in specs:
        if not isinstance(spec, Spec) or KINDS[spec.kind] != hook:
            raise TypeError(f"{hook} of plugin '{plugin}' must return specs of its kind, got {spec!r}")
        if not NAME_PATTERN.fullmatch(spec.name):
            raise ValueError(f"{hook} of plugin '{plugin}': name {spec.name!r} must be lower-case words joined by '-'")
    return specs


def _refuse_duplicates(offers: Mapping[str, list[Offer]]) -> None:
    for kind, found in offers.items():
        by_name: dict[str, Offer] = {}
        for offer in found:
            other = by_name.setdefault(offer.full_name, offer)
            if other is not offer:
                raise PluginError(
                    f"{kind} '{offer.full_name}' is offered by plugin '{other.plugin}' and by plugin '{offer.plugin}'.",
                    hint="Leave one out with XMC_DISABLED_PLUGINS.",
                )


def _import_file(path: Path) -> ModuleType:
    import importlib.util

    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise PluginError(f"plugin file {path} failed to load: {type(error).__name__}: {error}.") from error
    return module
