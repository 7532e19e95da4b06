"""Invariants: defaults < recipe < file < --set < flags; what is written resolves to the same; an error names the layer
that brought it in."""

import sys
import tomllib

import pytest

from xmc.config import write_toml
from xmc.engine.run_config import FILE_NAME, RunConfig, from_tree, read_run_config, resolve, template
from xmc.errors import ConfigError, PluginError
from xmc.plugin_manager import load_plugins

SECTIONS = [
    "data",
    "encoder",
    "head",
    "loss",
    "augmentation",
    "teacher",
    "optimizer",
    "train",
    "index",
    "labels",
    "reranker",
    "fusion",
    "evaluate",
]


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


@pytest.fixture
def toml(tmp_path):
    def write(tree):
        (tmp_path / "my.toml").write_text(write_toml(tree))
        return tmp_path / "my.toml"

    return write


def test_later_layers_win_one_by_one(plugins, toml):
    def epochs(**layers):
        return resolve(plugins, **layers).train.epochs

    recipe = plugins.recipe("dexml")["train"]["epochs"]
    default = resolve(plugins).train.epochs
    assert epochs(plugin="dexml") == recipe != default
    layers = {"plugin": "dexml", "config_file": toml({"train": {"epochs": 11}})}
    assert epochs(**layers) == 11
    assert epochs(**layers, settings=["train.epochs=12"]) == 12
    assert epochs(**layers, settings=["train.epochs=12"], flags={"train": {"epochs": 13}}) == 13
    assert epochs(**layers, flags={"train": {}}) == 11


def test_each_layer_changes_only_what_it_names(plugins, toml):
    base = resolve(plugins, plugin="dexml")
    changed = resolve(plugins, plugin="dexml", config_file=toml({"train": {"seed": 9}}), settings=["index.name=exact"])
    assert changed.train.seed == 9
    for section in ("data", "encoder", "head", "loss", "index", "evaluate"):
        assert getattr(changed, section) == getattr(base, section)


def test_another_component_has_its_own_defaults_and_a_short_name_is_the_same_component(plugins):
    base = resolve(plugins, plugin="dexml")
    assert base.loss.options.temperature == 0.07
    short = resolve(plugins, plugin="dexml", settings=["loss.name=decoupled-softmax"])
    assert short == base
    other = resolve(plugins, plugin="dexml", settings=["loss.name=baselines.info-nce"])
    assert other.loss.name == "baselines.info-nce"
    assert other.loss.options == plugins.find("loss", "info-nce").spec.load()()


RECIPES = [offer.full_name for offer in load_plugins().offers["recipe"]]


@pytest.mark.parametrize("recipe", ["", *RECIPES])
def test_the_written_configuration_is_the_same_configuration(plugins, tmp_path, recipe):
    config = resolve(plugins, plugin=recipe, settings=["data.name=tiny", "evaluate.ks=[1, 7]", "train.seed=5"])
    config.write(tmp_path)
    assert write_toml(read_run_config(plugins, tmp_path).to_dict()) == write_toml(config.to_dict())
    assert resolve(plugins, config_file=tmp_path / FILE_NAME) == config
    assert from_tree(plugins, config.to_dict(), source="x") == config


@pytest.mark.parametrize("recipe", ["", *RECIPES])
def test_the_template_is_toml_that_resolves_to_the_same(plugins, tmp_path, recipe):
    config = resolve(plugins, plugin=recipe)
    text = template(config, plugins)
    (tmp_path / "my.toml").write_text(text)
    assert resolve(plugins, config_file=tmp_path / "my.toml") == config
    assert list(tomllib.loads(text)) == SECTIONS
    for kind in ("encoder", "head", "loss", "index"):
        for offer in plugins.offers[kind]:
            assert offer.full_name in text, "a template names what else is installed"


def test_settings_win_over_the_configuration_of_a_run(plugins, tmp_path):
    resolve(plugins, plugin="dexml").write(tmp_path)
    changed = read_run_config(plugins, tmp_path, settings=["index.name=faiss.flat", "evaluate.ks=[2]"])
    assert changed.index.name == "faiss.flat" and changed.evaluate.ks == (2,)
    assert isinstance(changed, RunConfig) and changed.train == read_run_config(plugins, tmp_path).train


