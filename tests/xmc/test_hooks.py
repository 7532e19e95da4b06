"""Every hook: a plugin that implements it is heard. One test a hook, named after it; the last test watches for gaps."""

import inspect

import pytest
from pluggy import PluginManager

from xmc import hookspecs
from xmc.api import (
    AugmentationSpec,
    CheckSpec,
    EncoderSpec,
    HeadSpec,
    IndexReport,
    IndexSpec,
    LossSpec,
    MetricSpec,
    OptimizerSpec,
    RecipeSpec,
    RerankerSpec,
    RunInfo,
    hookimpl,
)
from xmc.errors import XmcWarning
from xmc.plugin_manager import KINDS, load_plugins

HOOKS = {name: function for name, function in vars(hookspecs).items() if name.startswith("xmc_")}
RUN = RunInfo(folder="runs/a", config={"loss": {"name": "dexml.decoupled-softmax"}}, queries=3, labels=5)
REPORT = IndexReport("exact", "dot", 5, 8, "cpu", 160, 0.1, True, {}, {})


class Module:
    """A plugin object with one declaring hook, standing for a module."""

    def __init__(self, hook, spec):
        setattr(self, hook, hookimpl(lambda: [spec]))


class EntryPoint:
    """An entry point whose load answers an object; the real ones are in test_plugin_manager."""

    dist = None

    def __init__(self, name, module):
        self.name, self._module = name, module

    def load(self):
        return self._module


def declared(hook, spec):
    plugins = load_plugins(entry_points=[EntryPoint("alpha", Module(hook, spec))])
    assert not plugins.failed, plugins.failed
    return plugins.find(spec.kind, f"alpha.{spec.name}").spec


def test_hook_xmc_losses():
    assert declared("xmc_losses", LossSpec("hinge", "a:B", pool="batch")).pool == "batch"


def test_hook_xmc_indexes():
    assert declared("xmc_indexes", IndexSpec("tree", "a:B", exact=True)).exact


def test_hook_xmc_heads():
    assert declared("xmc_heads", HeadSpec("rows", "a:B")).target == "a:B"


def test_hook_xmc_rerankers():
    assert declared("xmc_rerankers", RerankerSpec("words", "a:B")).target == "a:B"


def test_hook_xmc_augmentations():
    assert declared("xmc_augmentations", AugmentationSpec("typos", "a:B")).kind == "augmentation"


def test_hook_xmc_encoders():
    assert declared("xmc_encoders", EncoderSpec("letters", "a:B")).target == "a:B"


def test_hook_xmc_optimizers():
    assert declared("xmc_optimizers", OptimizerSpec("sign", "a:B")).kind == "optimizer"


def test_hook_xmc_metrics():
    assert declared("xmc_metrics", MetricSpec("hit-rate", "a:b")).kind == "metric"


def test_hook_xmc_checks():
    assert declared("xmc_checks", CheckSpec("calibration", "a:B", summary="s")).summary == "s"


def test_hook_xmc_recipes():
    assert declared("xmc_recipes", RecipeSpec("small", "xmc_dexml:recipe.toml")).load()["loss"]


class Recorder:
    """Observes a run; its answers must be ignored."""

    def __init__(self):
        self.calls = []

    @hookimpl
    def xmc_run_started(self, run):
        self.calls.append(("started", run))
        return "stop"

    @hookimpl
    def xmc_epoch_finished(self, run, epoch, metrics):
        self.calls.append(("epoch", run, epoch, dict(metrics)))
        return {"loss": 0.0}

    @hookimpl
    def xmc_index_built(self, run, report):
        self.calls.append(("index", run, report))

    @hookimpl
    def xmc_run_finished(self, run, error):
        self.calls.append(("finished", run, error))


@pytest.fixture
def observed():
    recorder = Recorder()
    plugins = load_plugins(entry_points=[EntryPoint("recorder", recorder)])
    assert not plugins.failed
    return plugins, recorder.calls


def test_hook_xmc_run_started(observed):
    plugins, calls = observed
    assert plugins.run_started(RUN) is None
    assert calls == [("started", RUN)]


def test_hook_xmc_epoch_finished(observed):
    plugins, calls = observed
    assert plugins.epoch_finished(RUN, 2, {"loss": 0.5}) is None
    assert calls == [("epoch", RUN, 2, {"loss": 0.5})]


def test_hook_xmc_index_built(observed):
    plugins, calls = observed
    plugins.index_built(RUN, REPORT)
    assert calls == [("index", RUN, REPORT)]


def test_hook_xmc_run_finished(observed):
    plugins, calls = observed
    error = ValueError("no")
    plugins.run_finished(RUN, None)
    plugins.run_finished(RUN, error)
    assert calls == [("finished", RUN, None), ("finished", RUN, error)]


def test_observers_are_heard_in_the_order_of_a_run(observed):
    plugins, calls = observed
    plugins.run_started(RUN)
    plugins.epoch_finished(RUN, 1, {})
    plugins.epoch_finished(RUN, 2, {})
    plugins.index_built(RUN, REPORT)
    plugins.run_finished(RUN, None)
    assert [call[0] for call in calls] == ["started", "epoch", "epoch", "index", "finished"]


def test_an_implementation_may_ask_for_fewer_arguments():
    """The promise within an API version: hooks may gain parameters, since an implementation need not take them all."""
    heard = []

    class Brief:
        @hookimpl
        def xmc_epoch_finished(self, epoch):
            heard.append(epoch)

    load_plugins(entry_points=[EntryPoint("brief", Brief())]).epoch_finished(RUN, 7, {"loss": 1.0})
    assert heard == [7]


def test_every_hook_has_a_test_says_since_when_and_is_used():
    manager = PluginManager("xmc")
    manager.add_hookspecs(hookspecs)
    assert HOOKS.keys() == {name for name in vars(manager.hook) if not name.startswith("_")}
    for name, function in HOOKS.items():
        assert f"test_hook_{name}" in globals(), f"write test_hook_{name}"
        assert "Since API version" in inspect.getdoc(function)
        parameters = inspect.signature(function).parameters
        if parameters:  # a lifecycle hook: a method of Plugins passes the same arguments on
            method = getattr(load_plugins(entry_points=()), name.removeprefix("xmc_"))
            assert list(inspect.signature(method).parameters) == list(parameters)
        else:
            assert name in KINDS.values()


class Clumsy:
    @hookimpl
    def xmc_epoch_finished(self, epoch):
        raise RuntimeError("cannot count")


def test_an_observer_that_raises_is_warned_about_and_the_others_still_hear():
    recorder = Recorder()
    plugins = load_plugins(entry_points=[EntryPoint("recorder", recorder), EntryPoint("second", Clumsy())])
    with pytest.warns(XmcWarning, match="plugin 'second' failed in xmc_epoch_finished: RuntimeError: cannot count"):
        plugins.epoch_finished(RUN, 1, {"loss": 0.5})
    assert recorder.calls == [("epoch", RUN, 1, {"loss": 0.5})]
