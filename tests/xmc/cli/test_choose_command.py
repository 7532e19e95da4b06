"""Invariants: `xmc choose` judges runs, names its choice, writes its report, exits with 0; --json is one document; a
wrong log, name or file of true values is exit code 2."""

import json

import pytest

from xmc.choose.simulate import simulate_log
from xmc.data.dataset import load_dataset
from xmc.data.shards import write_table
from xmc.retrieve.retriever import Retriever


@pytest.fixture(scope="module")
def clicks(tiny_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("clicks") / "clicks.parquet"
    queries = load_dataset("tiny").test
    write_table(path, simulate_log(Retriever.load(tiny_run), queries, rows=400, shown=2, candidates=10, seed=1).table)
    return path


def test_runs_are_judged_and_the_report_is_written(xmc_command, tiny_run, clicks, tmp_path):
    (tmp_path / "truth.json").write_text('{"a": 0.6, "b": 0.5}')
    words = ("choose", "--log", clicks, "--temperature", "0.05", "--out", tmp_path / "choice")
    code, out, err = xmc_command(*words, "--runs", f"a={tiny_run}", f"b={tiny_run}", "--truth", tmp_path / "truth.json")
    assert code == 0 and "error" not in err
    assert "400 lists for" in out and "by cascade-dr" in out and "SharpeRatio" in out
    assert "choice: none, the log does not show one to be better; worth an online test: a, b" in out
    assert {path.name for path in (tmp_path / "choice").iterdir()} == {
        "report.json",
        "return-risk.png",
        "return-risk.svg",
    }
    code, out, err = xmc_command(*words, "--run", f"a={tiny_run}", "--run", f"b={tiny_run}", "--json")
    report = json.loads(out)
    assert code == 0 and not err and report == json.loads((tmp_path / "choice" / "report.json").read_text())
    assert [candidate["name"] for candidate in report["candidates"]] == ["a", "b"] and report["portfolios"] == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "which runs?"),
        (("--run", "a=RUN", "--run", "a=RUN"), "two runs are named 'a'"),
        (("--run", "a=nowhere"), "nowhere"),
        (("--run", "a=RUN", "--estimator", "sips"), "no estimator 'sips'"),
        (("--run", "a=RUN", "--truth", "absent.json"), "--truth absent.json cannot be read"),
        (("--run", "a=RUN", "--truth", "LIST"), "must hold true values by run"),
        (("--run", "a=RUN", "--log", "absent.parquet"), "there is no table absent.parquet"),
    ],
)
def test_wrong_words(xmc_command, tiny_run, clicks, tmp_path, arguments, message):
    (tmp_path / "list.json").write_text("[1]")
    replaced = [word.replace("RUN", str(tiny_run)).replace("LIST", str(tmp_path / "list.json")) for word in arguments]
    log = () if "--log" in arguments else ("--log", clicks)
    code, out, err = xmc_command("choose", *log, *replaced, "--out", tmp_path / "choice")
    assert code == 2 and not out and message in err and not (tmp_path / "choice").exists()
