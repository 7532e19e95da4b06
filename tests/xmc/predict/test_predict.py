"""Invariants: one output for each input, one row for each row, in their order, whatever the workers, batches and
formats; bad rows say why; another job, a changed input, a second writer are refused; what is done is not done again."""

import json
import shutil

import forked
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from predict_cases import contents, queries, require_complete, write_shards

import xmc
from xmc import Retriever, predict_run
from xmc.data.shards import read_table
from xmc.engine.label_editing import LabelEditor
from xmc.errors import ArtifactError, ConfigError, DataError, LockedError
from xmc.machine import available_memory, cores
from xmc.predict.allowed import AllowedLabels
from xmc.predict.engine import open_engine
from xmc.predict.job import make_job
from xmc.predict.native import affordable_workers, worker_bytes
from xmc.retrieve.layout import encoder_store, index_store
from xmc.store import locked, manifest
from xmc.store.atomic import sha256_of


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("shards") / "in", shards=4, rows=60)


@pytest.fixture(scope="module")
def finished(tiny_run, shards, tmp_path_factory):
    """The output of one worker, and its report; not to be changed."""
    out = tmp_path_factory.mktemp("finished") / "out"
    return out, predict_run(tiny_run, str(shards), out, k=3, workers=1, batch_rows=16)


def test_every_row_has_its_hits_in_order(tiny_run, finished):
    out, report = finished
    lines = require_complete(out)
    assert [line["name"] for line in lines] == [f"part-{number}.parquet" for number in range(4)]
    assert report.rows == report.rows_now == sum(line["rows"] for line in lines) == 60 + 61 + 62 + 63
    retriever = Retriever.load(tiny_run)
    for number in range(4):
        table, asked = (
            read_table(out / f"part-{number}.parquet", kind="hits"),
            queries(60 + number, first=1000 * number),
        )
        assert table["query_id"].to_pylist() == asked["query_id"].to_pylist()
        for row, text in zip(table.to_pylist(), asked["text"].to_pylist(), strict=True):
            if text is None or text == " ":
                assert row["status"] == ("null" if text is None else "blank")
                assert row["label_ids"] == row["scores"] == []
                continue
            expected = retriever.search([text], k=3)[0]
            assert row["status"] == "ok" and row["label_ids"] == [hit.label_id for hit in expected]
            np.testing.assert_allclose(row["scores"], [hit.score for hit in expected], atol=1e-6)


def test_two_processes_write_the_bytes_of_one(tiny_run, shards, finished, tmp_path):
    heard = []
    report = predict_run(
        tiny_run,
        f"{shards}/part-*",
        tmp_path / "out",
        k=3,
        workers=2,
        batch_rows=16,
        on_progress=lambda progress: heard.append((progress.shards, progress.rows, progress.size)),
    )
    assert contents(tmp_path / "out") == contents(finished[0])
    assert report.statuses == finished[1].statuses and report.rows == finished[1].rows
    size = sum(path.stat().st_size for path in shards.iterdir())
    assert heard[-1] == (4, report.rows, size)


def test_what_is_done_stays(tiny_run, shards, finished, tmp_path):
    """And what was lost or damaged meanwhile is made again."""
    out = tmp_path / "out"
    shutil.copytree(finished[0], out)
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    damaged = bytearray((out / "part-1.parquet").read_bytes())
    damaged[100] ^= 1
    (out / "part-1.parquet").write_bytes(damaged)
    (out / "part-2.parquet").unlink()
    (out / "_acks" / "part-3.parquet.json").write_text("{")
    (out / ".tmp-0123-part-0.parquet").write_text("left by a killed writer")
    report = predict_run(tiny_run, str(shards), out, k=3, workers=1, batch_rows=16)
    assert (report.shards, report.skipped) == (4, 1) and report.rows_now == report.rows - 60
    assert contents(out) == contents(finished[0])
    assert (out / "part-0.parquet").stat().st_mtime_ns == before["part-0.parquet"]
    assert predict_run(tiny_run, str(shards), out, k=3, workers=1, batch_rows=16).skipped == 4


