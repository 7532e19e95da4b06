"""Invariants: `xmc scale` trains a ladder or reads runs, prints the prediction, writes its report, exits with 0; --json
is one document; too few runs or no target is exit code 2."""

import json

import pytest

SETTINGS = ("--set", "encoder.dimension=16", "--set", "train.epochs=1", "--set", "train.batch_size=32")


def test_a_ladder_is_trained_and_the_report_is_written(xmc_command, tmp_path):
    words = ("scale", "--data", "tiny", *SETTINGS, "--budget", "1", "--out", tmp_path / "scaling")
    code, out, err = xmc_command(*words)
    assert code == 0 and "error" not in err
    assert "predicted for" in out and "P@1 " in out and "validation loss" in out and "of processors" in out
    assert "note: 6 runs for the 4 constants" in out and "scale.png" in out
    code, out, err = xmc_command(*words, "--json")
    report = json.loads(out)
    assert code == 0 and not err and report == json.loads((tmp_path / "scaling" / "report.json").read_text())
    assert set(report["predicted"]) == {"loss", "p1", "seconds"} and len(report["runs"]) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--run", "RUN"), "which run is to be predicted?"),
        (("--run", "RUN", "--pairs", "100000"), "at least 5 finished runs, got 1 (tiny-run)"),
        (("--run", "nowhere", "--pairs", "100000"), "nowhere is not a run folder"),
        (("--run", "a=RUN", "--run", "a=RUN", "--pairs", "9"), "two runs are named 'a'"),
        (("--data", "tiny", "--budget", "0"), "the budget is a share of the compute"),
        (("--data", "tiny"), "hint: Give a larger --budget"),
        ((), "no data set is named"),
    ],
)
def test_wrong_words(xmc_command, tiny_run, tmp_path, arguments, message):
    words = [word.replace("RUN", str(tiny_run)) for word in arguments]
    code, out, err = xmc_command("scale", *words, "--out", tmp_path / "scaling")
    assert code == 2 and not out and message in err and not (tmp_path / "scaling").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
@pytest.mark.parametrize("verb", [("scale", "--pairs", "1000", "--run"), ("diagnose", "--run")])
def test_a_damaged_report_of_a_training_is_told(xmc_command, tiny_run_copy, verb, content):
    (tiny_run_copy / "train.json").write_bytes(content)
    code, _, err = xmc_command(*verb, tiny_run_copy)
    assert code == 2 and "train.json is damaged" in err
