"""The configuration of a run: typed sections, resolved from recipe, file and settings, and written back as TOML."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from xmc.config import Options, Settings, build_options, merge, parse_assignments, read_toml, write_toml
from xmc.engine.check_settings import CheckSettings, check_settings
from xmc.engine.component import Component, build_component, recorded_component
from xmc.engine.fusion import FusionOptions
from xmc.engine.label_moves import LabelOptions
from xmc.errors import ConfigError, XmcError, did_you_mean
from xmc.evaluate.report import EvaluateOptions
from xmc.given_names import given_name
from xmc.given_paths import given_path
from xmc.plugin_manager import Plugins
from xmc.retrieve.reranking import NONE
from xmc.retrieve.run_plugins import naming_packages, write_run_plugins
from xmc.retrieve.unfinished import no_run
from xmc.store import write_text
from xmc.train.options import TrainOptions

FILE_NAME = "config.toml"
DEFAULTS: dict[str, dict[str, Any]] = {
    "encoder": {"name": "static"},
    "head": {"name": "dual-encoder"},
    "loss": {"name": "dexml.decoupled-softmax"},
    "augmentation": {"name": "none"},
    "optimizer": {"name": "adamw"},
    "index": {"name": "exact"},
    "reranker": {"name": "none"},
}
ONLY_TRAINING = ("loss", "augmentation", "optimizer")  # of which a trained run asks nothing any more
Layer = tuple[str, Mapping[str, Any]]  # where settings come from, and the settings


@dataclass(frozen=True)
class DataOptions:
    """Which data: the name of a shipped data set or a folder, and how many of its training queries (0: all).

    Fewer are drawn by the hash of seed and query id, so that those of a smaller number are among those of a larger one;
    bags of queries are drawn whole, up to so many queries. Labels and held-out queries stay what they are.
    """

    name: str = ""
    train_queries: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.train_queries < 0:
            raise ValueError(f"train_queries must be >= 0, got {self.train_queries:,}")


@dataclass(frozen=True)
class TeacherOptions:
    """Who teaches. `path`: the folder that `xmc teach` wrote, or a table of hits (file, folder, pattern); or empty."""

    path: str = ""


@dataclass(frozen=True)
class RunConfig:
    """A fully resolved configuration."""

    data: DataOptions
    encoder: Component
    head: Component
    loss: Component
    augmentation: Component
    teacher: TeacherOptions
    optimizer: Component
    train: TrainOptions
    index: Component
    labels: LabelOptions
    reranker: Component
    fusion: FusionOptions
    evaluate: EvaluateOptions
    check: CheckSettings = dataclasses.field(default_factory=CheckSettings)

    @property
    def second_stage(self) -> str:
        """What scores the shortlist again: the reranker by its name, `prior` where there is only that, or `none`."""
        return "prior" if self.reranker.name == NONE and self.fusion.prior else self.reranker.name

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values; `resolve` reads them back to an equal configuration."""
        sections = {
            field.name: value.to_dict() if hasattr(value, "to_dict") else dataclasses.asdict(value)
            for field in dataclasses.fields(self)
            for value in [getattr(self, field.name)]
        }
        return {name: values for name, values in sections.items() if values}  # [check] holds only what was set

    def write(self, run: Path) -> None:
        """Write `run/config.toml`, from which the run can be repeated."""
        write_text(run / FILE_NAME, write_toml(_listed(self.to_dict())))

    def write_plugins(self, run: Path, *kinds: str, plugins: Plugins) -> None:
        """Note in `run/plugins.json` which plugins make the parts of these kinds now; of all kinds if none is named."""
        write_run_plugins(run, {kind: getattr(self, kind).to_dict() for kind in kinds or DEFAULTS}, plugins)