def test_what_another_prediction_writes_in_a_folder_below_stays(tiny_run, shards, finished, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished[0], out)
    for folder in ("mine", "deep/locked", "job"):
        (out / folder).mkdir(parents=True)
        (out / folder / ".tmp-0123-part-0.parquet").write_text("half")
    (out / "deep" / "locked" / ".lock").touch()
    (out / "job" / "_job.json").touch()
    assert predict_run(tiny_run, str(shards), out, k=3, workers=1, batch_rows=16).skipped == 4
    left = {str(path.parent.relative_to(out)) for path in out.rglob(".tmp-*")}
    assert left == {"deep/locked", "job"}


@pytest.mark.parametrize(
    ("options", "message"), [({"k": 2}, "k 3 there, 2 here"), ({"batch_rows": 8}, "batch_rows 16 there, 8 here")]
)
def test_another_job_is_refused_and_replaced_when_asked(tiny_run, shards, finished, tmp_path, options, message):
    out = tmp_path / "out"
    shutil.copytree(finished[0], out)
    other = {"k": 3, "batch_rows": 16, "workers": 1} | options
    with pytest.raises(ConfigError, match=f"holds the output of another job: {message}"):
        predict_run(tiny_run, str(shards), out, **other)
    assert contents(out) == contents(finished[0])
    assert predict_run(tiny_run, str(shards / "part-0.parquet"), out, **other, overwrite=True).skipped == 0
    assert len(require_complete(out)) == 1  # nothing of the old job is left


def test_another_index_is_another_job(tiny_run_copy, shards, tmp_path):
    shard = str(shards / "part-0.parquet")
    predict_run(tiny_run_copy, shard, tmp_path / "out", k=3, workers=1)
    xmc.index_run(tiny_run_copy, settings=["index.name=sharded", "index.shards=7"])
    with pytest.raises(ConfigError, match="job: another index\\."):
        predict_run(tiny_run_copy, shard, tmp_path / "out", k=3, workers=1)
    predict_run(tiny_run_copy, shard, tmp_path / "sharded", k=3, workers=1)
    tables = [pq.read_table(tmp_path / name / "part-0.parquet") for name in ("out", "sharded")]
    assert tables[0].equals(tables[1])


def test_a_run_that_is_changed_meanwhile_is_told(tiny_run_copy, shards, finished, tmp_path):
    edits = iter([{"new": "a label that comes while others are searched"}])

    def on_progress(progress):
        for labels in edits:
            xmc.add_labels(tiny_run_copy, labels)

    args = tiny_run_copy, str(shards / "part-0.parquet"), tmp_path / "out"
    report = predict_run(*args, k=3, workers=1, batch_rows=16, on_progress=on_progress)
    assert any("was changed while this ran" in note for note in report.notes)
    assert not any("was changed" in note for note in finished[1].notes)
    assert (tmp_path / "out/part-0.parquet").read_bytes() == (finished[0] / "part-0.parquet").read_bytes()
    assert not any("was changed" in note for note in predict_run(*args, k=3, workers=1, overwrite=True).notes)


def test_a_changed_input_and_a_file_of_others_are_refused(tiny_run, tmp_path):
    folder = write_shards(tmp_path / "in", shards=1, rows=9)
    predict_run(tiny_run, str(folder), tmp_path / "out", k=3, workers=1)
    before = contents(tmp_path / "out")
    pq.write_table(queries(10), folder / "part-0.parquet")
    with pytest.raises(ConfigError, match="is not the file whose hits are in"):
        predict_run(tiny_run, str(folder), tmp_path / "out", k=3, workers=1)
    for name in before:
        assert (name.startswith("_") and name != "_job.json") or (tmp_path / "out" / name).read_bytes() == before[name]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "part-0.parquet").write_text("mine")
    with pytest.raises(ConfigError, match="was not written by this command"):
        predict_run(tiny_run, str(folder), tmp_path / "other", k=3, workers=1)
    assert (tmp_path / "other" / "part-0.parquet").read_text() == "mine"


