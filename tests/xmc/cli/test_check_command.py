"""Invariants: `xmc check` exits with 0, with 1 when a limit is missed and with 2 for bad input; --json is one document;
`xmc search` shows the probability and abstains."""

import json

import pyarrow.parquet as pq
import pytest

from xmc.data.dataset import load_dataset
from xmc.data.shards import write_table
from xmc.data.tables import query_table_to_arrow

APPROXIMATE = ("--set", "index.name=faiss.ivf", "--set", "index.nlist=4")
QUICK = ("--set", "check.calibrate.bootstrap_samples=20", "--set", "check.exactness.sample=20")


def test_a_kept_limit_and_a_missed_one(xmc_command, tiny_run_copy):
    check = ("check", "exactness", "--run", tiny_run_copy, *QUICK)
    code, out, _ = xmc_command(*check, "--set", "check.limits.exactness.exact_at_1=1")
    assert code == 0 and "exact_at_10" in out and "kept" in out and "checks/exactness/report.json" in out
    code, out, err = xmc_command(*check, "--set", "check.limits.exactness.exact_at_1=1.5")
    assert code == 1 and "MISSED" in out and "error" not in err


def test_json_is_one_document_and_alone(xmc_command, tiny_run_copy):
    names = ("calibrate", "conformal", "exactness")
    code, out, err = xmc_command("check", *names, "--alpha", "0.25", "--json", "--run", tiny_run_copy, *QUICK)
    report = json.loads(out)
    assert code == 0 and not err and report["passed"] and [check["check"] for check in report["checks"]] == list(names)
    assert report["checks"][1]["options"]["alpha"] == 0.25
    assert report == {"run": str(tiny_run_copy), **json.loads((tiny_run_copy / "checks" / "report.json").read_text())}


def test_a_check_that_is_named_and_cannot_be_run_is_exit_code_2(xmc_command, tiny_run_copy):
    check = ("check", "exactness", "conformal", "--alpha", "0.001", "--json", "--run", tiny_run_copy, *QUICK)
    code, out, err = xmc_command(*check)
    report = json.loads(out)
    assert code == 2 and not err and report["refused"] == ["conformal"] and report["passed"] is False


def test_search_shows_probabilities_and_abstains(xmc_command, tiny_run_copy, tmp_path):
    assert "probability" not in xmc_command("search", "tender tram", "--run", tiny_run_copy)[1]
    assert xmc_command("check", "calibrate", "--run", tiny_run_copy, *QUICK)[0] == 0
    search = ("search", "tender tram", "--run", tiny_run_copy)
    assert "probability" in xmc_command(*search)[1]
    hits = json.loads(xmc_command(*search, "--json", "--min-probability", "0.5")[1])["hits"]
    assert hits and all(hit["probability"] >= 0.5 for hit in hits)
    code, out, _ = xmc_command(*search, "--min-probability", "1")
    assert code == 0 and out == "no label is relevant to 'tender tram' with a probability of 1.0 or more\n"
    write_table(tmp_path / "q.parquet", query_table_to_arrow(load_dataset("tiny").test))
    table = ("search", "--queries", tmp_path / "q.parquet", "--out", tmp_path / "hits", "--run", tiny_run_copy)
    assert xmc_command(*table, "--min-probability", "0.5")[0] == 0
    columns = pq.read_table(tmp_path / "hits" / "q.parquet").to_pydict()
    assert [len(each) for each in columns["probabilities"]] == [len(each) for each in columns["scores"]]
    assert min(probability for each in columns["probabilities"] for probability in each) >= 0.5


def test_a_stale_calibration_is_said_and_not_used(xmc_command, tiny_run_copy):
    xmc_command("check", "calibrate", "--run", tiny_run_copy, *QUICK)
    code, _, err = xmc_command("index", "--run", tiny_run_copy, *APPROXIMATE)
    assert code == 0 and "note: the calibration of" in err and "xmc check calibrate --run" in err
    compacted = json.loads(xmc_command("labels", "compact", "--json", "--run", tiny_run_copy)[1])
    assert "was fitted for an earlier index." in compacted["notes"][0]
    code, out, err = xmc_command("search", "tender tram", "--run", tiny_run_copy)
    assert code == 0 and "probability" not in out
    assert "note: the calibration of" in err and "was fitted for an earlier index." in err
    code, _, err = xmc_command("search", "tender tram", "--run", tiny_run_copy, "--min-probability", "0.5")
    assert code == 2 and "hint: Make it again: xmc check calibrate --run" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "calibration"], "unknown check 'calibration'. Did you mean 'calibrate'?"),
        (["check", "exactness", "--alpha", "0.1"], "--alpha is for the check 'conformal'."),
        (["check", "conformal", "--alpha", "2"], "check.conformal.alpha must lie between 0 and 1, got 2.0."),
        (["check", "conformal", "--alpha", "0.001"], "alpha = 0.001 needs at least 999 calibration queries, got 100."),
        (["check", "exactness", "--split", "train"], "the run was trained on the split 'train'"),
        (["check", "exactness", "--split", "exam"], "has no split 'exam' (it has: train, dev, test)."),
        (["check", "exactness", "--set", "check.limits.exactness.exact=1"], "has no figure 'exact' to limit"),
        (["check", "exactness", "--set", "check.exactness.samples=1"], "[check.exactness] has no key 'samples'"),
        (["search", "tram", "--min-probability", "0.5"], "has no calibration."),
        (["search", "tram", "--min-probability", "-1"], "min_probability must lie in 0..1, got -1.0."),
    ],
)
def test_bad_input_is_one_sentence(xmc_command, tiny_run, arguments, said):
    code, out, err = xmc_command(*arguments, "--run", tiny_run)
    assert code == 2 and said in err and "Traceback" not in err and not out


def test_a_folder_that_is_no_run(xmc_command, tmp_path):
    code, _, err = xmc_command("check", "all", "--run", tmp_path)
    assert code == 2 and "is not a run folder" in err
