"""Invariants: every command of every page parses, every link leads somewhere, and the pages run from top to bottom."""

import json
import re
import shutil
import sys
import tomllib

import numpy as np
import pytest
import torch
from doc_pages import PAGES, ROOT, all_commands, blocks, parse, run_page
from repetitions import only_in_full

from xmc.data.dataset import load_dataset
from xmc.data.shards import write_table
from xmc.data.tables import query_table_to_arrow
from xmc.errors import XmcWarning
from xmc.plugin_manager import load_plugins
from xmc.values import RunInfo

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    text = PAGES[page].read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not target.startswith("http"):
            assert (PAGES[page].parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_anchors_are_headings(page):
    text = PAGES[page].read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text):
        assert anchor in anchors_of(PAGES[page].parent / target if target else PAGES[page]), f"{target}#{anchor}"


def anchors_of(path):
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("page", "arguments"), all_commands("xmc"), ids=lambda value: " ".join(value)[:60])
def test_xmc_commands_parse(page, arguments):
    del page
    parse(arguments[:-2] if arguments[-2:-1] in ([">"], ["<"]) else arguments)


def test_a_wrong_option_does_not_parse():
    with pytest.raises(Exception, match="No such option"):
        parse(["train", "--out", "a", "--epoch-count", "3"])


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = {arguments[0] for _, arguments in all_commands("make")}
    texts = [path.read_text(encoding="utf-8") for path in PAGES.values()]
    named |= {target for text in texts for target in re.findall(r"`make ([a-z-]+)`", text)}
    assert {"quickstart", "test", "docs"} <= named <= targets


def test_scripts_exist():
    texts = [path.read_text(encoding="utf-8") for path in PAGES.values()]
    named = {script for text in texts for script in re.findall(r"(?<!`)`python (\S+\.py)", text)}
    assert "benchmarks/bench_exact_search.py" in named
    assert not [script for script in named if not (ROOT / script).is_file()]