def test_shards_added_later_join(tiny_run, tmp_path):
    folder = write_shards(tmp_path / "in" / "day=1", shards=1, rows=5).parent
    predict_run(tiny_run, str(folder), tmp_path / "out", k=3, workers=1)
    write_shards(folder / "day=2", shards=2, rows=5)
    report = predict_run(tiny_run, str(folder), tmp_path / "out", k=3, workers=1)
    assert (report.shards, report.skipped) == (3, 1)
    (tmp_path / "out" / "day=1" / "part-0.parquet").unlink()  # lost, and not among what is asked for now
    predict_run(tiny_run, f"{folder}/day=[2]/*", tmp_path / "out", k=3, workers=1)
    manifest = (tmp_path / "out" / "_manifest.jsonl").read_text()
    assert "day=1" not in manifest and manifest.count("day=2") == 3 * 2
    predict_run(tiny_run, str(folder), tmp_path / "out", k=3, workers=1)
    names = [line["name"] for line in require_complete(tmp_path / "out")]
    assert names == ["day=1/part-0.parquet", "day=2/part-0.parquet", "day=2/part-1.parquet"]


def test_a_bad_shard_is_named_and_the_others_are_done(tiny_run, tmp_path):
    folder = write_shards(tmp_path / "in", shards=3, rows=9)
    whole = (folder / "part-1.arrow").read_bytes()
    (folder / "part-1.arrow").write_bytes(whole[:-300])
    with pytest.raises(DataError, match=r"1 of 3 shards could not be answered; the others are done. .*part-1.arrow"):
        predict_run(tiny_run, str(folder), tmp_path / "out", k=3, workers=1)
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    assert {path.name for path in (tmp_path / "out").glob("*.parquet")} == {"part-0.parquet", "part-2.parquet"}
    (folder / "part-1.arrow").write_bytes(whole)
    assert predict_run(tiny_run, str(folder), tmp_path / "out", k=3, workers=1).skipped == 2
    require_complete(tmp_path / "out")


def test_a_second_writer_is_refused(tiny_run, shards, tmp_path):
    with locked(tmp_path / "out"), pytest.raises(LockedError, match="is being written by another process"):
        predict_run(tiny_run, str(shards), tmp_path / "out", k=3, workers=1)
    assert contents(tmp_path / "out") == {}


def test_embeddings_in_place_of_texts(tiny_run, tmp_path):
    """The ids are numbers here and come back as such; a vector that is none says so."""
    retriever = Retriever.load(tiny_run)
    vectors = retriever.encode(["tender tram", "lemon"]).numpy()
    rows = [vectors[0], np.full(len(vectors[0]), np.nan, np.float32), vectors[1]]
    column = pa.array([*rows, None], pa.list_(pa.float32(), len(vectors[0])))
    pq.write_table(pa.table({"id": [3, 1, 2, 9], "embedding": column}), tmp_path / "q.parquet")
    predict_run(tiny_run, str(tmp_path / "q.parquet"), tmp_path / "out", k=2, workers=1)
    table = read_table(tmp_path / "out" / "q.parquet", kind="hits")
    assert table["query_id"].to_pylist() == [3, 1, 2, 9]
    assert table["status"].to_pylist() == ["ok", "not-finite", "ok", "null"]
    expected = [[hit.label_id for hit in hits] for hits in retriever.search(["tender tram", "lemon"], k=2)]
    assert table["label_ids"].to_pylist() == [expected[0], [], expected[1], []]


def test_probabilities_after_calibration(tiny_run_copy, shards, tmp_path):
    shard = str(shards / "part-0.parquet")
    with pytest.raises(ArtifactError, match="has no calibration"):
        predict_run(tiny_run_copy, shard, tmp_path / "out", min_probability=0.5, workers=1)
    xmc.check_run(tiny_run_copy, ["calibrate"])
    predict_run(tiny_run_copy, shard, tmp_path / "out", min_probability=0.3, workers=1)
    table = read_table(tmp_path / "out" / "part-0.parquet", kind="hits")
    lists = table["probabilities"].to_pylist()
    assert min(probability for each in lists for probability in each) >= 0.3
    assert [len(each) for each in lists] == [len(each) for each in table["scores"].to_pylist()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must lie in 1..10,000"),
        ({"k": np.float64(2)}, "k must be a whole number, got np.float64(2.0)"),
        ({"batch_rows": 0}, "batch_rows must lie in"),
        ({"batch_rows": 2.5}, "batch_rows must be a whole number, got 2.5"),
        ({"min_probability": "0.5"}, "min_probability must be a number, got '0.5'"),
        ({"min_probability": 2.0}, "min_probability must lie in 0..1"),
        ({"engine": "daskk"}, "unknown engine 'daskk'. Did you mean 'dask'? One of: native, ray, dask."),
        ({"scheduler": "tcp://127.0.0.1:1"}, "--scheduler is for --engine ray and dask"),
        ({"workers": -1}, "workers must be at least 1"),
        ({"workers": 1.5}, "workers must be a whole number, got 1.5"),
        ({"workers": "2"}, "workers must be a whole number, got '2'"),
    ],
)
def test_options_that_cannot_be(tiny_run, shards, tmp_path, options, message):
    with pytest.raises(ConfigError) as raised:
        predict_run(tiny_run, str(shards), tmp_path / "out", **options)
    assert message in str(raised.value) and not (tmp_path / "out").exists()


