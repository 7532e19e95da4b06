"""Invariants: a broken plugin stops nothing and is reported; names are unambiguous; a disabled plugin runs no code."""

import sys
from importlib.metadata import EntryPoint

import pytest

from xmc.errors import PluginError, XmcWarning
from xmc.plugin_manager import load_plugins
from xmc.values import RunInfo

LOSS_PLUGIN = """
from xmc.api import LossSpec, hookimpl

@hookimpl
def xmc_losses():
    return [LossSpec(name, "nowhere:Nothing", summary="of {module}") for name in {names}]
"""

DECLARES = "from xmc.api import LossSpec, hookimpl\nclass A: pass\n@hookimpl\ndef xmc_losses(): return {}"
WRONG_ANSWERS = [
    ("None", "xmc_losses of plugin 'broken' must return a list of specs, got None"),
    ("LossSpec('a', 'b:C')", "must return a list of specs, got LossSpec"),
    ("[LossSpec(None, 'b:C')]", "name None must be lower-case words"),
    ("[LossSpec('a', A)]", "target of 'a' must be a text 'module:Class', imported when it is used, got <class"),
    ("[LossSpec('a', 'b.C')]", "target of 'a' must be a text 'module:Class', imported when it is used, got 'b.C'"),
    ("[LossSpec('a', 'b:C', pool='Batch')]", "pool of 'a' must be 'row' or 'batch', got 'Batch'"),
    ("[LossSpec('a', 'b:C', reference=None)]", "reference of 'a' must be a str, got None"),
]


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Write a real module and return its entry point."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, source=None, *, losses=()):
        module = f"module_of_{tmp_path.name}_{name}".replace("-", "_")
        text = LOSS_PLUGIN.format(module=module, names=list(losses)) if source is None else source
        (tmp_path / f"{module}.py").write_text(text)
        return EntryPoint(name, module, "xmc")

    return write


def loss_names(plugins):
    return [offer.full_name for offer in plugins.offers["loss"]]


def test_the_installed_plugins_load_and_none_fails():
    plugins = load_plugins(disabled=())
    assert not plugins.failed
    assert {"core", "dexml", "baselines", "exact", "faiss"} <= {each.name for each in plugins.loaded}
    assert all(each.distribution == "xmc-engine" for each in plugins.loaded if each.name == "dexml")


def test_no_entry_points_no_plugins():
    plugins = load_plugins(entry_points=())
    assert plugins.loaded == plugins.failed == () and not any(plugins.offers.values())


def test_loading_twice_gives_two_independent_values(plugin):
    one, two = (load_plugins(entry_points=[plugin("alpha", losses=["hinge"])]) for _ in range(2))
    assert one is not two and loss_names(one) == loss_names(two) == ["alpha.hinge"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import a_module_that_nobody_installed", "ModuleNotFoundError: No module named"),
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("from xmc.api import hookimpl\n@hookimpl\ndef xmc_lossess(): return []", "unknown hook 'xmc_lossess'"),
        ("from xmc.api import hookimpl\n@hookimpl\ndef xmc_losses(verbose): return []", r"Argument\(s\) {'verbose'}"),
        ("from xmc.api import hookimpl\n@hookimpl\ndef xmc_losses(): return 1 / 0", "ZeroDivisionError"),
        (
            "from xmc.api import hookimpl\n@hookimpl\ndef xmc_losses(): return ['hinge']",
            "must return specs of its kind",
        ),
        (
            "from xmc.api import IndexSpec, hookimpl\n@hookimpl\ndef xmc_losses(): return [IndexSpec('a', 'b:C')]",
            "xmc_losses of plugin 'broken' must return specs of its kind",
        ),
        ("import sys\nsys.exit(3)", "SystemExit: 3"),
        ("def xmc_epoch_finished(run): pass", "xmc_epoch_finished of plugin 'broken' has no @hookimpl"),
        ("", "plugin 'broken' implements no hook of xmc"),
        (LOSS_PLUGIN.format(module="", names=["Hinge Loss"]), "'Hinge Loss' must be lower-case words joined by '-'"),
        *((DECLARES.format(answer), message) for answer, message in WRONG_ANSWERS),
    ],
    ids=[
        "import",
        "raises",
        "misspelled",
        "argument",
        "declaring",
        "no-spec",
        "other-kind",
        "exit",
        "unmarked",
        "nothing",
        "name",
        *(answer for answer, _ in WRONG_ANSWERS),
    ],
)
def test_a_broken_plugin_is_kept_out_and_reported_and_the_others_work(plugin, source, message):
    entry_points = [plugin("zeta", losses=["hinge"]), plugin("broken", source), plugin("alpha", losses=["ramp"])]
    plugins = load_plugins(entry_points=entry_points)
    (failed,) = plugins.failed
    assert (failed.name, failed.distribution) == ("broken", "no distribution")
    assert [each.name for each in plugins.loaded] == ["alpha", "zeta"]
    assert loss_names(plugins) == ["alpha.ramp", "zeta.hinge"]
    with pytest.raises(PluginError, match=message) as raised:
        plugins.find("loss", "broken.hinge")
    assert raised.value.__cause__ is failed.error
    with pytest.raises(PluginError, match="XMC_DISABLED_PLUGINS"):
        plugins.recipe("broken")


