"""Invariants: the card says what the reports of the run say and nothing else, names the command for what was not
measured, keeps no figure of an earlier state without saying so, and its front matter is YAML."""

import json
import re

import pytest
import yaml

import xmc
from xmc.engine.check_page import show_number
from xmc.engine.check_report import CheckOutcome, write_outcome
from xmc.engine.model_card import model_card
from xmc.errors import ArtifactError, ConfigError, XmcWarning
from xmc.plugin_manager import load_plugins

CHECKS = [offer.full_name for offer in load_plugins().offers["check"]]
QUICK, CHECK = ["evaluate.bootstrap_samples=50"], ["check.calibrate.bootstrap_samples=50"]


def front_matter(card):
    start, matter, _ = card.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(matter)


def section(card, heading):
    return card.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def report_of(run, *names):
    return json.loads(run.joinpath(*names, "report.json").read_text(encoding="utf-8"))


def row(text, name):
    """The cells of the table row that begins with `name`."""
    (found,) = re.findall(rf"^\| {re.escape(name)} \|(.*)\|$", text, flags=re.MULTILINE)
    return [cell.strip() for cell in found.split("|")]


@pytest.fixture(scope="module")
def measured(tiny_run, tmp_path_factory):
    """A run that was evaluated and of which two checks were run."""
    import shutil

    run = tmp_path_factory.mktemp("runs") / "measured"
    shutil.copytree(tiny_run, run)
    xmc.evaluate_run(run, settings=QUICK)
    xmc.check_run(run, ["calibrate", "conformal"], settings=CHECK)
    return run


def test_after_training_nothing_is_measured_and_the_card_says_how_to(tiny_run):
    card = (tiny_run / "README.md").read_text(encoding="utf-8")
    assert card.replace("# tiny-run-unfinished\n", "# tiny-run\n") == model_card(tiny_run)  # it was renamed since
    assert section(card, "Figures").strip() == "Not measured: `xmc evaluate --run RUN`"
    assert CHECKS
    for name in CHECKS:
        assert f"Not measured: `xmc check {name} --run RUN`" in section(card, f"Check {name}")
        assert f"`{name}`" in section(card, "Limits, and what is not promised")
    matter = front_matter(card)
    assert matter["library_name"] == "xmc-engine" and matter["pipeline_tag"] == "sentence-similarity"
    assert {"xmc", "extreme-classification", "static"} <= set(matter["tags"]) and "model-index" not in matter


def test_data_settings_and_versions_are_those_of_the_training_report(tiny_run):
    card = model_card(tiny_run)
    train = json.loads((tiny_run / "train.json").read_text())
    data = section(card, "Data")
    assert row(data, "labels") == ["60"] and row(data, "training queries") == ["400"]
    assert train["data"]["fingerprint"] in data and "Licence of the data: that of xmc." in data
    settings = section(card, "Model and settings")
    assert (
        "dimension = 32" in settings
        and f"Trained for {train['epochs_run']} epochs on {train['device_used']}" in settings
    )
    assert row(section(card, "Versions"), "torch") == [train["versions"]["torch"]]


def test_figures_and_groups_are_those_of_the_evaluation(measured):
    card, report = (measured / "README.md").read_text(encoding="utf-8"), report_of(measured)["evaluation"]
    figures = section(card, "Figures")
    assert "another state" not in card and "100 queries of the split `test` of tiny" in figures
    for name, figure in report["overall"]["figures"].items():
        low, high = show_number(figure["low"]), show_number(figure["high"])
        bands = [show_number(band["figures"][name]["value"]) if band["figures"] else "" for band in report["bands"]]
        assert row(figures, name) == [show_number(figure["value"]), f"{low} to {high}", *bands]
    assert "No query of the split asks for zero-shot labels." in card