def test_a_trained_run_asks_no_plugin_for_what_only_trains(config_of_leg, tmp_path):
    config, _ = config_of_leg("k: int = 1")
    config.write(tmp_path)
    found = read_run_config(load_plugins(disabled=["baselines"]), tmp_path, settings=["index.name=faiss.flat"])
    assert found.loss.options == {"k": 1}
    assert found.to_dict() == {**config.to_dict(), "index": found.index.to_dict()}


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        (
            {"settings": ["trian.epochs=3"]},
            ConfigError,
            f"--set: there is no section [trian] (there are: {', '.join([*SECTIONS, 'check'])}). Did you mean 'train'?",
        ),
        (
            {"file": {"epochs": 3}},
            ConfigError,
            "{file}: there is no section [epochs] (there are: data, encoder, head, loss, augmentation, ",
        ),
        ({"file": {"train": 3}}, ConfigError, "{file}: 'train' must be a section [train], got 3."),
        ({"settings": ["train.epoch=3"]}, ConfigError, "--set: [train] has no key 'epoch' (it has: epochs, batch_size"),
        ({"file": {"train": {"epoch": 3}}, "settings": ["train.seed=1"]}, ConfigError, "{file}: [train] has no key"),
        ({"flags": {"train": {"epochs": -1}}}, ConfigError, "command line: [train]: epochs must be >= 0, got -1."),
        (
            {"settings": ["loss.temprature=1"]},
            ConfigError,
            "--set (dexml.decoupled-softmax): [loss] has no key 'temprature' (it has: temperature",
        ),
        (
            {"settings": ["loss.temperature=0"]},
            ConfigError,
            "--set (dexml.decoupled-softmax): [loss]: temperature must be a finite number > 0, got 0.0.",
        ),
        (
            {"settings": ["loss.name=dexml.decoupled"]},
            PluginError,
            "unknown loss 'dexml.decoupled'. Did you mean 'dexml.decoupled-softmax'? Installed: ",
        ),
        ({"settings": ["index.name=exat"]}, PluginError, "unknown index 'exat'. Did you mean 'exact'? Installed: "),
        (
            {"settings": ["loss.margin=0.1"]},
            ConfigError,
            "--set (dexml.decoupled-softmax): [loss] has no key 'margin' (it has: temperature, correct_sampling). For "
            "the options of another loss name it too: --set loss.name=NAME",
        ),
        ({"settings": ["loss.temperature=x"]}, ConfigError, "--set (dexml.decoupled-softmax): [loss] temperature: Inp"),
        ({"settings": ["encoder.name=3"]}, ConfigError, "--set: [encoder] needs a name. See: xmc plugins --kind enc"),
        ({"plugin": "dexmll"}, PluginError, "unknown recipe 'dexmll'. Did you mean 'dexml'? Installed: "),
        ({"settings": ["evaluate.ks=[0]"]}, ConfigError, "evaluate.ks must be one or more of 1..10,000, got (0,)"),
        ({"settings": ["evaluate.ks=[10001]"]}, ConfigError, "evaluate.ks must be one or more of 1..10,000, got (100"),
    ],
)
def test_what_is_wrong_is_said_with_layer_key_value_and_suggestion(plugins, toml, layers, error, message):
    layers = {"plugin": "dexml", **layers}
    if "file" in layers:
        layers["config_file"] = toml(layers.pop("file"))
    with pytest.raises(error) as raised:
        resolve(plugins, **layers)
    assert str(raised.value).startswith(message.format(file=layers.get("config_file")))


LINEAR = "linear.one-vs-rest"


@pytest.mark.parametrize(
    ("name", "setting", "most"),
    [
        ("encoder=static", "encoder.dimension", "65,536"),
        ("encoder=static", "encoder.ngrams_longest", "100"),
        ("encoder=moe-static", "encoder.experts", "10,000"),
        ("encoder=tfidf", "encoder.dimension", "65,536"),
        *[("encoder=lstm", f"encoder.{key}", "65,536") for key in ("dimension", "token_dimension", "hidden")],
        ("encoder=lstm", "encoder.layers", "100"),
        ("", "train.hard_negatives", "10,000"),
        ("", "evaluate.bootstrap_samples", "100,000"),
        ("", "check.calibrate.bootstrap_samples", "100,000"),
        *[("", f"check.certify.{key}", "1,000,000") for key in ("sample", "listed", "attacks", "greedy", "samples")],
        (f"head={LINEAR}", "head.rounds", "100"),
        ("head=linear.centroids", "head.entries", "1,000,000"),
        *[(f"{kind}={LINEAR}", f"{kind}.iterations", "1,000,000") for kind in ("head", "reranker")],
        *[(f"{kind}={LINEAR}", f"{kind}.threads", "1,024") for kind in ("head", "reranker")],
    ],
)
def test_what_would_never_end_or_not_fit_into_memory_is_refused_at_once(plugins, name, setting, most):
    named = [name.replace("=", ".name=")] if name else []
    key, value = setting.rpartition(".")[2], int(most.replace(",", ""))
    resolve(plugins, settings=[*named, f"{setting}={value}"])
    for more in (value + 1, 2**62):
        with pytest.raises(ConfigError, match=rf"{key} must be .*{most}, got {more:,}\."):
            resolve(plugins, settings=[*named, f"{setting}={more}"])


