"""Invariants: with --json standard output is one JSON document and nothing else; tables show the same figures."""

import io
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from repetitions import only_in_full

import xmc
from xmc.data.dataset import load_dataset
from xmc.data.named import named_folder
from xmc.data.schemas import schema_of
from xmc.retrieve.retriever import Retriever

XMC = Path(sys.executable).parent / "xmc"
QUICK = ["encoder.dimension=8", "train.batch_size=200", "train.learning_rate=0.02", "encoder.dropout=0.2"]
SET = [word for setting in QUICK for word in ("--set", setting)]
UNMAPPED = "failed to map segment from shared object"


@only_in_full
def test_train_in_a_process_of_its_own_prints_json_alone_and_has_the_same_bits(tmp_path):
    """Same seed, same threads: the trained weights are the same file, whatever hash seed a process has (and whatever
    it did before: this one has a random seed, and has run other tests)."""
    flags = ["train", "--data", "tiny", "--epochs", "1", "--seed", "3", "--json", "--out"]
    command = [str(XMC), *flags, str(tmp_path / "run"), *SET]
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["run"] == str(tmp_path / "run") and report["epochs_run"] == 1 and report["index"]["labels"] == 60
    assert done.stderr == "", "progress is off"
    xmc.train_run("tiny", tmp_path / "same", settings=[*QUICK, "train.epochs=1", "train.seed=3"])
    one, other = (json.loads((tmp_path / run / "encoder" / "CURRENT").read_text()) for run in ("run", "same"))
    assert one["manifest_sha256"] == other["manifest_sha256"]
    assert torch.equal(*(Retriever.load(tmp_path / run).encode(["tender tram"]) for run in ("run", "same")))
    config = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert config["train"]["seed"] == 3 and config["train"]["epochs"] == 1 and config["encoder"]["dimension"] == 8
    search = subprocess.run([XMC, "search", "tender tram", "--run", tmp_path / "run"], capture_output=True, text=True)
    assert search.returncode == 0 and "tender tram vehicle" in search.stdout and not search.stderr


def test_train_for_people_shows_plan_epochs_and_what_to_do_next(xmc_command, tmp_path):
    run = tmp_path / "run"
    code, out, err = xmc_command("train", "--data", "tiny", "--out", run, "--epochs", 2, *SET)
    assert code == 0
    assert "data 'tiny': 400 training queries, 100 for validation, 60 labels" in err
    assert "plan: 2 epochs, 4 steps, each query against 60 labels" in err and "memory: parameters" in err
    assert "epoch 1: loss" in err and "epoch 2: loss" in err
    assert f"next: xmc evaluate --run {run}    xmc search" in out and "validation P@1" in out
    assert "early" not in err + out
    assert err.endswith("building the index\n"), "a log has no bar, which would tell the time left when none is"
    assert (run / "curve.png").is_file() and (run / "curve.csv").is_file()


def test_a_training_that_stops_early_says_so_and_without_a_test_split_dev_is_proposed(xmc_command, tmp_path):
    data, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(named_folder("tiny"), data)
    (data / "test.parquet").unlink()
    settings = ("--set", "train.learning_rate=1e-12", "--set", "train.patience=1", "--epochs", 9)
    code, out, err = xmc_command("train", "--data", data, "--out", run, *SET[:4], *settings)
    assert code == 0
    said = "stopped early after epoch 2: validation P@1 had not improved for 1 epoch (train.patience)"
    assert said in err and "stopped early after epoch 2: validation" in out
    report = json.loads((run / "train.json").read_text())
    assert report["stopped_early"] and report["epochs_run"] == 2 and report["splits"] == ["train", "dev"]
    assert f"next: xmc evaluate --run {run} --split dev" in out
    code, _, err = xmc_command("evaluate", "--run", run)
    assert code == 2 and "has no split 'test' (it has: train, dev)." in err and "hint: Use: --split dev" in err
    assert xmc_command("evaluate", "--run", run, "--split", "dev")[0] == 0