def test_front_matter_has_every_figure_with_its_data(measured):
    (model,) = front_matter((measured / "README.md").read_text(encoding="utf-8"))["model-index"]
    assert model["name"] == "measured"
    report = report_of(measured)
    for result in model["results"]:
        assert result["dataset"]["revision"] == report["data"]["fingerprint"]
        assert result["dataset"]["split"] == "test" and result["task"]["type"] == "text-retrieval"
    found = {metric["name"]: metric["value"] for result in model["results"] for metric in result["metrics"]}
    expected = {name: figure["value"] for name, figure in report["evaluation"]["overall"]["figures"].items()}
    for check in ("calibrate", "conformal"):
        figures = report_of(measured, "checks", check)["figures"]
        expected |= {f"{check}.{name}": figure["value"] for name, figure in figures.items()}
    assert found == expected and "calibrate.ece_at_1" in found


def test_calibration_before_and_after_label_sets_and_what_was_not_checked(measured):
    card = (measured / "README.md").read_text(encoding="utf-8")
    calibrate, conformal = (report_of(measured, "checks", name) for name in ("calibrate", "conformal"))
    for name in ("ece_at_1", "ece_before_at_1"):
        shown = row(section(card, "Check calibrate"), name)[0]
        assert shown == show_number(calibrate["figures"][name]["value"])
    assert row(section(card, "Check calibrate"), "ece_at_1")[2] == "lower"
    shown = row(section(card, "Check conformal"), "false_negative_rate")[0]
    assert shown == show_number(conformal["figures"]["false_negative_rate"]["value"])
    assert conformal["notes"][0] in section(card, "Check conformal")
    limits = section(card, "Limits, and what is not promised")
    assert "`certify`" in limits and "`calibrate`" not in limits


def test_a_new_evaluation_is_in_the_card_at_once(tiny_run_copy):
    unsure = ["evaluate.bootstrap_samples=0", "evaluate.auc_negatives=5", "evaluate.propensity_a=0.6"]
    auc = xmc.evaluate_run(tiny_run_copy, settings=unsure).auc
    figures = section((tiny_run_copy / "README.md").read_text(encoding="utf-8"), "Figures")
    assert row(figures, "AUC (top 5 negatives)")[:2] == [show_number(auc.value), ""]
    assert row(figures, "P@1")[1] == "" and "interval" not in figures.replace("| interval |", "").lower()
    assert "Propensities: A = 0.6, B = 1.5" in figures
    xmc.evaluate_run(tiny_run_copy, settings=QUICK)
    first = (tiny_run_copy / "README.md").read_text(encoding="utf-8")
    xmc.evaluate_run(tiny_run_copy, split="dev", settings=[*QUICK, "evaluate.ks=[2]"])
    second = (tiny_run_copy / "README.md").read_text(encoding="utf-8")
    assert row(section(first, "Figures"), "P@1") and "P@1 |" not in section(second, "Figures")
    value = report_of(tiny_run_copy)["evaluation"]["overall"]["figures"]["P@2"]["value"]
    assert row(section(second, "Figures"), "P@2")[0] == show_number(value)
    assert front_matter(second)["model-index"][0]["results"][0]["dataset"]["split"] == "dev"


def test_figures_of_an_earlier_state_are_marked_and_leave_the_front_matter(tiny_run_copy):
    xmc.evaluate_run(tiny_run_copy, settings=QUICK)
    xmc.check_run(tiny_run_copy, ["calibrate"], settings=CHECK)
    xmc.remove_labels(tiny_run_copy, ["L00"])
    card = model_card(tiny_run_copy)
    for heading in ("Figures", "Check calibrate"):
        assert "**These are of another state of this run**" in section(card, heading)
    assert "Measured on another state of this run: figures, `calibrate`." in card
    assert "model-index" not in front_matter(card)
    xmc.evaluate_run(tiny_run_copy, settings=QUICK)
    card = (tiny_run_copy / "README.md").read_text(encoding="utf-8")
    assert "another state" not in section(card, "Figures") and len(front_matter(card)["model-index"][0]["results"]) == 1


