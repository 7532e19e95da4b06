"""Invariants: `xmc teach` says what it wrote, in words and as JSON, and what comes next; wrong use exits with 2."""

import json


def test_teach_in_words_and_as_json(xmc_command, tiny_run, tmp_path):
    code, out, _ = xmc_command("teach", "--teacher", tiny_run, "--data", "tiny", "--out", tmp_path / "a", "-k", 100)
    assert code == 0 and "400 queries, 60 labels each, 100.0% of the positives among them" in out
    assert "60 label vectors of width 32" in out and "xmc train --plugin distill --data tiny" in out
    code, out, err = xmc_command(
        "teach", "--teacher", tiny_run, "--data", "tiny", "--out", tmp_path / "b", "-k", 5, "--json"
    )
    report = json.loads(out)
    assert code == 0 and not err and report.pop("out") == str(tmp_path / "b")
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert report == {key: manifest["facts"][key] for key in report} and report["k"] == 5


def test_wrong_use_exits_with_2_and_leaves_nothing(xmc_command, tiny_run, tmp_path):
    for arguments in (
        ("--teacher", tmp_path / "none", "--data", "tiny", "--out", tmp_path / "a"),
        ("--teacher", tiny_run, "--data", "none", "--out", tmp_path / "a"),
        ("--teacher", tiny_run, "--data", "tiny", "--out", tiny_run),
        ("--teacher", tiny_run, "--data", "tiny"),
    ):
        code, _, err = xmc_command("teach", *arguments)
        assert code == 2 and err and "Traceback" not in err
    assert not list(tmp_path.iterdir())