def test_an_error_that_a_later_layer_mends_is_none(plugins, toml):
    file = toml({"train": {"epochs": 0}})
    assert resolve(plugins, config_file=file, settings=["train.epochs=2"]).train.epochs == 2


def test_a_folder_that_is_not_a_run_is_said(plugins, tmp_path):
    with pytest.raises(ConfigError, match=r"\(it has no config\.toml\)\. Is this the right folder\? .* --out RUN"):
        read_run_config(plugins, tmp_path)


@pytest.mark.parametrize(
    ("source", "message"), [("", "No module named"), ("x = = 1", "SyntaxError"), ("1 / 0", "Zero")]
)
def test_a_component_that_cannot_be_imported_is_said_whatever_its_module_raises(tmp_path, monkeypatch, source, message):
    monkeypatch.syspath_prepend(tmp_path)
    module = f"module_of_{tmp_path.name}".replace("-", "_")
    if source:
        (tmp_path / f"{module}.py").write_text(source)
    plugin = tmp_path / "lame.py"
    plugin.write_text(
        "from xmc.api import LossSpec, hookimpl\n"
        "@hookimpl\n"
        f"def xmc_losses(): return [LossSpec('leg', '{module}:Leg')]\n"
    )
    with pytest.raises(
        PluginError, match=rf"loss 'lame\.leg' cannot be imported from {module}:Leg: .*{message}.*Install"
    ):
        resolve(load_plugins(plugin_file=plugin), settings=["loss.name=lame.leg"])


OPTIONS = """
from __future__ import annotations
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from xmc.api import LossSpec, hookimpl
if TYPE_CHECKING:
    from collections.abc import Sequence
@dataclass(frozen=True)
class Leg:
    {field}
    {call}
@hookimpl
def xmc_losses(): return [LossSpec("leg", "{module}:Leg")]
"""
CALL = "def __call__(self, inputs): return inputs.scores_QC.sum(dim=1)"


@pytest.fixture
def config_of_leg(tmp_path):
    """The configuration with a loss of a plugin file, and the plugins."""
    stem = f"leg_of_{tmp_path.name}".replace("-", "_")

    def made(field, call=CALL):
        plugin = tmp_path / f"{stem}.py"
        plugin.write_text(OPTIONS.format(field=field, call=call, module=stem))
        plugins = load_plugins(plugin_file=plugin)
        return resolve(plugins, settings=["loss.name=leg"]), plugins

    yield made
    sys.modules.pop(stem, None)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("name: str = 'x'", r"leg' has an option 'name', and \[loss\] name says which loss it is"),
        ("file: Path = Path('x')", r"option 'file' that a configuration cannot hold, got PosixPath\('x'\)"),
        ("ids: frozenset[str] = frozenset({'a'})", r"option 'ids' that a configuration cannot hold, got frozenset"),
        ("ks: Sequence[int] = (1,)", "types of the options of 'Leg' cannot be read: .*not under TYPE_CHECKING"),
    ],
)
def test_options_that_no_configuration_can_hold_are_refused_before_training(config_of_leg, field, message):
    with pytest.raises(PluginError, match=message):
        config_of_leg(field)


def test_a_part_that_lacks_what_it_is_asked_for_is_refused(config_of_leg):
    with pytest.raises(PluginError, match=r"leg' has no __call__\(\)\. In the plugin, give Leg what docs/plugins"):
        config_of_leg("k: int = 1", call="")


def test_what_options_derive_is_no_setting(config_of_leg, tmp_path):
    config, plugins = config_of_leg("k: int = 1\n    twice: int = field(init=False, default=2)")
    config.write(tmp_path)
    assert "twice" not in (tmp_path / FILE_NAME).read_text()
    assert resolve(plugins, config_file=tmp_path / FILE_NAME) == config


def test_an_older_configuration_names_the_optimizer_in_train(plugins, toml):
    file = toml({"train": {"optimizer": "row-adagrad", "epochs": 2}})
    config = resolve(plugins, config_file=file)
    assert (config.optimizer.name, config.train.epochs) == ("row-adagrad", 2)
    assert resolve(plugins, config_file=file, settings=["train.optimizer=sgd"]).optimizer.name == "sgd"
    with pytest.raises(ConfigError, match="optimizer"):
        resolve(plugins, config_file=toml({"optimizer": 3, "train": {"optimizer": "sgd"}}))
    assert resolve(plugins, config_file=file, settings=["optimizer.name=kfac"]).optimizer.name == "kfac"