def test_another_index_writes_the_card_anew(tiny_run_copy):
    xmc.evaluate_run(tiny_run_copy, settings=QUICK)
    xmc.index_run(tiny_run_copy, settings=["index.name=faiss.flat"])
    card = (tiny_run_copy / "README.md").read_text(encoding="utf-8")
    assert "| index | `faiss.flat` |" in card and "another state" in section(card, "Figures")


def test_a_card_that_cannot_be_written_undoes_nothing_and_says_how_to_write_it(tiny_run_copy):
    card = tiny_run_copy / "README.md"
    card.unlink()
    card.mkdir()
    with pytest.warns(XmcWarning, match="could not be written") as said:
        report = xmc.index_run(tiny_run_copy, settings=["index.name=faiss.flat"])
    assert report.backend == "faiss.flat" == xmc.Retriever.load(tiny_run_copy).report.backend
    (told,) = [str(warning.message) for warning in said]
    assert "Is a directory" in told and "What was built or measured is committed and in use" in told
    assert told.endswith(f"xmc info {tiny_run_copy} --card > {card}")
    card.rmdir()
    (tiny_run_copy / "report.json").write_text("{")
    with pytest.warns(XmcWarning, match="report.json"):
        assert xmc.index_run(tiny_run_copy).backend == "faiss.flat"
    assert not card.exists()


def test_an_exported_folder_carries_the_card(measured, tmp_path):
    xmc.export_run(measured, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    matter = front_matter(card)
    assert matter["library_name"] == "onnx" and len(matter["model-index"][0]["results"]) == 3
    assert section(card, "Figures") == section(model_card(measured), "Figures")


def test_a_check_that_refused_and_one_of_many_figures(tiny_run_copy):
    about = {"data": {}, "queries": "none", "model": {}, "versions": {}}
    write_outcome(tiny_run_copy, CheckOutcome("certify", "", {}, 0.0, refusal="no | set fits."), about=about)
    card = model_card(tiny_run_copy)
    assert "Not measured: the check refused: no | set fits." in section(card, "Check certify")
    xmc.check_run(tiny_run_copy, ["certify"], settings=["check.certify.sample=5", "check.certify.attacks=1"])
    folded = section((tiny_run_copy / "README.md").read_text(encoding="utf-8"), "Check certify")
    figures = report_of(tiny_run_copy, "checks", "certify")["figures"]
    assert f"<summary>{len(figures)} figures</summary>" in folded
    assert all(row(folded, name)[0] == show_number(figure["value"]) for name, figure in figures.items())


def test_other_data_have_no_known_licence_and_names_cannot_break_the_page(tiny_run_copy):
    name = 'a"b|c: {x}\n---'
    for file, old in (("train.json", '"name": "tiny"'), ("config.toml", 'name = "tiny"')):
        path = tiny_run_copy / file
        separator = " = " if file.endswith("toml") else ": "
        path.write_text(path.read_text().replace(old, old.partition(separator)[0] + separator + json.dumps(name)))
    xmc_card = model_card(tiny_run_copy)
    assert "not known to xmc" in section(xmc_card, "Data") and 'a"b\\|c: {x} ---' in section(xmc_card, "Data")
    assert front_matter(xmc_card)["pipeline_tag"] == "sentence-similarity"


@pytest.mark.parametrize("content", ["{", "[]", '{"evaluation": {}}'])
def test_a_damaged_report_is_an_error(tiny_run_copy, content):
    (tiny_run_copy / "report.json").write_text(content)
    with pytest.raises(ArtifactError, match="report"):
        model_card(tiny_run_copy)


def test_a_folder_that_is_no_run_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="not a run folder"):
        model_card(tmp_path)


def test_a_run_whose_training_has_not_ended(tiny_run_copy):
    import shutil

    (tiny_run_copy / "train.json").unlink()
    shutil.rmtree(tiny_run_copy / "index")
    card = model_card(tiny_run_copy)
    assert "the training has not ended. `xmc train --resume --out RUN`" in section(card, "Data")
    assert front_matter(card)