def test_what_is_installed_is_xmc_engine_with_extras_that_exist():
    extras = set(PYPROJECT["project"]["optional-dependencies"])
    commands = [arguments for _, arguments in all_commands("pip")]
    assert ["install", "xmc-engine[cpu]"] in commands
    for arguments in commands:
        name, bracket, wanted = arguments[-1].partition("[")
        assert arguments[0] == "install" and name in ("xmc-engine", ".")  # the folder of a plugin
        assert not bracket or set(wanted.rstrip("]").split(",")) <= extras
    for page in PAGES.values():
        assert not re.search(r"pip install [\"']?xmc(?!-engine)\b", page.read_text(encoding="utf-8")), page


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny_run):
    """A working directory with what the pages take for granted: two runs, data to import, queries."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    (tmp_path / "runs").mkdir()
    for name in ("quickstart", "tiny"):
        shutil.copytree(tiny_run, tmp_path / "runs" / name)
    dataset = load_dataset("tiny")
    write_json_lines(tmp_path / "my-data", dataset)
    (tmp_path / "queries").mkdir()
    write_table(tmp_path / "queries" / "part-0.parquet", query_table_to_arrow(dataset.test))
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def write_json_lines(folder, dataset):
    folder.mkdir()
    labels = [{"id": i, "text": text} for i, text in zip(dataset.labels.ids, dataset.labels.texts, strict=True)]
    rows = [
        [dataset.labels.ids[row] for row in dataset.train.positives.take([q]).label_rows]
        for q in range(len(dataset.train))
    ]
    queries = [
        {"id": dataset.train.ids[q], "text": dataset.train.texts[q], "labels": label_ids}
        for q, label_ids in enumerate(rows)
    ]
    for name, lines in (("labels", labels), ("train", queries)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")


@pytest.mark.slow
def test_readme_runs_from_top_to_bottom(folder):
    run_page("README.md")
    assert (folder / "runs" / "mine" / "index" / "CURRENT").is_file()


@pytest.mark.slow
def test_data_page_runs_from_top_to_bottom(folder):
    shutil.rmtree(folder / "my-data")  # the page brings its own
    assert run_page("docs/data.md").startswith("3 labels, 4 training queries")


@pytest.mark.slow
def test_runs_page_runs_from_top_to_bottom(folder):
    assert "L21" in run_page("docs/runs.md")
    assert (folder / "hits" / "part-0.parquet").is_file()
    # a header and three epochs: the new run took the place of the one with two
    assert len((folder / "runs" / "a" / "curve.csv").read_text().splitlines()) == 4


@pytest.mark.slow
def test_batch_page_runs_from_top_to_bottom(folder):
    printed = run_page("docs/batch.md").splitlines()
    assert printed[0].startswith("part-0.parquet 100 {'ok': 100} ['L")
    assert printed[1:3] == ["100 {'ok': 100}", "['ok', 'null', 'ok']"]
    assert printed[3].startswith("2 [['L") and printed[4].startswith("1 [['L")
    assert (folder / "hits" / "_SUCCESS").is_file()


@pytest.mark.slow
def test_configuration_page_runs_and_a_run_repeated_from_its_configuration_is_the_same(folder):
    run_page("docs/configuration.md")
    curves = [(folder / "runs" / name / "curve.csv").read_text().splitlines() for name in ("a", "b")]
    assert len(curves[0]) == len(curves[1]) == 3
    without_seconds = [[line.rpartition(",")[0] for line in curve] for curve in curves]
    assert without_seconds[0] == without_seconds[1]


@pytest.mark.slow
def test_checks_page_runs_from_top_to_bottom(folder):
    printed = run_page("docs/checks.md")
    assert printed.startswith("L21 0.") and printed.endswith("True 1.0\n") and "\n1\n0\n" in printed
    assert "limits are kept." in (folder / "runs" / "quickstart" / "checks" / "report.html").read_text()


@only_in_full  # the command has tests of its own
@pytest.mark.slow
def test_choose_page_runs_from_top_to_bottom(folder):
    assert run_page("docs/choose.md").splitlines() == ["second ['unclear', 'better']", "True"]
    assert json.loads((folder / "choice.json").read_text())["portfolios"]["dr"][1]["sharpe_ratio"] > 0


@pytest.mark.slow
def test_distill_page_runs_from_top_to_bottom(folder):
    assert run_page("docs/distill.md") == "400 True\n"
    assert (folder / "runs" / "student" / "report.json").is_file()


@pytest.mark.slow
def test_aggregate_page_runs_from_top_to_bottom(folder):
    assert run_page("docs/aggregate.md").splitlines() == ["4 1/2 1/8", "0.5 4 1", "1 2 1", "4 1 1"]
    assert (folder / "runs" / "private" / "report.json").is_file()


@only_in_full  # the command has tests of its own
@pytest.mark.slow
def test_scale_page_runs_from_top_to_bottom(folder):
    printed = run_page("docs/scale.md").splitlines()
    assert printed[0] in ("by size", "by loss") and printed[1:] == ["6", "True"]
    assert json.loads((folder / "scaling" / "report.json").read_text())["predicted"]["p1"]["low"] >= 0


@pytest.mark.slow
def test_diagnose_page_runs_from_top_to_bottom(folder):
    printed = run_page("docs/diagnose.md").splitlines()
    assert printed[0] in ("more data", "wider", "stop earlier", "none") and printed[1] == "True"
    assert (folder / "runs" / "small" / "diagnosis" / "diagnosis.png").is_file()


@pytest.mark.slow
def test_serving_page_runs_from_top_to_bottom(folder):
    printed = run_page("docs/serving.md").splitlines()
    assert printed[0].startswith("1 L21 ") and printed[3] == "0"
    assert printed[-3:] == ["n2 {'source': 'music.txt', 'page': 3}", "['n1']", "[[]]"]


def test_export_page_runs_from_top_to_bottom(folder):
    printed = run_page("docs/export.md").splitlines()
    assert printed == ["True True", "['README.md', 'export.json', 'model.onnx', 'tokenizer.json']", "(2, 3)"]
    assert (folder / "card.md").read_text() == (folder / "runs" / "quickstart" / "README.md").read_text()


def test_the_page_on_indexes_runs():
    assert re.fullmatch(r"\d+% of the answers are proven\n", run_page("docs/indexes.md"))


@pytest.mark.slow
def test_labels_page_runs_from_top_to_bottom(folder):
    assert run_page("docs/labels.md").splitlines() == [
        "new-1 solar kettle appliance",
        "63 0",
        "picture-7 a drawing of a kettle",
        "None",
        "['L03', 'L40']",
        "False True",
        "2 0",
        "{'new-1': 'solar kettle appliance', 'new-2': 'golden violin instrument'}",
        "v000011 rollback to v000009 62 63",
        "0",
    ]


@pytest.mark.slow
def test_index_by_goal_page_runs_from_top_to_bottom(folder):
    assert run_page("docs/index-by-goal.md").startswith("exact {") and (folder / "choice.json").is_file()


@pytest.mark.slow
def test_plugins_page_runs_and_its_examples_are_plugins(folder, capsys):
    run_page("docs/plugins.md")
    metric = load_plugins(plugin_file=folder / "hit_rate.py").find("metric", "hit-rate").spec.load()
    assert metric(np.array([[False, True], [True, False]]), np.array([1, 1]), 1).tolist() == [0.0, 1.0]
    backend = load_plugins(plugin_file=folder / "whole_matrix.py").find("index", "whole-matrix").spec.load()
    assert backend().build([torch.eye(2)], similarity="dot", device="cpu").report.labels == 2
    assert (folder / "runs" / "plain" / "index" / "CURRENT").is_file()
    check = load_plugins(plugin_file=folder / "silence.py").find("check", "silence").spec.load()
    assert check(score=0.5).figures() == {"silent": "lower"}
    run = RunInfo(folder="runs/a", config={})
    load_plugins(plugin_file=folder / "watcher.py").epoch_finished(run, 2, {"validation_p1": 0.5})
    assert capsys.readouterr().out.endswith("runs/a: epoch 2, validation P@1 0.500\n")


@pytest.mark.slow
def test_sentence_transformers_page_runs_from_top_to_bottom(folder):
    printed = run_page("docs/sentence-transformers.md").splitlines()
    assert 0 < float(printed[-1]) < 10


@pytest.mark.slow
def test_rag_page_runs_from_top_to_bottom(folder):
    with pytest.warns(XmcWarning, match="labels were edited after its probabilities were fitted"):
        printed = run_page("docs/rag.md")
    assert printed.startswith("Human: Passages:\n[L21] tender tram vehicle (p = 1.0)\n\nQuestion: tender tram\nHuman:")
    assert "Passages:\nnothing relevant\n\nQuestion: quarterly revenue forecast\n" in printed
    lines = printed.splitlines()
    assert "{'source': 'music.txt', 'page': 3}" in lines[-8] and lines[-7:] == [
        "['n1']",
        "['n2']",
        "['n1'] []",
        "[('L21', 1)]",
        "['p1']",
        "tender tram vehicle",
        "What is it?",
    ]


def test_python_blocks_of_the_other_pages_compile():
    for page in PAGES:
        for block in blocks(page):
            if block.language == "python":
                compile(block.text, page, "exec")


@pytest.mark.slow
def test_encoders_page_runs_from_top_to_bottom(folder):
    assert run_page("docs/encoders.md").splitlines()[-1] == "1.0"
    assert (folder / "runs" / "experts" / "report.json").is_file()


@pytest.mark.slow
def test_optimizers_page_runs_from_top_to_bottom(folder):
    assert run_page("docs/optimizers.md").splitlines()[-1] == "True"
    assert (folder / "runs" / "kfac" / "report.json").is_file()
