"""Invariants: one file is a plugin; what a run needs of it is said when it is missing, and never run by itself."""

import json
import os
import sys
import warnings

import pytest

FILE = """
from dataclasses import dataclass

import torch

from xmc.api import LossInputs, LossSpec, hookimpl


@dataclass(frozen=True)
class Margin:
    margin: float = 0.2

    def __call__(self, inputs: LossInputs) -> torch.Tensor:
        positives_P, negatives_Q = inputs.log_sum_exp("negatives", temperature=0.1)
        gaps_P = negatives_Q[inputs.positive_rows_P] - positives_P + self.margin
        return inputs.sum_over_positives(torch.nn.functional.softplus(gaps_P), mean=True)


@hookimpl
def xmc_losses():
    return [LossSpec("margin", "my_margin:Margin", summary="a soft margin")]
"""
SMALL = ("train.epochs=1", "encoder.dimension=8", "train.device=cpu", "loss.name=my_margin.margin", "loss.margin=0.3")


@pytest.fixture
def plugin_file(tmp_path):
    path = tmp_path / "my_margin.py"
    path.write_text(FILE)
    yield path
    for name in ("my_margin", "margin"):
        sys.modules.pop(name, None)


def test_a_run_of_a_file_is_used_without_its_loss_and_trained_with_it_only(xmc_command, plugin_file, tmp_path):
    run = tmp_path / "run"
    settings = [word for setting in SMALL for word in ("--set", setting)]
    code, _, err = xmc_command("train", "--data", "tiny", "--out", run, "--plugin-file", plugin_file, *settings)
    assert code == 0, err
    came_from = json.loads((run / "plugins.json").read_text())
    assert came_from["loss"]["distribution"] == str(plugin_file)
    assert came_from["loss"]["version"].startswith("sha256:")
    assert came_from["encoder"]["distribution"] == "xmc-engine"

    assert "XMC_PLUGIN_FILE" not in os.environ
    sys.modules.pop("my_margin")
    code, _, err = xmc_command("train", "--out", run, "--resume")
    assert code == 2 and "unknown loss 'my_margin.margin'" in err and "--plugin-file" in err
    written = (run / "config.toml").read_text()
    for verb in (["search", "fog"], ["evaluate"], ["index", "--set", "index.name=exact"]):
        assert xmc_command(*verb, "--run", run)[0] == 0, "only training needs the loss"
    assert "my_margin" not in sys.modules and (run / "config.toml").read_text() == written


@pytest.mark.parametrize(("stem", "loss"), [("my_margin", "my_margin.margin"), ("margin", "margin")])
def test_another_loss_is_built_over_that_of_a_file(plugin_file, stem, loss):
    import torch

    from xmc.api import LossInputs
    from xmc.engine.run_config import resolve
    from xmc.plugin_manager import load_plugins

    plugin_file.write_text(FILE.replace("my_margin:", f"{stem}:"))
    plugins = load_plugins(plugin_file=plugin_file.rename(plugin_file.with_stem(stem)))
    own = resolve(plugins, settings=(f"loss.name={loss}", "loss.margin=0.3")).loss.options
    over = (f"loss.base={loss}", "loss.base_options={margin=0.3}", "loss.average=scores", "loss.rho=1.0")
    built = resolve(plugins, plugin="aggregate", settings=over).loss.options
    inputs = LossInputs.from_dense(torch.tensor([[0.5, 0.2, 0.4]]), torch.tensor([[1.0, 0.0, 0.0]]))
    assert torch.equal(built(inputs), own(inputs))


def test_what_a_part_is_built_over_is_remembered_too(plugin_file, tmp_path):
    from xmc.engine.run_config import resolve
    from xmc.errors import XmcWarning
    from xmc.plugin_manager import load_plugins
    from xmc.retrieve.run_plugins import TRAINING, warn_of_other_files

    def came_from():
        return json.loads((tmp_path / "plugins.json").read_text())

    plugins = load_plugins(plugin_file=plugin_file)
    over = ("loss.base=my_margin.margin", "loss.base_options={}", "loss.average=scores", "index.name=sharded")
    resolve(plugins, plugin="aggregate", settings=over).write_plugins(tmp_path, plugins=plugins)
    assert came_from()["loss"]["plugin"] == "aggregate" and came_from()["index.backend"]["plugin"] == "exact"
    assert came_from()["loss.base"]["distribution"] == str(plugin_file)
    sys.modules.pop("my_margin")
    plugin_file.write_text(FILE + "\n# another line\n")
    with pytest.warns(XmcWarning, match=r"its loss\.base came from the file .* has another content now"):
        warn_of_other_files(tmp_path, load_plugins(plugin_file=plugin_file), TRAINING)
    resolve(plugins).write_plugins(tmp_path, "loss", plugins=plugins)
    assert "loss.base" not in came_from() and "index.backend" in came_from()


