"""Invariants: under a filter every row has the hits and probabilities of `search(allowed=)`; the filter is a part of
the job, reaches every worker by file, and what is not a label of the run is refused before anything is written."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from predict_cases import WORDS, contents, write_shards
from repetitions import only_in_full

import xmc
from xmc import Retriever, predict_run
from xmc.data.shards import read_table
from xmc.errors import ArtifactError, ConfigError, DataError
from xmc.predict.allowed import ALLOWED, AllowedLabels, read_allowed
from xmc.retrieve import table_search
from xmc.retrieve.calibration import NO_CUT_OFFS, Calibration, Curve
from xmc.store.location import Location

IDS = [f"L{number:02d}" for number in range(0, 60, 7)]
OPTIONS = {"k": 4, "batch_rows": 16}


@pytest.fixture(scope="module")
def calibrated_run(tiny_run, tmp_path_factory):
    run = tmp_path_factory.mktemp("calibrated") / "run"
    shutil.copytree(tiny_run, run)
    xmc.check_run(run, ["calibrate"], settings=["check.calibrate.first_ranks=[1,2,4]"])
    return run


@pytest.fixture(scope="module")
def retriever(calibrated_run):
    return Retriever.load(calibrated_run)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("shards") / "in", shards=3, rows=50)


@pytest.fixture(scope="module")
def finished(calibrated_run, shards, tmp_path_factory):
    """The output of one worker; not to be changed."""
    out = tmp_path_factory.mktemp("finished") / "out"
    predict_run(calibrated_run, str(shards), out, workers=1, allowed=reversed(IDS), **OPTIONS)
    return out


def require_hits_of_search(retriever, table, texts, **options):
    rows = [row for row in table.to_pylist() if row["status"] == "ok"]
    answers = retriever.search(texts, **options)
    assert len(rows) == len(answers) > 0
    for row, hits in zip(rows, answers, strict=True):
        assert row["label_ids"] == [hit.label_id for hit in hits]
        np.testing.assert_allclose(row["scores"], [hit.score for hit in hits], atol=1e-6)
        np.testing.assert_allclose(row["probabilities"], [hit.probability for hit in hits], atol=1e-6)


def usable(table):
    return [text for text in table["text"].to_pylist() if text is not None and text.strip()]


def test_every_row_is_answered_as_search_answers_it(retriever, shards, finished):
    for number in range(3):
        texts = usable(read_table(next(shards.glob(f"part-{number}.*"))))
        table = read_table(finished / f"part-{number}.parquet", kind="hits")
        require_hits_of_search(retriever, table, texts, k=4, allowed=IDS)
        unfiltered = retriever.search(texts, k=4)
        assert table["label_ids"].to_pylist() != [[hit.label_id for hit in hits] for hits in unfiltered]


@only_in_full
def test_two_processes_write_the_bytes_of_one(calibrated_run, shards, finished, tmp_path):
    out = tmp_path / "out"
    predict_run(calibrated_run, str(shards), out, workers=2, allowed=IDS, **OPTIONS)
    assert contents(out) == contents(finished)
    assert predict_run(calibrated_run, str(shards), out, workers=1, allowed=set(IDS), **OPTIONS).skipped == 3


def test_probabilities_are_those_of_ranks_among_all(retriever):
    """The best allowed label is not taken for the best one; also when the memory makes two halves of a batch."""
    table = pa.table({"query_id": range(12), "text": [f"{word} {n}" for word in WORDS for n in (1, 2)]})
    texts, worst = table["text"].to_pylist(), retriever.filter(IDS)
    for least in (None, 0.02):
        options = {"k": 3, "min_probability": least, "allowed": worst}
        require_hits_of_search(retriever, retriever.search_table(table, **options), texts, **options)
    whole = retriever.search_table(table, k=3, allowed=worst)
    vectors = pa.array(list(retriever.encode(texts).numpy()), pa.list_(pa.float32(), retriever.encoder.dimension))
    embedded = retriever.search_table(pa.table({"query_id": range(12), "embedding": vectors}), k=3, allowed=IDS)
    assert embedded["label_ids"].to_pylist() == whole["label_ids"].to_pylist()
    np.testing.assert_allclose(
        np.concatenate(embedded["probabilities"].to_pylist()),
        np.concatenate(whole["probabilities"].to_pylist()),
        atol=1e-6,
    )
    batches = retriever.search_batches(table.to_reader(max_chunksize=5), k=3, allowed=IDS)
    assert pa.Table.from_batches(batches).to_pylist() == whole.to_pylist()


@pytest.mark.parametrize("kept", [1, 2, 5])
def test_a_filter_changes_no_probability(retriever, kept):
    """Also where the curve of a lower band says more than what stands above it, which the filter leaves out."""
    bands = tuple(Curve(np.array([0.0, 1.0]), np.array([p, p])) for p in (0.3, 0.2, 0.9))
    fitted = replace(retriever.fitted, calibration=Calibration("isotonic", (1, 2, 4), bands, NO_CUT_OFFS))
    other = replace(retriever, fitted=fitted)
    for text, hits in zip(WORDS, other.search(list(WORDS), k=6), strict=True):
        allowed = [hit.label_id for hit in hits[kept:]]
        (found,) = other.search([text], k=6, allowed=allowed)
        assert [(hit.label_id, hit.probability) for hit in found if hit.label_id in allowed] == [
            (hit.label_id, hit.probability) for hit in hits[kept:]
        ]


def test_halves_of_a_batch_have_the_probabilities_of_the_whole(retriever, monkeypatch):
    table = pa.table({"query_id": range(8), "text": list(WORDS[:4]) * 2})
    whole = retriever.search_table(table, k=3, allowed=IDS)
    judged, sizes = table_search.TableSearch._judged, []

    def narrow(self, queries):
        sizes.append(len(queries))
        if len(queries) > 3:
            raise MemoryError
        return judged(self, queries)

    monkeypatch.setattr(table_search.TableSearch, "_judged", narrow)
    halves = retriever.search_table(table, k=3, allowed=IDS)
    assert sizes == [8, 4, 2, 2, 4, 2, 2]
    assert halves["label_ids"].to_pylist() == whole["label_ids"].to_pylist()
    for column in ("scores", "probabilities"):
        flat = [np.concatenate(found[column].to_pylist()) for found in (halves, whole)]
        np.testing.assert_allclose(*flat, atol=1e-6)


def test_the_filter_is_a_part_of_the_job(calibrated_run, shards, finished, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    for other in (IDS[1:], None):
        with pytest.raises(ConfigError, match="holds the output of another job: another filter of labels"):
            predict_run(calibrated_run, str(shards), out, workers=1, allowed=other, **OPTIONS)
    assert contents(out) == contents(finished)
    assert [json.loads(line)["id"] for line in (out / ALLOWED).read_text().splitlines()] == IDS
    predict_run(calibrated_run, str(shards), out, workers=1, overwrite=True, **OPTIONS)
    assert not (out / ALLOWED).exists()


def test_a_lost_or_damaged_filter_is_written_again(calibrated_run, shards, finished, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    for damage in ("", None):
        (out / ALLOWED).unlink() if damage is None else (out / ALLOWED).write_text(damage)
        (out / "part-1.parquet").unlink()
        predict_run(calibrated_run, str(shards), out, workers=1, allowed=IDS, **OPTIONS)
        assert contents(out) == contents(finished)


def test_a_worker_takes_no_other_filter(retriever, calibrated_run, tmp_path):
    out, labels = Location.of(str(tmp_path)), AllowedLabels.of(calibrated_run, IDS)
    with pytest.raises(ArtifactError, match="is gone"):
        read_allowed(out, labels.sha256, retriever)
    labels.hand_over(out)
    assert retriever.labels.ids[read_allowed(out, labels.sha256, retriever).label_rows[1]] == IDS[1]
    (tmp_path / ALLOWED).write_text('{"id": "L00"}\n')
    with pytest.raises(ArtifactError, match="is damaged"):
        read_allowed(out, labels.sha256, retriever)


@pytest.mark.parametrize(
    ("allowed", "message"),
    [
        ([], "the filter allows no label"),
        (["L00", "nope"], "1 of the allowed labels is not there: 'nope'"),
        ([""], "1 of the allowed labels is not there: ''"),
        ("L00", "got one text"),
        ([3], "got 3"),
    ],
)
def test_a_filter_that_cannot_be_is_refused_before_anything_is_written(tiny_run, shards, tmp_path, allowed, message):
    with pytest.raises(DataError, match=message):
        predict_run(tiny_run, str(shards), tmp_path / "out", allowed=allowed)
    assert not (tmp_path / "out").exists()


def test_labels_as_they_are_now(tiny_run_copy, shards, tmp_path):
    """Ids of any letters; an added label may be named, a removed one not."""
    xmc.add_labels(tiny_run_copy, {'neu\u2028\n"ä': "tender tram"})
    xmc.remove_labels(tiny_run_copy, ["L00"])
    shard = str(shards / "part-0.parquet")
    with pytest.raises(DataError, match="'L00'"):
        predict_run(tiny_run_copy, shard, tmp_path / "out", allowed=["L00"])
    predict_run(tiny_run_copy, shard, tmp_path / "out", k=1, workers=1, allowed=['neu\u2028\n"ä'])
    found = {tuple(ids) for ids in read_table(tmp_path / "out" / "part-0.parquet")["label_ids"].to_pylist()}
    assert found == {('neu\u2028\n"ä',), ()}
