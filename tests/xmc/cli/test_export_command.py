"""Invariants: `xmc export` prints how near the export is; exit codes 0, 1 and 2; `xmc info --card` prints the card."""

import json

import yaml

from xmc.encode.text_graph import MeanOfTokens


def test_export_as_table_and_as_json(xmc_command, tiny_run, tmp_path):
    code, out, err = xmc_command("export", "--run", tiny_run, "--out", tmp_path / "a")
    assert code == 0 and not err and out.count("equal") == 2 and f"written: {tmp_path / 'a'}" in out.replace("\n", "")
    code, out, err = xmc_command("export", "--run", tiny_run, "--out", tmp_path / "b", "--format", "onnx", "--json")
    report = json.loads(out)
    assert code == 0 and report["passed"] and report["out"] == str(tmp_path / "b")
    del report["run"], report["out"]
    assert report == json.loads((tmp_path / "b" / "export.json").read_text())


def test_different_embeddings_exit_with_1_and_leave_nothing(xmc_command, tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(MeanOfTokens, "forward", lambda self, ids_NT, mask_NT: self.table_VD[ids_NT].mean(dim=1))
    code, out, err = xmc_command("export", "--run", tiny_run, "--out", tmp_path / "a")
    assert code == 1 and "DIFFERENT" in out and "written" not in out and "Nothing was written" in err
    code, out, err = xmc_command("export", "--run", tiny_run, "--out", tmp_path / "a", "--json")
    report = json.loads(out)
    assert code == 1 and not report["passed"] and report["out"] is None
    assert not list(tmp_path.iterdir())


def test_wrong_use_exits_with_2(xmc_command, tiny_run, tmp_path):
    for arguments in (
        ("--run", tmp_path / "none", "--out", tmp_path / "a"),
        ("--run", tiny_run, "--out", tmp_path / "a", "--format", "tflite"),
        ("--run", tiny_run, "--out", tiny_run),
        ("--run", tiny_run),
    ):
        code, _, err = xmc_command("export", *arguments)
        assert code == 2 and err and "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_card_on_standard_output(xmc_command, tiny_run):
    code, out, _ = xmc_command("info", tiny_run, "--card")
    assert code == 0 and out.startswith("---\nlibrary_name: ") and "\n# tiny-run\n" in out
    assert yaml.safe_load(out.split("---\n")[1])["library_name"] == "xmc-engine"
    code, _, err = xmc_command("info", tiny_run, "--card", "--json")
    assert code == 2 and "the Markdown of one run: leave out --json" in err