@pytest.mark.parametrize(
    ("settings", "is_noted"), [((), True), (("loss.name=margin",), False), (("loss.name=my_margin.margin",), False)]
)
def test_a_file_of_which_a_training_uses_nothing_is_noted(xmc_command, plugin_file, tmp_path, settings, is_noted):
    named = [word for setting in settings for word in ("--set", setting)]
    plan = ["train", "--data", "tiny", "--out", tmp_path / "run", "--dry-run", "--plugin-file", plugin_file]
    code, _, err = xmc_command(*plan, *named)
    note = (
        "note: nothing of the plugin file is used: it offers loss my_margin.margin (--set loss.name=my_margin.margin), "
    )
    assert code == 0 and (note in err) == is_noted, err


def test_an_error_in_the_code_of_a_plugin_names_the_line(xmc_command, plugin_file, tmp_path):
    plugin_file.write_text(FILE.replace("mean=True)", "maen=True)"))
    line = 1 + next(row for row, text in enumerate(FILE.splitlines()) if "mean=True)" in text)
    settings = [word for setting in SMALL for word in ("--set", setting)]
    train = ["train", "--data", "tiny", "--out", tmp_path / "run", "--plugin-file", plugin_file, *settings]
    code, _, err = xmc_command(*train)
    where = f"error: plugin 'my_margin' failed in __call__ ({plugin_file}, line {line}): TypeError: "
    assert code == 2 and where in err and "'maen'" in err and "xmc --debug" in err and "Traceback" not in err
    with pytest.raises(TypeError, match="maen"):
        xmc_command("--debug", *train[:4], tmp_path / "again", *train[5:])
    sys.modules.pop("my_margin")
    assigns = "    def __post_init__(self):\n        self.margin = 1\n"
    plugin_file.write_text(FILE.replace("    margin: float = 0.2\n", f"    margin: float = 0.2\n\n{assigns}"))
    code, _, err = xmc_command(*train)
    assert code == 2 and f"failed in __post_init__ ({plugin_file}, line 14): FrozenInstanceError" in err


INDEX_FILE = """
from dataclasses import dataclass

from xmc.api import IndexSpec, hookimpl
from xmc_index_exact.exact import Exact


@dataclass(frozen=True)
class Part:
    size: int = 3


@dataclass(frozen=True)
class Mine(Exact):
    part: Part = Part()
    sizes: tuple[int, ...] = (1, 2)

    def __post_init__(self):
        super().__post_init__()
        print("which an answer in JSON does not hold")
        assert self.part.size == 3 and self.sizes == (1, 2), "as they were before they were written"


@hookimpl
def xmc_indexes():
    return [IndexSpec("mine", "my_index:Mine", exact=True, summary="an index of one's own")]
"""


@pytest.fixture
def index_file(tmp_path):
    path = tmp_path / "my_index.py"
    path.write_text(INDEX_FILE)
    yield path
    sys.modules.pop("my_index", None)


def test_a_file_that_is_another_one_than_the_run_was_made_with_is_said(xmc_command, index_file, tiny_run_copy):
    from xmc.errors import XmcWarning
    from xmc.plugin_manager import load_plugins
    from xmc.retrieve.retriever import Retriever

    def opened(text):
        sys.modules.pop("my_index", None)
        index_file.write_text(text)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", XmcWarning)
            retriever = Retriever.load(tiny_run_copy, plugins=load_plugins(plugin_file=index_file), device="cpu")
            retriever.reload_if_changed()
        return [str(warning.message) for warning in caught]

    index = ["index", "--run", tiny_run_copy, "--plugin-file", index_file]
    other = INDEX_FILE + "\n# another line\n"
    code, _, err = xmc_command(*index, "--set", "index.name=my_index.mine")
    assert code == 0, err
    trained = json.loads((tiny_run_copy / "plugins.json").read_text())["encoder"]
    assert trained["distribution"] == "xmc-engine"
    assert opened(INDEX_FILE) == []
    (message,) = opened(other)
    assert f"its index came from the file {index_file}, sha256:" in message and "has another content now" in message
    code, out, err = xmc_command("search", "fog", "--run", tiny_run_copy, "--plugin-file", index_file, "--json")
    assert code == 0 and "has another content now" in err and json.loads(out)["hits"]
    assert xmc_command(*index)[0] == 0, "built anew, the index is of the file as it is"
    assert opened(other) == [] and len(opened(INDEX_FILE)) == 1
    for damage in ("[]", "{", '{"index": {"name": "x"}}', '{"index": 7}'):
        (tiny_run_copy / "plugins.json").write_text(damage)
        assert opened(other) == []