def test_a_disabled_plugin_runs_no_code(plugin, tmp_path, monkeypatch):
    mark = LOSS_PLUGIN.format(module="", names=["b"]) + (
        f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n"
    )
    entry_points = [plugin("noisy", mark), plugin("alpha", losses=["hinge"])]
    monkeypatch.setenv("XMC_DISABLED_PLUGINS", "other, noisy")
    assert [each.name for each in load_plugins(entry_points=entry_points).loaded] == ["alpha"]
    assert not (tmp_path / "ran").exists()
    assert [each.name for each in load_plugins(entry_points=entry_points, disabled=["alpha"]).loaded] == ["noisy"]
    assert (tmp_path / "ran").exists()


def test_a_distribution_on_the_path_is_found_and_named(plugin, tmp_path):
    entry_point = plugin("gamma", losses=["hinge"])
    metadata = tmp_path / "xmc_gamma-3.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: xmc-gamma\nVersion: 3.1\n")
    (metadata / "entry_points.txt").write_text(f"[xmc]\ngamma = {entry_point.value}\n")
    (found,) = [each for each in load_plugins().loaded if each.name == "gamma"]
    assert (found.distribution, found.version) == ("xmc-gamma", "3.1")


def test_a_short_name_works_while_it_is_unique(plugin):
    plugins = load_plugins(entry_points=[plugin("alpha", losses=["hinge", "ramp"]), plugin("beta", losses=["ramp"])])
    assert plugins.find("loss", "hinge").full_name == "alpha.hinge"
    assert plugins.find("loss", "beta.ramp").plugin == "beta"
    with pytest.raises(PluginError, match=r"'ramp' is offered by several plugins: alpha\.ramp, beta\.ramp"):
        plugins.find("loss", "ramp")


def test_a_thing_called_like_its_plugin_has_a_bare_name(plugin):
    plugins = load_plugins(entry_points=[plugin("alpha", losses=["alpha"])])
    assert plugins.find("loss", "alpha").full_name == "alpha"
    assert plugins.find("loss", "alpha.alpha").full_name == "alpha", "written as the names of others are"


def test_an_unknown_name_is_answered_with_the_nearest_and_the_installed_ones(plugin):
    plugins = load_plugins(entry_points=[plugin("alpha", losses=["hinge"])])
    with pytest.raises(PluginError, match=r"unknown loss 'alpha\.hnge'\. Did you mean 'alpha\.hinge'\?") as raised:
        plugins.find("loss", "alpha.hnge")
    assert "Installed: alpha.hinge (see: xmc plugins). A plugin in a file: --plugin-file FILE." in str(raised.value)
    with pytest.raises(PluginError, match=r"unknown index 'hinge'.*Installed: none"):
        plugins.find("index", "hinge")