def resolve(
    plugins: Plugins,
    *,
    plugin: str = "",
    config_file: Path | None = None,
    settings: Settings = (),
    flags: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Resolve a configuration: defaults < recipe of `plugin` < `config_file` < `settings` < `flags`.

    Raises: ConfigError for an unknown section or key or a wrong value; PluginError for an unknown name.
    """
    layers: list[Layer] = [("configuration", DEFAULTS)]
    if given_name(plugin, name="plugin"):
        layers.append((f"recipe '{plugin}'", plugins.recipe(plugin)))
    if config_file is not None:
        layers.append((str(config_file), read_toml(given_path(config_file, name="config_file"))))
    return _from_layers(plugins, [*layers, ("--set", parse_assignments(settings)), ("command line", flags or {})])


def _from_layers(plugins: Plugins, layers: Sequence[Layer], *, recorded: Collection[str] = ()) -> RunConfig:
    """The configuration of all layers, later ones winning; an error names the first layer that brings it in."""
    try:
        return from_tree(plugins, _merged(plugins, layers, recorded), source=layers[-1][0], recorded=recorded)
    except XmcError:
        for count in range(1, len(layers) + 1):
            tree = _merged(plugins, layers[:count], recorded)
            from_tree(plugins, tree, source=layers[count - 1][0], recorded=recorded)
        raise


def _merged(plugins: Plugins, layers: Sequence[Layer], recorded: Collection[str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for _, values in layers:
        tree = merge(tree, _with_full_names(plugins, values, recorded))
    return tree


def _with_full_names(plugins: Plugins, values: Mapping[str, Any], recorded: Collection[str]) -> dict[str, Any]:
    """Components by their full names, so that a short name of the same thing does not count as another one."""
    values = named = _with_optimizer(values)
    for kind in (kind for kind in DEFAULTS if kind not in recorded):
        section = values.get(kind)
        if isinstance(section, Mapping) and isinstance(section.get("name"), str):
            named[kind] = {**section, "name": plugins.find(kind, section["name"]).full_name}
    return named


def _with_optimizer(values: Mapping[str, Any]) -> dict[str, Any]:
    """The optimiser in a section of its own; older configurations name it in [train]."""
    train = values.get("train")
    if not isinstance(train, Mapping) or "optimizer" not in train:
        return dict(values)
    others = {key: value for key, value in train.items() if key != "optimizer"}
    section = values.get("optimizer", {})
    if not isinstance(section, Mapping):  # refused with the other sections
        return {**values, "train": others}
    return {**values, "train": others, "optimizer": {"name": train["optimizer"], **section}}


def from_tree(plugins: Plugins, tree: Mapping[str, Any], *, source: str, recorded: Collection[str] = ()) -> RunConfig:
    """Build the typed configuration of a whole tree; components of the `recorded` kinds are taken as they stand."""
    sections = [field.name for field in dataclasses.fields(RunConfig)]
    for name, values in tree.items():
        if name not in sections:
            raise ConfigError(
                f"{source}: there is no section [{name}] (there are: {', '.join(sections)}).",
                hint=did_you_mean(name, sections),
            )
        if not isinstance(values, Mapping):
            raise ConfigError(f"{source}: '{name}' must be a section [{name}], got {values!r}.")

    def options(name: str, cls: type[Options]) -> Options:
        return build_options(cls, tree.get(name, {}), section=name, source=source)

    def component(kind: str) -> Component:
        if kind in recorded:
            return recorded_component(kind, tree.get(kind, {}), source=source)
        return build_component(plugins, kind, tree.get(kind, {}), source=source)

    return RunConfig(
        data=options("data", DataOptions),
        encoder=component("encoder"),
        head=component("head"),
        loss=component("loss"),
        augmentation=component("augmentation"),
        teacher=options("teacher", TeacherOptions),
        optimizer=component("optimizer"),
        train=options("train", TrainOptions),
        index=component("index"),
        labels=options("labels", LabelOptions),
        reranker=component("reranker"),
        fusion=options("fusion", FusionOptions),
        evaluate=options("evaluate", EvaluateOptions),
        check=check_settings(plugins, tree.get("check", {}), source=source),
    )


def read_run_config(
    plugins: Plugins, run: Path, *, settings: Settings = (), committed: Mapping[str, Any] = MappingProxyType({})
) -> RunConfig:
    """The configuration that a run was made with, `settings` winning over it; what only trains is as it was recorded.

    `committed` are sections that take the place of those in the file, which was perhaps not brought up to date.
    Raises: ConfigError when the folder holds none; PluginError naming the package of a plugin that is not there.
    """
    # a run of an older xmc may lack these sections
    made_with = {kind: DEFAULTS[kind] for kind in ("head", "augmentation", "optimizer", "reranker")}
    recorded: Layer = (str(run / FILE_NAME), {**merge(made_with, read_run_toml(run)), **committed})
    with naming_packages(run, plugins):
        return _from_layers(plugins, [recorded, ("--set", parse_assignments(settings))], recorded=ONLY_TRAINING)


def read_run_toml(run: Path) -> dict[str, Any]:
    """What stands in `run/config.toml`. Raises: ConfigError when the folder holds none."""
    path = run / FILE_NAME
    if not path.is_file():
        message, hint = no_run(run)
        raise ConfigError(message, hint=hint)
    return read_toml(path)


def how_data_differs(config: RunConfig, run: Path) -> str:
    """In words, how the data of this configuration differs from that of a run; call it when their fingerprints do."""
    before, now = read_toml(run / FILE_NAME).get("data", {}), dataclasses.asdict(config.data)
    changed = [key for key in now if before.get(key, now[key]) != now[key]]
    words = "; ".join(f"data.{key} was {before[key]!r}, is {now[key]!r}" for key in changed)
    return words or f"for the tables of data set '{config.data.name}' have changed since"


def template(config: RunConfig, plugins: Plugins) -> str:
    """The configuration as commented TOML: for each component its one-line summary, for each key its value."""
    blocks = []
    for name, values in config.to_dict().items():
        comment = ""
        if name in DEFAULTS:
            spec = plugins.find(name, values["name"]).spec
            others = ", ".join(offer.full_name for offer in plugins.offers[name])
            comment = f"# {spec.summary}\n# installed: {others}\n"
        blocks.append(comment + write_toml({name: _listed(values)}))
    return "\n".join(blocks)


def _listed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Tuples as lists, as TOML writes them."""
    return {
        key: _listed(value) if isinstance(value, Mapping) else list(value) if isinstance(value, tuple) else value
        for key, value in values.items()
    }