def test_train_dry_run_prints_the_configuration_and_writes_nothing(xmc_command, tmp_path):
    code, out, err = xmc_command("train", "--data", "tiny", "--out", tmp_path / "run", "--dry-run", "--seed", 7)
    assert code == 0 and tomllib.loads(out)["train"]["seed"] == 7
    assert "data 'tiny': " in err and "plan: " in err and "estimated peak" in err and "time: not estimated" in err
    assert not (tmp_path / "run").exists()
    code, as_json, _ = xmc_command("train", "--data", "tiny", "--out", tmp_path, "--dry-run", "--seed", 7, "--json")
    planned = json.loads(as_json)
    assert code == 0 and planned["config"]["train"] == tomllib.loads(out)["train"] and not list(tmp_path.iterdir())
    assert planned["plan"]["labels"] == 60 and planned["plan"]["peak_bytes"] > 0
    more = ("--dry-run", "--plugin", "linear", "--json")
    code, as_json, _ = xmc_command("train", "--data", "tiny", "--out", tmp_path, *more)
    assert code == 0 and json.loads(as_json)["plan"] is None
    code, _, err = xmc_command("train", "--data", tmp_path / "gone", "--out", tmp_path / "run", "--dry-run")
    assert code == 2 and "there is no data set" in err


def test_long_texts_are_told_their_recipe_unless_one_is_named(xmc_command, tmp_path):
    source, data = tmp_path / "source", tmp_path / "data"
    source.mkdir()
    rows = [{"id": f"q{row}", "text": f"act {row} " * 30, "labels": ["a", "bc"[row % 2]]} for row in range(40)]
    (source / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    advice = "queries of 60 words are better served by --plugin linear.fused"
    assert advice in xmc_command("import", source, "--out", data)[1]
    for plugin, told in (((), True), (("--plugin", "dexml"), False)):
        code, _, err = xmc_command("train", "--data", data, "--out", tmp_path / "run", "--dry-run", *plugin)
        assert code == 0 and (advice in err) == told
    assert advice in xmc_command("train", "--data", data, "--out", tmp_path / "run", "--epochs", 1, *SET)[2]
    code, out, err = xmc_command("train", "--plugin", "auto", "--data", data, "--out", tmp_path / "auto", "--dry-run")
    assert code == 0 and "note: recipe linear.fused: it suits queries of 60 words" in err
    named = xmc_command("train", "--plugin", "linear.fused", "--data", data, "--out", tmp_path / "auto", "--dry-run")
    assert out == named[1] and "recipe" not in named[2]


def test_config_is_a_file_that_train_takes(xmc_command, tmp_path):
    code, out, _ = xmc_command("config", "--plugin", "dexml", "--set", "train.epochs=9", "--set", "data.name=tiny")
    assert code == 0
    (tmp_path / "my.toml").write_text(out)
    _, again, _ = xmc_command("train", "--out", tmp_path / "run", "--config", tmp_path / "my.toml", "--dry-run")
    assert again == out
    _, again, _ = xmc_command("config", "--config", tmp_path / "my.toml")
    assert again == out and tomllib.loads(out)["train"]["epochs"] == 9


def test_search_for_machines_and_for_people(xmc_command, tiny_run):
    code, out, err = xmc_command("search", "tender tram", "--run", tiny_run, "-k", 3, "--json")
    assert code == 0 and not err
    answer = json.loads(out)
    expected = Retriever.load(tiny_run).search(["tender tram"], k=3)[0]
    assert answer == {"query": "tender tram", "k": 3, "hits": [hit._asdict() for hit in expected]}
    assert list(answer["hits"][0]) == ["rank", "label_id", "text", "score", "probability"]
    code, table, err = xmc_command("search", "tender tram", "--run", tiny_run, "-k", 3)
    assert code == 0 and not err
    for hit in expected:
        assert hit.label_id in table and hit.text in table and f"{hit.score:.4f}" in table


def test_search_of_lines_from_standard_input(xmc_command, tiny_run, monkeypatch):
    def call(lines, *options):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines), "utf-8"))
        return xmc_command("search", "-", "--run", tiny_run, "-k", 2, *options)

    lines = b"tender tram\n\n vast dumpling\r\n"
    code, out, err = call(lines, "--json")
    assert code == 0 and not err
    one = json.loads(xmc_command("search", "vast dumpling", "--run", tiny_run, "-k", 2, "--json")[1])
    assert [answer["query"] for answer in json.loads(out)] == ["tender tram", "vast dumpling"]
    assert json.loads(out)[1]["hits"] == [{**hit, "score": pytest.approx(hit["score"])} for hit in one["hits"]]
    code, out, _ = call(lines)
    assert code == 0 and "tender tram vehicle" in out and "vast dumpling dish" in out
    for nothing, message in ((b" \n", "no line with a query"), (b"\xff\n", "is not UTF-8")):
        code, out, err = call(nothing)
        assert code == 2 and message in err and not out and "Traceback" not in err