def test_a_training_that_goes_on_with_another_loss_says_so(plugin_file, tmp_path):
    import xmc
    from xmc.errors import XmcWarning

    def trained(*, resume=True):
        sys.modules.pop("my_margin", None)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", XmcWarning)
            xmc.train_run("tiny", tmp_path / "run", settings=SMALL, resume=resume)
        return [str(warning.message) for warning in caught if "content" in str(warning.message)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XMC_PLUGIN_FILE", str(plugin_file))
        assert trained(resume=False) == trained() == []
        plugin_file.write_text(FILE + "\n# another line\n")
        (message,) = trained()
        assert f"its loss came from the file {plugin_file}, sha256:" in message
        assert trained() == [message], "what it was begun with is remembered"
        plugin_file.write_text(FILE)
        assert trained() == []


def test_another_loss_is_nothing_to_a_search(xmc_command, plugin_file, tmp_path):
    run = tmp_path / "run"
    settings = [word for setting in SMALL for word in ("--set", setting)]
    with_file = ["--plugin-file", plugin_file]
    assert xmc_command("train", "--data", "tiny", "--out", run, *with_file, *settings)[0] == 0
    sys.modules.pop("my_margin")
    plugin_file.write_text(FILE + "\n# another line\n")
    code, _, err = xmc_command("search", "fog", "--run", run, *with_file)
    assert code == 0 and "another content" not in err


def test_it_is_listed(xmc_command, plugin_file):
    code, out, _ = xmc_command("plugins", "--plugin-file", plugin_file, "--json")
    listing = json.loads(out)
    assert code == 0 and "my_margin.margin" in [offer["name"] for offer in listing["offers"]]
    assert f"the file {plugin_file}" in [each["distribution"] for each in listing["plugins"]]
    assert str(plugin_file) not in xmc_command("plugins", "--plugin-file", plugin_file, "--requirements")[1]


def test_a_missing_package_is_named(xmc_command, tiny_run_copy):
    path = tiny_run_copy / "plugins.json"
    facts = json.loads(path.read_text())
    facts["encoder"] = {"name": "enc.hashed", "plugin": "enc", "distribution": "xmc-enc", "version": "1.2"}
    path.write_text(json.dumps(facts))
    config = tiny_run_copy / "config.toml"
    config.write_text(config.read_text().replace('name = "static"', 'name = "enc.hashed"'))
    code, _, err = xmc_command("evaluate", "--run", tiny_run_copy)
    assert code == 2 and "unknown encoder 'enc.hashed'" in err
    assert "encoder 'enc.hashed' came from xmc-enc 1.2: pip install 'xmc-enc==1.2'" in err


def test_the_parts_of_an_index_are_of_the_plugins_that_are_given(index_file, tiny_run_copy, monkeypatch):
    import xmc
    from xmc.engine.label_editing import LabelEditor
    from xmc.errors import PluginError
    from xmc.plugin_manager import load_plugins

    monkeypatch.setenv("XMC_PLUGIN_FILE", str(index_file))
    xmc.index_run(tiny_run_copy, settings=["index.name=sharded", "index.backend=my_index.mine"])
    monkeypatch.delenv("XMC_PLUGIN_FILE")
    plugins = load_plugins(plugin_file=index_file)
    LabelEditor(tiny_run_copy, plugins=plugins).add({"X1": "a word of its own"})
    retriever = xmc.Retriever.load(tiny_run_copy, plugins=plugins, device="cpu")
    assert retriever.search(["a word of its own"], k=1)[0][0].label_id == "X1"
    assert LabelEditor(tiny_run_copy, plugins=plugins).compact().labels == len(retriever.labels)
    assert retriever.reload_if_changed().search(["a word of its own"], k=1)[0][0].label_id == "X1"
    with pytest.raises(PluginError, match=r"unknown index 'my_index.mine'"):
        xmc.Retriever.load(tiny_run_copy, device="cpu")
