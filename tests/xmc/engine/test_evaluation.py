"""Invariants: the report is that of the hits that were written; labels are matched by id; the data must fit."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import xmc
from xmc.data.dataset import load_dataset
from xmc.data.shards import write_table
from xmc.data.tables import label_table_to_arrow, query_table_to_arrow
from xmc.engine.label_editing import LabelEditor
from xmc.engine.removed_labels import without_removed
from xmc.errors import ConfigError, DataError
from xmc.privacy.privatise import privatise
from xmc.retrieve.label_edits import Edit, LabelEdits


def test_the_report_is_that_of_the_written_hits(tiny_run_copy):
    report = xmc.evaluate_run(tiny_run_copy, split="test", settings=["evaluate.ks=[1, 3]"])
    hits = pq.read_table(tiny_run_copy / "hits" / "test.parquet").to_pylist()
    data = load_dataset("tiny")
    assert [row["query_id"] for row in hits] == data.test.ids
    found = {1: 0.0, 3: 0.0}
    for row, hit in enumerate(hits):
        start, stop = data.test.positives.offsets[row : row + 2]
        wanted = {data.labels.ids[label] for label in data.test.positives.label_rows[start:stop]}
        assert hit["scores"] == sorted(hit["scores"], reverse=True) and len(hit["label_ids"]) == 3
        for k in found:
            found[k] += len(wanted & set(hit["label_ids"][:k])) / k
    for k, total in found.items():
        assert report.overall.figures[f"P@{k}"].value == pytest.approx(total / len(hits))
    written = json.loads((tiny_run_copy / "report.json").read_text())
    assert written["evaluation"]["overall"]["figures"]["P@1"]["value"] == report.overall.figures["P@1"].value
    assert written["data"]["split"] == "test" and written["search"]["exact"] is True


def test_it_says_how_many_queries_are_answered(tiny_run_copy, monkeypatch):
    monkeypatch.setattr("xmc.retrieve.batch.CHUNK", 40)
    heard = []
    settings = ["evaluate.bootstrap_samples=0"]
    xmc.evaluate_run(tiny_run_copy, settings=settings, on_progress=lambda *what: heard.append(what))
    assert heard == [("queries", done, 100) for done in (40, 80, 100)]


def test_another_run_is_asked_the_same_queries(tiny_run_copy, tiny_run, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny_run, other)
    xmc.index_run(other, settings=["index.name=faiss.ivf", "index.nlist=20", "index.nprobe=1"])
    shutil.rmtree(other / "hits", ignore_errors=True)
    settings = ["evaluate.ks=[1, 3]", "evaluate.bootstrap_samples=200"]
    report = xmc.evaluate_run(tiny_run_copy, settings=settings, beside=other)
    assert not (other / "hits").exists()
    alone = xmc.evaluate_run(other, settings=settings)
    assert report.beside.run == str(other)
    assert report.beside.figures == alone.overall.figures
    for name, apart in report.beside.differences.items():
        assert apart.value == pytest.approx(report.overall.value(name) - alone.overall.value(name))
        assert apart.low <= apart.value <= apart.high
    assert report.beside.differences["R@3"].low > 0, "one cell of twenty loses labels"
    written = json.loads((other / "report.json").read_text())["evaluation"]
    assert written["beside"] is None
    itself = xmc.evaluate_run(tiny_run_copy, settings=settings, beside=tiny_run_copy).beside.differences
    assert {(apart.value, apart.low, apart.high) for apart in itself.values()} == {(0.0, 0.0, 0.0)}
    written = json.loads((tiny_run_copy / "report.json").read_text())["evaluation"]["beside"]
    assert written["differences"]["P@1"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_runs_of_different_labels_are_not_compared(tiny_run_copy, tiny_run):
    first, second = load_dataset("tiny").labels.ids[:2]
    LabelEditor(tiny_run_copy).remove([first, second])
    with pytest.raises(DataError, match=rf"removed from one run and not .*'{first}', '{second}'"):
        xmc.evaluate_run(tiny_run_copy, settings=["evaluate.bootstrap_samples=0"], beside=tiny_run)


def test_another_order_of_the_labels_changes_no_figure(tiny_run_copy, tmp_path):
    folder, data = tmp_path / "data", load_dataset("tiny")
    folder.mkdir()
    order = np.random.default_rng(0).permutation(len(data.labels))
    labels = {"label_id": [data.labels.ids[row] for row in order], "text": [data.labels.texts[row] for row in order]}
    pq.write_table(pa.table(labels), folder / "labels.parquet")
    for split, queries in data.splits.items():
        rows = [queries.positives.take(np.array([row])).label_rows for row in range(len(queries))]
        positives = [[data.labels.ids[label] for label in each] for each in rows]
        columns = {"query_id": queries.ids, "text": queries.texts, "positives": positives}
        pq.write_table(pa.table(columns), folder / f"{split}.parquet")
    settings = ["evaluate.bootstrap_samples=0"]
    before = xmc.evaluate_run(tiny_run_copy, settings=settings)
    after = xmc.evaluate_run(tiny_run_copy, settings=[*settings, f"data.name={folder}"])
    assert {**after.to_dict(), "notes": []} == {**before.to_dict(), "notes": []}


def test_other_data_than_in_training_is_noted(tiny_run_copy, tmp_path):
    data = load_dataset("tiny")
    moved = {"train": data.train.take(np.arange(200, 400)), "dev": data.train.take(np.arange(200))}
    for name, table in {"labels": data.labels, **moved, "test": data.test}.items():
        to_arrow = label_table_to_arrow if name == "labels" else query_table_to_arrow
        write_table(tmp_path / f"{name}.parquet", to_arrow(table))
    settings = ["evaluate.bootstrap_samples=0", f"data.name={tmp_path}"]
    said = "is not in the state that the run was trained on: figures are too good if queries that are held out now"
    for split, count in (("dev", 1), ("test", 1), ("train", 0)):
        report = xmc.evaluate_run(tiny_run_copy, split=split, settings=settings)
        assert len(report.notes) == 1 and sum(said in note for note in report.notes) == count
    same = xmc.evaluate_run(tiny_run_copy, split="dev", settings=settings[:1])
    assert not same.notes
    (tiny_run_copy / "train.json").unlink()
    unknown = xmc.evaluate_run(tiny_run_copy, settings=settings[:1])
    assert "it is not known which data it was trained on" in unknown.notes[0]


def test_frequencies_by_the_noisy_labels_of_bags_are_noted(tiny_run_copy, tmp_path):
    privatise("tiny", tmp_path / "private", epsilon="1", bag_size=4, public=("test",))
    settings = ["evaluate.bootstrap_samples=0", f"data.name={tmp_path / 'private'}"]
    report = xmc.evaluate_run(tiny_run_copy, settings=settings)
    assert any("PSP and PSnDCG count a label by the shares that bags have" in note for note in report.notes)
    assert not any("judged by the labels of their bag" in note for note in report.notes)
    of_bags = xmc.evaluate_run(tiny_run_copy, split="train", settings=settings)
    assert "the queries of 'train' are in bags, and judged by the labels of their bag" in of_bags.notes[-1]
    assert of_bags.notes[0] == "runs are trained on the split 'train': of other queries these figures say nothing"
    of_rows = xmc.evaluate_run(tiny_run_copy, settings=settings[:1])
    assert not of_rows.notes
    assert of_rows.bands[0].labels < report.bands[0].labels  # noise makes every label look frequent


def test_a_removed_label_leaves_the_frequencies_of_the_others_in_bags(tmp_path):
    privatise("tiny", tmp_path / "private", epsilon="4", bag_size=4)
    whole = load_dataset(tmp_path / "private")
    gone = whole.labels.ids[0]
    left = without_removed(whole, LabelEdits({gone: Edit(None)}))
    assert gone not in left.labels.ids and left.train.bag_ids == whole.train.bag_ids
    assert left.train_counts().tolist() == whole.train_counts()[1:].tolist()


@pytest.mark.parametrize("setting", ["train.validation_share=0.5", "train.seed=3", "data.train_queries=40"])
def test_a_setting_that_would_hold_out_other_queries_is_refused(tiny_run, setting):
    name = setting.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"xmc evaluate takes settings of \[evaluate\] and data\.name, got {name}\."):
        xmc.evaluate_run(tiny_run, settings=["evaluate.ks=[1]", setting])
    with pytest.raises(ConfigError, match=rf"xmc check takes settings of \[check\], .* and data\.name, got {name}\."):
        xmc.check_run(tiny_run, ["calibrate"], settings=["check.calibrate.top=5", setting])
    with pytest.raises(ConfigError, match=rf"xmc rerank takes settings of \[reranker\], \[fusion\] .* got {name}\."):
        xmc.rerank_run(tiny_run, settings={"fusion.depth": 5, name: 1})
    assert not (tiny_run / "checks").exists()


def test_a_split_that_is_not_there_is_an_error(tiny_run):
    message = r"data set 'tiny' has no split 'tset' \(it has: train, dev, test\)\. Use: --split dev or --split test"
    with pytest.raises(DataError, match=message):
        xmc.evaluate_run(tiny_run, split="tset")


def test_labels_that_the_index_lacks_are_an_error(tiny_run):
    with pytest.raises(
        DataError, match=r"the index lacks 46,\d+ labels of data set 'icd10cm', such as .* xmc index again"
    ):
        xmc.evaluate_run(tiny_run, settings=["data.name=icd10cm"])