def test_a_long_text_is_cut_in_the_table_only(xmc_command, tiny_run_copy):
    text = "vivid zeppelin " * 100 + "END"
    code, _, err = xmc_command("labels", "add", "--id", "long", "--text", text, "--run", tiny_run_copy)
    assert code == 0, err
    _, out, _ = xmc_command("search", "vivid zeppelin", "--run", tiny_run_copy, "--allow", "long", "--json")
    assert json.loads(out)["hits"][0]["text"] == text
    _, out, _ = xmc_command("search", "vivid zeppelin", "--run", tiny_run_copy, "--allow", "long")
    assert "vivid zeppelin" in out and "…" in out and "END" not in out and len(out.splitlines()) < 12


def test_search_prints_markup_of_a_text_as_it_is(xmc_command, tiny_run):
    for text in ("[red]tram[/red]", "tram [/wrong]", ":smile: tram"):
        code, out, _ = xmc_command("search", text, "--run", tiny_run, "-k", 1)
        assert code == 0 and text in out


@pytest.fixture
def queries(tmp_path):
    folder = tmp_path / "queries"
    folder.mkdir()
    for number, (ids, texts) in enumerate([(["a", "b"], ["tender tram", "lemon"]), ([7], ["zebra"])]):
        pq.write_table(pa.table({"query_id": ids, "text": texts}), folder / f"part-{number}.parquet")
    return folder


def test_search_of_tables_writes_tables_of_hits(xmc_command, tiny_run, queries, tmp_path):
    arguments = (
        "search",
        "--run",
        tiny_run,
        "--queries",
        queries / "part-*.parquet",
        "--out",
        tmp_path / "hits",
        "-k",
        2,
    )
    code, out, err = xmc_command(*arguments)
    assert code == 0 and not err
    assert out.splitlines()[0].startswith("3 rows of 2 shards at ")
    assert out.splitlines()[1:] == [f"written: {tmp_path}/hits"]
    table = pq.read_table(tmp_path / "hits" / "part-0.parquet")
    expected = schema_of("hits", without=["probabilities"])
    assert (table.schema.names, table.schema.types) == (expected.names, expected.types)
    assert table["status"].to_pylist() == ["ok", "ok"]
    rows = table.to_pylist() + pq.read_table(tmp_path / "hits" / "part-1.parquet").to_pylist()
    assert [row["query_id"] for row in rows] == ["a", "b", 7]
    expected = Retriever.load(tiny_run).search(["tender tram", "lemon", "zebra"], k=2)
    for row, hits in zip(rows, expected, strict=True):
        assert row["label_ids"] == [hit.label_id for hit in hits]
        np.testing.assert_allclose(row["scores"], [hit.score for hit in hits], atol=1e-6)
    code, out, _ = xmc_command(*arguments, "--json")
    report = json.loads(out)
    assert code == 0 and (report["shards"], report["skipped"], report["rows"], report["rows_now"]) == (2, 2, 3, 0)


def test_index_with_another_backend_changes_the_answerer_not_the_answer(xmc_command, tiny_run_copy):
    before = Retriever.load(tiny_run_copy).search(["tender tram"], k=5)[0]
    code, out, _ = xmc_command("index", "--run", tiny_run_copy, "--set", "index.name=faiss.flat")
    assert code == 0 and out.startswith("indexed 60 labels x 32 with 'faiss.flat' on cpu in ")
    after = Retriever.load(tiny_run_copy)
    assert after.report.backend == "faiss.flat"
    assert [hit.label_id for hit in after.search(["tender tram"], k=5)[0]] == [hit.label_id for hit in before]
    _, out, _ = xmc_command("info", tiny_run_copy, "--json")
    assert json.loads(out)["index"] == "faiss.flat"
    code, out, err = xmc_command("index", "--run", tiny_run_copy, "--json")
    assert code == 0 and json.loads(out)["backend"] == "faiss.flat" and not err


