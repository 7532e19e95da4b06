"""Invariants: an augmentation that changes no text leaves every bit as it is; what it did is in the report; a set that
is gone or has changed is refused before anything is overwritten; a head without epochs refuses it."""

import json

import pytest
from resume_cases import final_bits, stop_after, train

from xmc.engine.run_config import resolve
from xmc.engine.training import run_training
from xmc.errors import ConfigError, DataError
from xmc.plugin_manager import load_plugins

RANDOM, WORST = "augmentation.name=robust.random", "augmentation.name=robust.worst-case"
QUICK = ("train.epochs=2",)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The final bits of a run without augmentation, and its report."""
    run = tmp_path_factory.mktemp("plain")
    return final_bits_and_report(run, train(run, QUICK))


def final_bits_and_report(run, report):
    assert json.loads((run / "train.json").read_text()) == report
    return final_bits(run), report


@pytest.fixture
def strange(tmp_path):
    """Substitutions of words that no query has."""
    path = tmp_path / "strange.txt"
    path.write_text("zyzzyva weevil")
    return f"augmentation.substitutions={path}"


@pytest.mark.parametrize("changes_nothing", ["probability 0", "share 0", "other words, random", "other words, worst"])
def test_what_changes_no_text_changes_no_bit(tmp_path, plain, strange, changes_nothing):
    settings = {
        "probability 0": (RANDOM, "augmentation.probability=0", strange),
        "share 0": (WORST, "augmentation.share=0", strange),
        "other words, random": (RANDOM, "augmentation.probability=1", strange),
        "other words, worst": (WORST, "augmentation.share=1", strange),
    }[changes_nothing]
    bits, report = final_bits_and_report(tmp_path / "run", train(tmp_path / "run", (*QUICK, *settings)))
    assert bits == plain[0]
    assert report["augmentation"]["rewritten_share"] == 0 and "augmentation" not in plain[1]


def test_the_report_says_what_was_rewritten_and_what_it_took(tmp_path, plain):
    for name, setting, low, high in (("random", "probability=1", 0.9, 1.0), ("worst-case", "share=0.5", 0.4, 0.6)):
        report = train(tmp_path / name, (*QUICK, f"augmentation.name=robust.{name}", f"augmentation.{setting}"))
        facts = report["augmentation"]
        assert facts["name"] == f"robust.{name}" and low <= facts["rewritten_share"] <= high
        assert 0 < facts["seconds"] < report["train_s"]
        assert final_bits(tmp_path / name) != plain[0]


def test_a_set_that_is_not_there_is_refused_before_anything_is_overwritten(tmp_path):
    run = tmp_path / "run"
    train(run, ("train.epochs=1",))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    plugins = load_plugins()
    settings = [RANDOM, "augmentation.substitutions=nowhere.txt"]
    config = resolve(plugins, plugin="dexml", settings=settings, flags={"data": {"name": "tiny"}})
    with pytest.raises(DataError, match=r"no substitution set and no file 'nowhere\.txt'"):
        run_training(config, run, plugins=plugins, overwrite=True)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_set_that_has_changed_and_another_setting_are_refused_by_a_resumed_run(tmp_path):
    path = tmp_path / "set.txt"
    path.write_text("fog: mist")
    settings = (RANDOM, f"augmentation.substitutions={path}")
    stop_after(tmp_path / "run", 2, settings)
    with pytest.raises(ConfigError, match=r"augmentation\.probability was 0\.5, is 0\.1"):
        train(tmp_path / "run", (*settings, "augmentation.probability=0.1"), resume=True)
    with pytest.raises(ConfigError, match=r"augmentation\.name was 'robust\.random', is None"):
        train(tmp_path / "run", (), resume=True)
    path.write_text("fog: haze")
    with pytest.raises(ConfigError, match=r"augmentation\.reads was '"):
        train(tmp_path / "run", settings, resume=True)


def test_a_head_that_is_fitted_in_one_go_refuses(tmp_path):
    plugins = load_plugins()
    config = resolve(plugins, plugin="linear", settings=[RANDOM], flags={"data": {"name": "tiny"}})
    with pytest.raises(ConfigError, match=r"without epochs in which 'robust.random' could rewrite queries.*name=none"):
        run_training(config, tmp_path / "run", plugins=plugins)


def test_the_recipes_resolve():
    plugins = load_plugins()
    for recipe, name in (("robust", "robust.worst-case"), ("robust.random", "robust.random")):
        assert resolve(plugins, plugin=recipe).augmentation.name == name