def test_numbers_of_numpy_make_the_same_job(tiny_run):
    given = make_job(tiny_run, "out", k=np.int64(2), batch_rows=np.int32(8), min_probability=None)
    plain = make_job(tiny_run, "out", k=2, batch_rows=8, min_probability=None)
    assert given == plain and (type(given.k), type(given.batch_rows)) == (int, int)
    assert open_engine("native", workers=np.int64(1)) == open_engine("native", workers=1)


def test_what_is_no_run_or_none_yet_is_told(tiny_run_copy, shards, tmp_path):
    with pytest.raises(ArtifactError, match=r"none is not a run folder .* A run is made by"):
        predict_run(tmp_path / "none", str(shards), tmp_path / "out")
    shutil.rmtree(index_store(tiny_run_copy).root)
    with pytest.raises(ArtifactError, match=r"is trained, but has no index\. Build it: xmc index"):
        predict_run(tiny_run_copy, str(shards), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_workers_as_many_as_there_is_memory_for(tiny_run):
    """Each holds encoder, index and label table: of many labels with short codes the table is the largest."""
    index, encoder = index_store(tiny_run).current().folder, encoder_store(tiny_run).current().folder
    held = json.loads((index / "index.json").read_text())["report"]["memory_bytes"]
    held += sum(path.stat().st_size for path in encoder.rglob("*") if path.is_file() and path.name != "manifest.json")
    labels = read_table(index / "labels.parquet").to_pydict()
    characters = sum(map(len, labels["label_id"] + labels["text"]))
    size = worker_bytes(tiny_run)
    least = 2 * held + 150 * len(labels["text"]) + 4 * characters + (500 << 20)
    assert least <= size < least + 8_000  # of which Arrow's own words of a column
    assert affordable_workers(tiny_run, count=8, available=100 * size) == 8
    assert affordable_workers(tiny_run, count=8, available=4 * size) == 3
    assert affordable_workers(tiny_run, count=8, available=0) == 1
    assert available_memory() > 1 << 20 and cores() >= 1


def test_the_vectors_of_the_labels_are_read_once_before_they_are_opened(tiny_run, tmp_path, monkeypatch):
    """They may be many gigabytes; and who edits labels does not read them."""
    read = []
    monkeypatch.setattr(manifest, "sha256_of", lambda path: read.append(path.name) or sha256_of(path))
    make_job(tiny_run, str(tmp_path), k=3, batch_rows=16)
    assert read.count("labels.safetensors") == 1
    worker_bytes(tiny_run)
    LabelEditor(tiny_run).labels()
    AllowedLabels.of(tiny_run, ["L00"])
    assert read.count("labels.safetensors") == 1 and read.count("labels.parquet") == 4


def test_the_command(tiny_run, shards, finished, tmp_path):
    command = ["predict", "--run", tiny_run, "--shards", f"{shards}/*", "--out", tmp_path / "out"]
    options = ["-k", "3", "--batch-rows", "16", "--workers", "1", "--json"]
    done = forked.run(forked.xmc, *command, *options)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["shards"], report["skipped"], report["k"]) == (4, 0, 3) and report["rows_per_s"] > 0
    assert report["statuses"] == dict(finished[1].statuses)
    assert contents(tmp_path / "out") == contents(finished[0])