def test_evaluate_for_machines_and_for_people(xmc_command, tiny_run_copy):
    settings = ["--set", "evaluate.ks=[1, 3]", "--set", "evaluate.bootstrap_samples=50"]
    code, out, err = xmc_command("evaluate", "--run", tiny_run_copy, "--split", "dev", *settings, "--json")
    assert code == 0 and not err
    report = json.loads(out)
    assert report["split"] == "dev" and report["run"] == str(tiny_run_copy) and report["queries"] == 100
    value = report["overall"]["figures"]["P@1"]["value"]
    code, out, err = xmc_command("evaluate", "--run", tiny_run_copy, "--split", "dev", *settings)
    assert code == 0 and not err
    line = next(line for line in out.splitlines() if "P@1" in line and "PSP" not in line)
    assert f"{100 * value:.2f}" in line
    assert (
        "dev: 100 queries" in out
        and "in per cent, 95 % intervals by bootstrap; " in out
        and str(tiny_run_copy / "report.json") in out.replace("\n", "")
    )
    assert (tiny_run_copy / "hits" / "dev.parquet").is_file()
    _, out, _ = xmc_command("info", tiny_run_copy, "--json")
    assert json.loads(out)["dev P@1"] == round(value, 4)
    settings[-1] = "evaluate.bootstrap_samples=0"
    _, out, _ = xmc_command("evaluate", "--run", tiny_run_copy, "--split", "dev", *settings)
    assert "intervals" not in out and "bands by training queries" in out


def test_info_for_machines_and_for_people(xmc_command, tiny_run):
    code, out, err = xmc_command("info", tiny_run, "--json")
    assert code == 0 and not err
    facts = json.loads(out)
    assert (facts["data"], facts["encoder"], facts["loss"], facts["index"]) == (
        "tiny",
        "static",
        "dexml.decoupled-softmax",
        "exact",
    )
    assert all("verified" in facts[f"{name} folder"] for name in ("checkpoint", "encoder", "index"))
    code, table, _ = xmc_command("info", tiny_run)
    assert code == 0 and all(key in table for key in facts if key != "versions")


def test_info_takes_the_run_in_either_way(xmc_command, tiny_run):
    assert xmc_command("info", "--run", tiny_run, "--json") == xmc_command("info", tiny_run, "--json")
    code, out, err = xmc_command("info")
    assert code == 2 and not out and "give the folder of a run" in err


def test_info_of_several_runs_sets_them_side_by_side(xmc_command, tiny_run, tiny_run_copy):
    code, _, err = xmc_command("evaluate", "--run", tiny_run_copy, "--set", "evaluate.ks=[1]")
    assert code == 0, err
    config = tiny_run_copy / "config.toml"
    config.write_text(config.read_text().replace("epochs = 4", "epochs = 5"))
    code, out, err = xmc_command("info", tiny_run, tiny_run_copy, "--json")
    found = json.loads(out)
    assert code == 0 and not err and found["runs"] == [str(tiny_run), str(tiny_run_copy)]
    assert found["settings"] == {"train.epochs": [4, 5]} and found["training"]["epochs_run"] == [4, 4]
    figure = found["figures"]["test P@1"]
    assert figure[0] is None and 0 < figure[1]["low"] <= figure[1]["value"] <= 1
    assert found["notes"] == [f"{tiny_run} has no figures. Measure them: xmc evaluate --run {tiny_run}"]
    code, out, err = xmc_command("info", "--run", tiny_run, "--run", tiny_run_copy)
    assert code == 0 and "train.epochs" in out and "encoder.dimension" not in out and "has no figures" in err
    code, out, err = xmc_command("info", tiny_run, tiny_run, "--card")
    assert code == 2 and not out and "--card prints the Markdown of one run" in err
    code, out, _ = xmc_command("info", tiny_run, tiny_run)
    assert code == 0 and "no setting differs" in out and "±" not in out
    config.write_text((tiny_run / "config.toml").read_text().replace("\nseed = 0", "\nseed = 1"))
    code, out, _ = xmc_command("info", tiny_run, tiny_run_copy)
    assert code == 0 and "mean ± sd" in out and "4 ± 0" in out and "only the seed differs" in out


def test_every_json_verb_prints_json_alone(xmc_command, tiny_run):
    for arguments in (["plugins"], ["plugins", "show", "dexml"], ["info", tiny_run], ["plugins", "--kind", "loss"]):
        code, out, err = xmc_command(*arguments, "--json")
        assert code == 0 and not err and json.loads(out)


