"""Invariants: with --json one document, without it a table and what was written; info tells what was asked for."""

import json

import pytest

from xmc.retrieve.layout import index_store


@pytest.fixture
def run(tiny_run_copy):
    return tiny_run_copy


def test_a_choice_for_people_and_what_info_says_of_it(xmc_command, run):
    code, out, err = xmc_command("index", "--run", run, "--target-recall", "0.9", "--memory", "1MB", "-k", 5)
    assert code == 0 and "error" not in err
    assert "goal: the fastest with recall@5 of at least 0.9, at most 1.0 MB" in out
    assert "exact" in out and "chosen" in out and "recall@5 on" in out and "tuning" in out
    code, out, _ = xmc_command("info", run)
    assert code == 0 and "index goal" in out and "recall@5 of at least 0.9" in out
    facts = json.loads(xmc_command("info", run, "--json")[1])
    assert facts["index"] == "exact" and facts["index reaches"]["recall"] == 1.0
    assert xmc_command("index", "--run", run)[0] == 0
    assert "index goal" not in json.loads(xmc_command("info", run, "--json")[1]), "it was named, not chosen"


def test_a_choice_for_machines_that_changes_nothing(xmc_command, run):
    before = index_store(run).current().sha256
    code, out, err = xmc_command("index", "--run", run, "--latency", "10s", "--dry-run", "--seed", 4, "--json")
    assert code == 0 and not err
    report = json.loads(out)
    assert report["dry_run"] and report["backend"] == "exact" and report["choice"]["seed"] == 4
    assert report["choice"]["goal"]["latency_s"] == 10 and report["tried"][0]["verdict"] == "chosen"
    assert len(set(map(len, report["curve"].values()))) == 1 and report["curve"]["recall"][-1] == 1.0
    assert index_store(run).current().sha256 == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--memory", "1kB"], "Allow more memory"),
        (["--memory", "much"], "is not a size"),
        (["--latency", "2"], "has no unit"),
        (["--target-recall", "95"], "at most at 1"),
        (["--target-recall", "0.9", "--set", "index.name=exact"], "not both"),
        (["--dry-run"], "--target-recall"),
        (["-k", "5"], "-k is for an index that is chosen by goal"),
        (["--batch-size", "8", "--set", "index.name=exact"], "--batch-size is for an index"),
        (["--seed", "3"], "--seed is for an index"),
        (["--target-recall", "0.9", "--seed", "-1"], "--seed"),
    ],
)
def test_what_cannot_be_is_one_sentence(xmc_command, run, arguments, said):
    code, out, err = xmc_command("index", "--run", run, *arguments)
    assert code == 2 and said in err and not out and "Traceback" not in err