def test_two_offers_of_one_full_name_are_refused_naming_both(plugin):
    plugins = load_plugins(entry_points=[plugin("alpha", losses=["hinge", "hinge"])])
    assert "loss 'alpha.hinge' is offered by plugin 'alpha' and by plugin 'alpha'" in plugins.failed[0].describe()
    bare = [plugin("core", losses=["beta"]), plugin("beta", losses=["beta"])]
    plugins = load_plugins(entry_points=bare)
    assert "loss 'beta' is offered by plugin 'beta' and by plugin 'core'" in plugins.failed[0].describe()
    assert [each.name for each in plugins.loaded] == ["beta"] and loss_names(plugins) == ["beta"]


def installed(tmp_path, entry_point, distribution):
    folder = tmp_path / f"{distribution.replace('-', '_')}-3.1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 3.1\n")
    (folder / "entry_points.txt").write_text(f"[xmc]\n{entry_point.name} = {entry_point.value}\n")


def test_a_second_plugin_of_one_name_is_listed_and_the_one_of_xmc_stays(plugin, tmp_path):
    installed(tmp_path, plugin("dexml", losses=["mine"]), "a-lab")
    plugins = load_plugins()
    (failed,) = plugins.failed
    assert (failed.name, failed.distribution) == ("dexml", "a-lab 3.1")
    assert "the name 'dexml' is taken by the plugin of xmc-engine" in failed.describe()
    assert plugins.recipe("dexml") and plugins.find("loss", "dexml.decoupled-softmax")


def test_a_plugin_that_offers_what_the_core_does_is_listed_and_stops_nothing(plugin, tmp_path):
    source = (
        "from xmc.api import OptimizerSpec, hookimpl\n@hookimpl\ndef xmc_optimizers():\n"
        "    return [OptimizerSpec('adamw', 'nowhere:Nothing')]\n"
    )
    installed(tmp_path, plugin("adamw", source), "a-lab")
    plugins = load_plugins()
    assert "optimizer 'adamw' is offered by plugin 'core' and by plugin 'adamw'" in plugins.failed[0].describe()
    assert plugins.find("optimizer", "adamw").plugin == "core"


def test_a_refused_plugin_watches_nothing(plugin):
    source = LOSS_PLUGIN.format(module="", names=["a", "a"]) + (
        "\n@hookimpl\ndef xmc_run_started(run): raise RuntimeError('called')\n"
    )
    load_plugins(entry_points=[plugin("twin", source)]).run_started(RunInfo("folder", {}))


@pytest.fixture
def no_xmcfile():
    yield
    sys.modules.pop("xmcfile", None)


FILE_PLUGIN = """
from __future__ import annotations
from dataclasses import dataclass
from xmc.api import LossInputs, LossSpec, hookimpl

@dataclass(frozen=True)
class Mine:
    def __call__(self, inputs: LossInputs):
        return inputs.log_sum_exp("all")[1]

@hookimpl
def xmc_losses():
    return [LossSpec("mine", "xmcfile:Mine")]
"""


def test_a_plugin_file_needs_no_packaging(tmp_path, no_xmcfile, monkeypatch):
    path = tmp_path / "xmcfile.py"
    path.write_text(FILE_PLUGIN)
    plugins = load_plugins(entry_points=(), plugin_file=path)
    assert plugins.find("loss", "mine").full_name == "xmcfile.mine"
    assert plugins.find("loss", "mine").spec.load().__name__ == "Mine"
    assert plugins.loaded[0].source == f"the file {path}" and plugins.loaded[0].version.startswith("sha256:")
    monkeypatch.setenv("XMC_PLUGIN_FILE", str(path))
    assert load_plugins(entry_points=()).loaded == plugins.loaded


