"""Find, load and look up plugins. Loading returns a value: there is no global registry."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import pluggy

from xmc import hookspecs
from xmc.errors import ConfigError, PluginError, XmcWarning, did_you_mean, first_few
from xmc.plugin_registration import failing_as_plugin_file, import_file, register, withdraw
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
ENGINE = "xmc-engine"
FILE_VARIABLE = "XMC_PLUGIN_FILE"
FILE_VERSION = "sha256:"
RENAME = "Give its entry point, or what it offers, another name."


@dataclass(frozen=True)
class LoadedPlugin:
    """A plugin that answers: its entry-point name and the distribution it came with."""

    name: str
    distribution: str
    version: str

    @property
    def is_file(self) -> bool:
        """Whether it is a plugin file; its version is the checksum then."""
        return self.version.startswith(FILE_VERSION)

    @property
    def source(self) -> str:
        """Distribution and version, or the file it was read from."""
        if self.is_file:
            return f"the file {self.distribution}"
        return f"{self.distribution} {self.version}".strip() or "no distribution"


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

    def load(self) -> Any:
        """What the spec's target names, imported now. Raises: PluginError, whatever the plugin's own code raises."""
        try:
            return self.spec.load()
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"{self.spec.kind} '{self.full_name}' cannot be imported from {self.spec.target}: "
                f"{type(error).__name__}: {error}.",
                hint="Install what it needs or mend it, choose another one, or leave the plugin out with "
                "XMC_DISABLED_PLUGINS.",
            ) from error


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
            if name in (offer.full_name, f"{offer.plugin}.{offer.spec.name}"):
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
            hint=f"Installed: {', '.join(names) or 'none'} (see: xmc plugins). A plugin in a file: --plugin-file FILE.",
        )

    def is_own(self, kind: str, name: str) -> bool:
        """Whether xmc itself offers this, and not a plugin of others. Raises: as `find`."""
        plugin = self.find(kind, name).plugin
        return any(each.name == plugin and each.distribution == ENGINE for each in self.loaded)

    def require_not_failed(self, plugin: str) -> None:
        """Raise the PluginError of `plugin` if it is installed but failed to load, and no other has its name."""
        if any(each.name == plugin for each in self.loaded):
            return
        for failed in self.failed:
            if failed.name == plugin:
                raise PluginError(
                    f"plugin '{plugin}' ({failed.distribution}) failed to load: {failed.describe()}.",
                    hint="Mend or uninstall it, or leave it out with XMC_DISABLED_PLUGINS.",
                ) from failed.error

    def recipe(self, plugin: str) -> dict[str, Any]:
        """The configuration of `--plugin NAME`: the plugin's recipe of its own name, or the recipe called NAME.

        Raises: PluginError when there is none, when the plugin failed to load, or when its file cannot be read.
        """
        self.require_not_failed(plugin)
        try:
            offer = self.find("recipe", plugin)
        except PluginError as error:
            error.hint = self._instead_of_recipe(plugin) or error.hint
            raise
        return cast("dict[str, Any]", offer.load())

    def _instead_of_recipe(self, name: str) -> str:
        """What else has a name that was taken for one of a recipe, as a hint; empty where nothing has."""
        offered = [offer for found in self.offers.values() for offer in found]
        others = [each for each in offered if name in (each.plugin, each.full_name, each.spec.name)]
        if not others or any(each.spec.kind == "recipe" for each in others):
            return ""
        shown = first_few([f"{each.spec.kind} {each.full_name}" for each in others], str)
        first = f"{others[0].spec.kind}.name={others[0].full_name}"
        return f"There is no recipe of that name, but {shown}: leave --plugin out, and --set {first}"

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


def given_plugins(plugins: Plugins | None) -> Plugins:
    """These plugins, or all that are installed. Raises: ConfigError for what are no plugins; as `load_plugins`."""
    if plugins is not None and not isinstance(plugins, Plugins):
        raise ConfigError(
            f"plugins must be what xmc.plugin_manager.load_plugins() returns, got {type(plugins).__name__}."
        )
    return plugins or load_plugins()


def load_plugins(
    *,
    entry_points: Iterable[metadata.EntryPoint] | None = None,
    disabled: Iterable[str] | None = None,
    plugin_file: Path | None = None,
) -> Plugins:
    """Load every installed plugin of the group `xmc`; one that fails is recorded, not raised.

    One that has the name of another, or offers what another does, counts as failed; those of xmc itself come first, so
    they keep their names. `entry_points` replaces the installed ones (tests); `disabled` names what to leave out and
    defaults to the comma-separated `XMC_DISABLED_PLUGINS`; `plugin_file` is a Python file that is a plugin without
    packaging and defaults to `XMC_PLUGIN_FILE`, which `--plugin-file` sets.
    Raises: PluginError when the plugin file is broken, since it was asked for.
    """
    manager = pluggy.PluginManager("xmc")
    manager.add_hookspecs(hookspecs)
    found = metadata.entry_points(group=GROUP) if entry_points is None else entry_points
    blocked = os.environ.get("XMC_DISABLED_PLUGINS", "").split(",") if disabled is None else disabled
    skip = {name.strip() for name in blocked}
    loaded: dict[str, LoadedPlugin] = {}
    failed: list[FailedPlugin] = []
    offers: dict[str, list[Offer]] = {kind: [] for kind in KINDS}
    described = functools.cache(_described)
    enabled = [(*described(each.dist), each) for each in found if each.name not in skip]  # others run no code
    for name, version, entry_point in sorted(enabled, key=lambda each: (each[0] != ENGINE, each[2].name, each[0])):
        plugin = LoadedPlugin(entry_point.name, name, version)
        try:
            _require_free(plugin, loaded)
            _add(manager, plugin.name, entry_point.load(), offers)
        except (Exception, SystemExit) as error:  # a plugin may raise anything at import, and must not take us down
            failed.append(FailedPlugin(plugin.name, plugin.source, error))
        else:
            loaded[plugin.name] = plugin
    given = os.environ.get(FILE_VARIABLE, "")
    if path := plugin_file or (Path(given) if given else None):
        module, sha256 = import_file(path)
        plugin = LoadedPlugin(path.stem, str(path), f"{FILE_VERSION}{sha256}")
        _require_free(plugin, loaded)
        with failing_as_plugin_file(path):
            _add(manager, plugin.name, module, offers)
        loaded[plugin.name] = plugin
    frozen = {kind: tuple(sorted(found, key=lambda o: o.full_name)) for kind, found in offers.items()}
    return Plugins(tuple(loaded[name] for name in sorted(loaded)), tuple(failed), frozen, manager)


def _described(distribution: metadata.Distribution | None) -> tuple[str, str]:
    """Name and version; each question makes the library parse the whole description, so ask once a distribution."""
    return (distribution.name, distribution.version) if distribution else ("", "")


def _require_free(plugin: LoadedPlugin, loaded: Mapping[str, LoadedPlugin]) -> None:
    if (other := loaded.get(plugin.name)) is not None:
        hint = "Give the file another name." if plugin.is_file else RENAME
        raise PluginError(f"the name '{plugin.name}' is taken by the plugin of {other.source}.", hint=hint)


def _add(manager: pluggy.PluginManager, name: str, module: object, offers: dict[str, list[Offer]]) -> None:
    """Register one plugin and add what it declares, or leave no trace of it and raise."""
    declared = register(manager, name, module, KINDS)
    new = [(kind, Offer(name, spec)) for kind, specs in declared.items() for spec in specs]
    try:
        _refuse_duplicates(offers, new)
    except PluginError:
        withdraw(manager, name)
        raise
    for kind, offer in new:
        offers[kind].append(offer)


def _refuse_duplicates(offers: Mapping[str, list[Offer]], new: Iterable[tuple[str, Offer]]) -> None:
    """Raise PluginError when one of the new has the full name of one that is there, or of another new one."""
    by_name = {(kind, offer.full_name): offer for kind, found in offers.items() for offer in found}
    for kind, offer in new:
        other = by_name.setdefault((kind, offer.full_name), offer)
        if other is not offer:
            raise PluginError(
                f"{kind} '{offer.full_name}' is offered by plugin '{other.plugin}' and by plugin '{offer.plugin}'.",
                hint=RENAME,
            )
