"""What is no path is refused as such by every function that takes one, and nothing is written under its name."""

from pathlib import Path

import pyarrow as pa
import pytest

import xmc
from xmc.errors import ConfigError, DataError
from xmc.given_paths import given_path, given_place

TAKE_A_RUN = [
    xmc.Retriever.load,
    xmc.LabelEditor,
    xmc.index_run,
    xmc.rerank_run,
    xmc.evaluate_run,
    xmc.check_run,
    xmc.diagnose_run,
    lambda run: xmc.export_run(run, "out"),
    lambda run: xmc.predict_run(run, "queries", "out"),
]


@pytest.mark.parametrize("call", TAKE_A_RUN)
@pytest.mark.parametrize("value", [None, 5, b"runs/a", ["runs/a"]])
def test_what_is_no_run(call, value):
    with pytest.raises(ConfigError, match=rf"^run must be a path.*, got {type(value).__name__}\.$"):
        call(value)


def test_what_is_no_output(tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^out must be a path.*, got NoneType\.$"):
        xmc.predict_run(tiny_run, "queries", None)
    with pytest.raises(ConfigError, match=r"^out must be a path.*, got NoneType\.$"):
        xmc.train_run("tiny", None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [5, None, pa.table({"text": ["x"]})])
def test_what_is_no_shard(tiny_run, tmp_path, value):
    with pytest.raises(
        DataError, match=rf"^shards are files.*, got {type(value).__name__}\. Write a table into a file"
    ):
        xmc.predict_run(tiny_run, value, tmp_path / "out")
    with pytest.raises(ConfigError, match=rf"^each of the shards must be a path.*, got {type(value).__name__}\.$"):
        xmc.predict_run(tiny_run, [value], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("runs", [["runs/a"], "runs/a", None])
def test_what_are_no_named_runs(runs, tmp_path):
    said = f"^runs must be a mapping of names to run folders, got {type(runs).__name__}. Write {{.a.: .runs/a.}}"
    for call in (lambda: xmc.choose_run(tmp_path, runs), lambda: xmc.scale_run(runs=runs, pairs=1000)):
        with pytest.raises(ConfigError, match=said):
            call()


def test_what_is_no_data_set_or_log(tmp_path):
    table = pa.table({"text": ["x"]})
    for call in (
        lambda: xmc.train_run(table, tmp_path / "out"),
        lambda: xmc.teach("models/a", table, tmp_path / "out"),
        lambda: xmc.scale_run(table, tmp_path / "out"),
    ):
        with pytest.raises(DataError, match=r"^data must be the name of a shipped data set or its folder, got Table\."):
            call()
    with pytest.raises(ConfigError, match=r"^log must be a path.*, got Table\.$"):
        xmc.choose_run(table, {"a": tmp_path})


def test_a_path_of_any_kind(tmp_path):
    (tmp_path / "a").touch()
    entry = next(tmp_path.glob("a"))
    assert given_place(str(entry), name="x") == given_place(entry, name="x") == str(entry)
    assert given_path(str(entry), name="x") == Path(entry)


@pytest.mark.parametrize("call", [lambda runs: xmc.choose_run("log", runs), lambda runs: xmc.scale_run(runs=runs)])
@pytest.mark.parametrize("value", ["runs/a", ["runs/a"]])
def test_what_is_no_mapping_of_runs(call, value):
    with pytest.raises(ConfigError, match=rf"^runs must be a mapping .*, got {type(value).__name__}\. Write \{{"):
        call(value)
