"""Invariants: `xmc diagnose` prints signal, times, step and advice, writes its report, exits with 0; --json is one
document; what is no run is exit code 2."""

import json


def test_a_run_is_diagnosed(xmc_command, tiny_run_copy):
    code, out, err = xmc_command("diagnose", "--run", tiny_run_copy)
    assert code == 0 and not err
    for words in (
        "400 queries, 32 features, 60 labels, signal/noise",
        "best time of the flow",
        "predicted stop:",
        "advice:",
    ):
        assert words in out
    assert "diagnosis.png" in out
    code, out, err = xmc_command("diagnose", "--run", tiny_run_copy, "--json")
    report = json.loads(out)
    assert code == 0 and not err and report.pop("run") == str(tiny_run_copy)
    assert report == json.loads((tiny_run_copy / "diagnosis" / "report.json").read_text())
    assert set(report["advice"]) == {"advice", "reason", "gains"} and len(report["curve"]["time"]) == 200


def test_no_run(xmc_command, tmp_path):
    code, out, err = xmc_command("diagnose", "--run", tmp_path)
    assert code == 2 and not out and "is not a run folder" in err
