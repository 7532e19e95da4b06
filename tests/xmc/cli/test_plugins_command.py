"""Invariants: the table, the JSON and `show` agree; what is asked for and is not there is an error with a hint."""

import json

import pytest
from typer.testing import CliRunner

from xmc.cli.main import app
from xmc.errors import ConfigError, PluginError


def run(*arguments, code=0):
    result = CliRunner().invoke(app, ["plugins", *arguments], env={"COLUMNS": "200"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def broken_plugin(tmp_path, monkeypatch):
    """A distribution whose plugin cannot be imported, really on the path."""
    monkeypatch.syspath_prepend(tmp_path)
    metadata = tmp_path / "xmc_sick-0.4.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: xmc-sick\nVersion: 0.4\n")
    (metadata / "entry_points.txt").write_text("[xmc]\nsick = a_module_that_nobody_installed\n")


def test_the_table_names_every_offer_and_plugin():
    table = run()
    for offer in json.loads(run("--json"))["offers"]:
        assert offer["name"] in table
    assert "decoupled-softmax" in table and "baselines" in table and "xmc-engine" in table


def test_kind_keeps_one_kind():
    offers = json.loads(run("--json", "--kind", "loss"))["offers"]
    assert {offer["kind"] for offer in offers} == {"loss"}
    assert {offer["name"] for offer in offers} >= {"dexml.decoupled-softmax", "baselines.info-nce"}
    with pytest.raises(ConfigError, match=r"--kind 'los' is not one of .* Did you mean 'loss'\?"):
        run("--kind", "los")


def test_requirements_are_pinned_distributions():
    lines = run("--requirements").splitlines()
    assert any(line.startswith("xmc-engine==") for line in lines)
    assert json.loads(run("--requirements", "--json")) == lines
    for other in (["--kind", "loss"], ["--failed"]):
        with pytest.raises(ConfigError, match="leave out --kind and --failed"):
            run("--requirements", *other)


def test_failed_is_empty_with_code_0_or_lists_with_code_1(broken_plugin):
    listing = json.loads(run("--failed", "--json", code=1))
    assert listing["offers"] == []
    (row,) = listing["plugins"]
    assert row == {
        "plugin": "sick",
        "distribution": "xmc-sick 0.4",
        "state": "failed",
        "error": "ModuleNotFoundError: No module named 'a_module_that_nobody_installed'",
    }
    assert "xmc-sick 0.4" in run("--failed", code=1)
    table = run()
    assert "nobody_installed" in table and "decoupled-softmax" in table


def test_failed_says_so_when_nothing_failed():
    assert "no plugin failed" in run("--failed")


def test_show_prints_signature_options_defaults_and_reference():
    text = run("show", "decoupled-softmax")
    assert "DecoupledSoftmax(temperature: float = 1.0, correct_sampling: bool = False)" in text
    assert "Gupta et al." in text and "pool:       row" in text
    facts = json.loads(run("show", "baselines.binary-cross-entropy", "--json"))
    assert facts["options"][-1] == {"option": "reduction", "type": "Literal['mean', 'sum']", "default": "'mean'"}
    assert facts["description"].startswith("Σ over positives")


def test_show_prints_the_settings_of_a_recipe():
    assert 'name = "dexml.decoupled-softmax"' in run("show", "dexml")


def test_show_of_what_is_not_there_suggests_the_nearest(broken_plugin):
    with pytest.raises(
        PluginError, match=r"called 'dexml\.decoupled-softmx'\. Did you mean 'dexml\.decoupled-softmax'"
    ):
        run("show", "dexml.decoupled-softmx")
    with pytest.raises(PluginError, match=r"plugin 'sick' \(xmc-sick 0\.4\) failed to load: ModuleNotFoundError"):
        run("show", "sick.loss")
    with pytest.raises(ConfigError, match="does not understand 'display dexml'"):
        run("display", "dexml")