def test_a_plugin_file_that_has_changed_since_it_was_run_has_the_checksum_of_what_was_run(tmp_path, no_xmcfile):
    path = tmp_path / "xmcfile.py"
    path.write_text(FILE_PLUGIN)
    before = load_plugins(entry_points=(), plugin_file=path)
    path.write_text(FILE_PLUGIN.replace('"mine"', '"other"'))
    with pytest.warns(XmcWarning, match=r"xmcfile\.py has changed since this process ran it"):
        after = load_plugins(entry_points=(), plugin_file=path)
    assert after.find("loss", "mine") and after.loaded == before.loaded
    path.write_text(FILE_PLUGIN)
    assert load_plugins(entry_points=(), plugin_file=path).loaded == before.loaded


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        (
            "xmcfile.py",
            "import nothing_there",
            r"xmcfile\.py failed to load at line 1: ModuleNotFoundError: .*\. Mend the import, or install the package "
            "that has 'nothing_there' where",
        ),
        ("xmcfile.py", "a = 1\ndef f(:", r"SyntaxError: .*, line 2\)\. Line 2 of .*xmcfile\.py reads: def f\(:"),
        ("xmcfile.py", "from xmc.api import LosSpec", r"cannot import name 'LosSpec' .*\. Did you mean 'LossSpec'\?"),
        ("xmcfile.py", "1 / 0", r"line 1: ZeroDivisionError: .* Show the traceback: xmc --debug"),
        ("dexml.py", FILE_PLUGIN, r"the name 'dexml' is taken by .*xmc-engine .*\. Give the file another name\."),
        ("xmcfile.py", "raise SystemExit(3)", r"xmcfile\.py failed to load at line 1: SystemExit: 3"),
        (
            "xmcfile.py",
            "from xmc.api import hookimpl\n@hookimpl\ndef xmc_loss(): return []",
            r"unknown hook 'xmc_loss' in plugin 'xmcfile'\. Did you mean 'xmc_losses'\?",
        ),
        (
            "xmcfile.py",
            "from xmc.api import hookimpl\n@hookimpl\ndef xmc_losses(): return [1 / 0]",
            r"xmcfile\.py failed to load at line 3: ZeroDivisionError",
        ),
        ("xmcfile.txt", "", r"xmcfile\.txt is not a Python file\. Give one whose name ends in \.py"),
        ("json.py", "", "is called like the module 'json'"),
        ("my.loss.py", "", r"my\.loss\.py has a dot in its name"),
        ("numpy.py", "", "is called like the module 'numpy'"),
        ("zzz.py", None, r"there is no plugin file .*zzz\.py\. A relative path counts from"),
        ("other_file.py", None, r"there is no plugin file .*other_file\.py\. Did you mean 'otherfile'\?"),
    ],
)
def test_a_broken_plugin_file_is_an_error_since_it_was_asked_for(tmp_path, no_xmcfile, name, source, message):
    (tmp_path / "otherfile.py").touch()
    if source is not None:
        (tmp_path / name).write_text(source)
    with pytest.raises(PluginError, match=message):
        load_plugins(plugin_file=tmp_path / name)
    assert "xmcfile" not in sys.modules


def test_the_recipe_of_a_plugin_is_its_toml():
    assert load_plugins().recipe("dexml")["loss"]["name"] == "dexml.decoupled-softmax"
    for name in ("baselines", "info-nce"):
        with pytest.raises(
            PluginError, match=rf"unknown recipe '{name}'\. There is no .* but loss .*--set loss\.name=bas"
        ):
            load_plugins().recipe(name)
    with pytest.raises(PluginError, match=r"unknown recipe 'dexmll'\. Did you mean 'dexml'\?"):
        load_plugins().recipe("dexmll")


def test_every_declared_target_can_be_loaded():
    for offers in load_plugins().offers.values():
        for offer in offers:
            assert offer.spec.load() is not None, offer
