"""Invariants: an index is built of moved vectors, and everything that asks the run for a label's vector gets the moved
one; a label that was edited is not moved; a compaction moves nothing back; what cannot be moved is refused at once."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import xmc
from xmc.api import normalise_rows
from xmc.encode.encoder import embed_texts
from xmc.engine.carried import Carried
from xmc.engine.describe import describe_run
from xmc.engine.indexing import run_indexing
from xmc.engine.label_moves import LabelOptions
from xmc.engine.moved_labels import moved_labels
from xmc.engine.run_config import read_run_config, resolve
from xmc.engine.training import plan_training, run_training
from xmc.errors import ConfigError, XmcWarning
from xmc.plugin_manager import load_plugins
from xmc.retrieve.label_edits import LabelEdits
from xmc.retrieve.layout import index_store
from xmc.retrieve.run_state import description_of

PLUGINS = load_plugins()


def vectors_of(retriever):
    return torch.cat(list(retriever.model.label_vectors(retriever.labels)[0]))


def wanted(run, retriever, query_weight, *, apart_from=()):
    """The vectors as a loop makes them of the data set."""
    data, labels = Carried().load(read_run_config(PLUGINS, run)), retriever.labels
    vectors_LD = embed_texts(retriever.encoder, labels.texts, "label").clone()
    queries_ND = embed_texts(retriever.encoder, data.train.texts, "query")
    row_of = {label_id: row for row, label_id in enumerate(labels.ids)}
    truth = data.train.positives
    for query, row in zip(truth.query_rows(), truth.label_rows, strict=True):
        if (label_id := data.labels.ids[row]) in row_of and label_id not in apart_from:
            vectors_LD[row_of[label_id]] += query_weight * queries_ND[query]
    return normalise_rows(vectors_LD)


def test_the_index_and_the_model_have_the_moved_vectors(tiny_run_copy):
    before = xmc.Retriever.load(tiny_run_copy)
    report = xmc.index_run(tiny_run_copy, settings={"labels.query_weight": 0.5})
    after = xmc.Retriever.load(tiny_run_copy)
    expected_LD = wanted(tiny_run_copy, before, 0.5)
    assert report.query_weight == after.report.query_weight == 0.5
    assert not torch.allclose(expected_LD, vectors_of(before), atol=1e-3)
    torch.testing.assert_close(vectors_of(after), expected_LD, atol=1e-5, rtol=1e-5)
    queries_QD = after.encode(["fog rain", "tender tram"])
    for (rows, scores), query in zip(after.search_embeddings(queries_QD, k=60), queries_QD, strict=True):
        torch.testing.assert_close(torch.from_numpy(scores), expected_LD[rows] @ query, atol=1e-5, rtol=1e-5)
    assert describe_run(tiny_run_copy)["index query_weight"] == 0.5
    assert "each counts 0.5 beside the text" in (tiny_run_copy / "README.md").read_text()
    xmc.index_run(tiny_run_copy)  # the run keeps the setting
    assert torch.equal(vectors_of(xmc.Retriever.load(tiny_run_copy)), vectors_of(after))
    xmc.index_run(tiny_run_copy, settings={"labels.query_weight": 0})
    assert torch.equal(vectors_of(xmc.Retriever.load(tiny_run_copy)), vectors_of(before))


def test_the_weight_is_chosen_on_dev_and_noted(tiny_run_copy):
    report = xmc.index_run(tiny_run_copy, settings={"labels.query_weight": "auto"})
    moves = description_of(index_store(tiny_run_copy).current())["moves"]
    best = max(moves["ndcg_of"].values())
    assert report.query_weight == moves["query_weight"] and moves["ndcg_of"][f"{report.query_weight:g}"] == best


@pytest.mark.filterwarnings("ignore::xmc.errors.XmcWarning")
def test_edited_labels_are_not_moved_and_a_compaction_moves_nothing_back(tiny_run_copy):
    labels = xmc.Retriever.load(tiny_run_copy).labels
    gone, other, back = labels.ids[3], labels.ids[5], labels.ids[7]
    xmc.index_run(tiny_run_copy, settings={"labels.query_weight": 0.5})
    xmc.remove_labels(tiny_run_copy, [gone])
    xmc.replace_labels(tiny_run_copy, {other: "another text"})
    xmc.replace_labels(tiny_run_copy, {back: "for a while"})
    xmc.replace_labels(tiny_run_copy, {back: labels.texts[7]})  # the label that its queries asked for again
    xmc.add_labels(tiny_run_copy, {"a0": "fog over the harbour"})
    edited = xmc.Retriever.load(tiny_run_copy)
    expected_LD = wanted(tiny_run_copy, edited, 0.5, apart_from=(other,))
    torch.testing.assert_close(vectors_of(edited), expected_LD, atol=1e-5, rtol=1e-5)
    xmc.compact_labels(tiny_run_copy)
    compacted = xmc.Retriever.load(tiny_run_copy)
    assert compacted.labels == edited.labels and back in compacted.labels.ids
    assert torch.equal(vectors_of(compacted), vectors_of(edited))
    assert description_of(index_store(tiny_run_copy).current())["moves"]["query_weight"] == 0.5
    xmc.index_run(tiny_run_copy)  # of the data set, with the edits
    torch.testing.assert_close(vectors_of(xmc.Retriever.load(tiny_run_copy)), expected_LD, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore::xmc.errors.XmcWarning")
def test_a_rollback_over_a_compaction_brings_moved_labels_back(tiny_run_copy):
    xmc.index_run(tiny_run_copy, settings={"labels.query_weight": 0.5})
    before = xmc.Retriever.load(tiny_run_copy)
    gone, other, given = before.labels.ids[3:6]
    xmc.remove_labels(tiny_run_copy, [gone])
    xmc.replace_labels(tiny_run_copy, {other: "another text"})
    xmc.replace_labels(tiny_run_copy, {given: "a picture"}, vectors=np.ones((1, before.encoder.dimension), np.float32))
    for _ in range(2):
        xmc.compact_labels(tiny_run_copy)
    xmc.rollback_labels(tiny_run_copy, to="v000000")
    after = xmc.Retriever.load(tiny_run_copy)
    assert after.labels == before.labels and torch.equal(vectors_of(after), vectors_of(before))
    texts = ["fog rain", "tender tram"]
    assert after.search(texts, k=60) == before.search(texts, k=60)
    xmc.compact_labels(tiny_run_copy)  # all are back
    assert not (index_store(tiny_run_copy).current().folder / "means_gone.parquet").exists()
    assert torch.equal(vectors_of(xmc.Retriever.load(tiny_run_copy)), vectors_of(before))


@pytest.mark.filterwarnings("ignore:.*some labels were edited:xmc.errors.XmcWarning")
def test_scores_that_a_calibration_was_fitted_to_are_others(tiny_run_copy):
    xmc.check_run(tiny_run_copy, ["calibrate"])
    with pytest.warns(XmcWarning, match="the calibration of .* was fitted for an earlier index"):
        xmc.index_run(tiny_run_copy, settings={"labels.query_weight": 0.5})
    xmc.check_run(tiny_run_copy, ["calibrate"])
    xmc.index_run(tiny_run_copy)  # the same vectors again: the calibration stays
    xmc.remove_labels(tiny_run_copy, [xmc.Retriever.load(tiny_run_copy).labels.ids[3]])
    xmc.compact_labels(tiny_run_copy)  # the rows of the labels after it are others, their vectors the same
    assert xmc.Retriever.load(tiny_run_copy).fitted.calibration is not None


def test_a_second_stage_was_weighed_beside_labels_that_were_moved_otherwise(tiny_run_copy):
    xmc.rerank_run(tiny_run_copy, settings={"fusion.prior": 0.25})
    xmc.index_run(tiny_run_copy, settings={"index.name": "faiss.flat"})  # the same scores: nothing is said
    with pytest.warns(XmcWarning, match=r"labels of query weight 0, which is 0\.5 now.*xmc rerank --run"):
        xmc.index_run(tiny_run_copy, settings={"labels.query_weight": 0.5})
    xmc.rerank_run(tiny_run_copy)
    xmc.index_run(tiny_run_copy)


@pytest.mark.parametrize("weight", [0, 0.5])
def test_labels_without_a_training_query_keep_the_bits_of_their_texts(tiny_run_copy, weight, monkeypatch):
    config = read_run_config(PLUGINS, tiny_run_copy)
    config = replace(config, labels=LabelOptions(query_weight="auto"))
    monkeypatch.setattr("xmc.engine.label_moves.GRID", (weight,))
    data, retriever = Carried().load(config), xmc.Retriever.load(tiny_run_copy)
    data = replace(data, splits={**data.splits, "train": data.train.take(np.arange(20))})
    chunks, _ = retriever.model.label_vectors(retriever.labels)
    moved = moved_labels(config, data, retriever.model, retriever.labels, LabelEdits(), chunks)
    stay = np.ones(60, bool)
    stay[moved.means.rows_N if moved.means else []] = False
    assert stay.sum() == 60 if weight == 0 else 0 < stay.sum() < 60
    assert torch.equal(torch.cat(list(moved.chunks))[stay], vectors_of(retriever)[stay])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"labels.query_weight": "auto", "train.validation_share": 0}, "is chosen on a dev split, and there is none"),
        ({"labels.query_weight": 0.5, "head.name": "classifier"}, "of the head 'dual-encoder', got 'classifier'"),
    ],
)
def test_what_cannot_be_moved_is_refused_before_training(tmp_path, settings, message):
    data = tmp_path / "data"
    shutil.copytree(Path(xmc.__file__).parent / "datasets" / "tiny", data, ignore=shutil.ignore_patterns("dev*"))
    with pytest.raises(ConfigError, match=message):
        xmc.train_run(data, tmp_path / "run", settings=settings)
    assert not (tmp_path / "run").exists()


def test_a_head_with_vectors_of_its_own_is_refused_before_data_are_read(tiny_run_copy, tmp_path):
    settings = {"labels.query_weight": "auto", "head.name": "classifier"}
    config = resolve(PLUGINS, settings={**settings, "data.name": str(tmp_path / "nowhere")})
    for refused in (
        lambda: plan_training(config, plugins=PLUGINS),
        lambda: run_training(config, tmp_path / "new", plugins=PLUGINS),
        lambda: run_indexing(config, tiny_run_copy, plugins=PLUGINS),
    ):
        with pytest.raises(ConfigError, match="of the head 'dual-encoder', got 'classifier'"):
            refused()
    assert not (tmp_path / "new").exists()