def test_a_run_whose_checkpoint_is_gone_still_serves(xmc_command, tiny_run_copy):
    shutil.rmtree(tiny_run_copy / "checkpoint")
    code, out, _ = xmc_command("info", tiny_run_copy, "--json")
    assert code == 0 and json.loads(out)["checkpoint folder"] == "none"
    assert xmc_command("search", "tram", "--run", tiny_run_copy)[0] == 0


def test_debug_shows_the_traceback(xmc_command, tmp_path):
    from xmc.errors import ConfigError

    with pytest.raises(ConfigError, match="is not a run folder"):
        xmc_command("--debug", "info", tmp_path)


def test_the_texts_of_the_data_are_found(xmc_command, tiny_run):
    label_id, text = load_dataset("tiny").labels.ids[5], load_dataset("tiny").labels.texts[5]
    _, out, _ = xmc_command("search", text, "--run", tiny_run, "-k", 1, "--json")
    assert json.loads(out)["hits"][0]["label_id"] == label_id


def test_resuming_a_finished_run_takes_its_own_configuration_and_changes_nothing(xmc_command, tiny_run_copy):
    before = Retriever.load(tiny_run_copy)
    config = (tiny_run_copy / "config.toml").read_text()
    code, out, err = xmc_command("train", "--out", tiny_run_copy, "--resume", "--json")
    assert code == 0, err
    report, epochs = json.loads(out), tomllib.loads(config)["train"]["epochs"]
    assert report["epochs_run"] == epochs and report["run"] == str(tiny_run_copy)
    assert (tiny_run_copy / "config.toml").read_text() == config
    after = Retriever.load(tiny_run_copy)
    assert after.search(["tender tram"]) == before.search(["tender tram"])
    code, _, err = xmc_command("train", "--data", "tiny", "--out", tiny_run_copy, "--resume", "--plugin", "nothing")
    assert code == 2 and "unknown recipe 'nothing'" in err
    code, _, err = xmc_command("train", "--data", "tiny", "--out", tiny_run_copy, "--resume", "--plugin", "mw")
    assert code == 2 and "loss" in err, err


def test_resuming_where_no_run_is_says_that_a_new_training_begins(xmc_command, tmp_path):
    arguments = ("train", "--data", "tiny", "--out", tmp_path, "--resume", "--set", "encoder.dimension=8")
    code, _, err = xmc_command(*arguments, "--epochs", 1)
    assert code == 0 and f"there is no run in {tmp_path} to go on with: a new training begins" in err
    code, _, err = xmc_command(*arguments, "--epochs", 1)
    assert code == 0 and "a new training begins" not in err


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            OSError(28, "could not write: No space left on device", "/a/b"),
            "/a/b: could not write: No space left on device.",
        ),
        (PermissionError(13, "Permission denied"), "Permission denied."),
        (OSError("odd"), "OSError: odd."),
        (MemoryError(), "there is not enough memory."),
        (MemoryError("Unable to allocate 8 TiB"), "there is not enough memory: Unable to allocate 8 TiB."),
        (RuntimeError("CUDA out of memory.\n more"), "there is not enough memory: CUDA out of memory."),
        (ImportError(f"a.so: {UNMAPPED}"), f"there is not enough memory: a.so: {UNMAPPED}."),
    ],
)
def test_what_the_system_refuses_is_one_sentence(error, sentence):
    from xmc.cli.failures import MEMORY_HINT, told

    assert told(error) == (sentence, MEMORY_HINT if "memory" in sentence else "")


def test_a_mistake_of_xmc_itself_keeps_its_traceback():
    from xmc.cli.failures import told

    assert told(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) == ("", "")
    assert told(ImportError(f"a.so: {UNMAPPED}: Operation not permitted")) == ("", "")


@pytest.mark.parametrize("verb", [("evaluate",), ("check", "exactness")])
def test_a_warning_is_a_note_in_every_verb(xmc_command, tiny_run_copy, verb):
    (tiny_run_copy / "README.md").unlink(missing_ok=True)
    (tiny_run_copy / "README.md").mkdir()
    code, _, err = xmc_command(*verb, "--run", tiny_run_copy)
    assert code == 0 and err.count("note: the model card") == 1 and "XmcWarning" not in err
