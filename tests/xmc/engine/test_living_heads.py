"""Invariants: every head's run can lose labels, get them back and be filtered, and answers as its vectors do; a head
that knows trained labels only says so; a second stage orders labels that it does not know by the stated rule."""

import shutil

import numpy as np
import pytest
import torch

import xmc
from xmc.data.dataset import load_dataset
from xmc.engine.label_editing import LabelEditor
from xmc.errors import ArtifactError, DataError
from xmc.plugin_manager import load_plugins
from xmc.retrieve.retriever import Retriever

PLUGINS = load_plugins()
STEPS = ("train.epochs=1", "train.batch_size=80", "train.patience=0", "encoder.dimension=16", "train.device=cpu")
RUNS = {
    "classifier": ("dexml", (*STEPS, "head.name=classifier")),
    "factored": ("zloss.factored", STEPS),
    "linear": ("linear", ("encoder.minimum_count=1", "reranker.name=none")),
}
DATA = load_dataset("tiny")
TEXTS = DATA.test.texts[:9]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_run):
    made = {"dual-encoder": tmp_path_factory.mktemp("dual") / "run"}
    shutil.copytree(tiny_run, made["dual-encoder"])

    def run_of(name):
        if name not in made:
            plugin, settings = RUNS[name]
            made[name] = tmp_path_factory.mktemp(name) / "run"
            xmc.train_run("tiny", made[name], plugin=plugin, settings=settings)
        return made[name]

    return run_of


def expected(retriever, wanted, k):
    """Label ids and scores from all scores of the model's own vectors."""
    ids = sorted(wanted)
    table = retriever.labels.take(np.array([retriever.labels.ids.index(label_id) for label_id in ids]))
    chunks, query_map = retriever.model.label_vectors(table)
    labels_LE = torch.cat([chunk.to_dense().double() for chunk in chunks])
    queries_QD = retriever.encode(TEXTS).to_dense().double()
    queries_QE = query_map.queries(queries_QD) if query_map else queries_QD
    if retriever.report.similarity == "cosine":
        queries_QE, labels_LE = (torch.nn.functional.normalize(each, dim=1) for each in (queries_QE, labels_LE))
    scores_QL = queries_QE @ labels_LE.T
    if query_map:
        scores_QL += query_map.offsets(queries_QD)[:, None]
    return [sorted(row, reverse=True)[:k] for row in scores_QL.tolist()], dict(
        zip(ids, scores_QL.T.tolist(), strict=True)
    )


def check_answers(retriever, wanted, k, allowed=None):
    best, scores_of = expected(retriever, wanted, k)
    answers = retriever.search(TEXTS, k=k, allowed=allowed)
    for query, hits in enumerate(answers):
        assert [hit.score for hit in hits] == pytest.approx(best[query], rel=1e-4, abs=1e-4)
        assert {hit.label_id for hit in hits} <= set(wanted) and len({hit.label_id for hit in hits}) == len(hits)
        for hit in hits:
            assert hit.score == pytest.approx(scores_of[hit.label_id][query], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("name", ["dual-encoder", *RUNS])
def test_labels_of_every_head_can_be_filtered_removed_and_put_back(runs, name):
    run = runs(name)
    editor, ids = LabelEditor(run, plugins=PLUGINS), list(DATA.labels.ids)
    check_answers(Retriever.load(run, plugins=PLUGINS), ids[::4], 20, allowed=ids[::4])
    editor.remove(ids[:5])
    retriever = Retriever.load(run, plugins=PLUGINS)
    check_answers(retriever, ids[5:], 70)
    check_answers(retriever, ids[5:30:3], 6, allowed=ids[5:30:3])
    editor.compact()
    editor.add({ids[0]: DATA.labels.texts[0]})  # a label that was trained, so every head has a vector for it
    retriever = Retriever.load(run, plugins=PLUGINS)
    check_answers(retriever, [ids[0], *ids[5:]], 70)
    check_answers(retriever, [ids[0], *ids[5:9]], 3, allowed=[ids[0], *ids[5:9]])


@pytest.mark.parametrize("name", ["classifier", "factored", "linear"])
def test_a_head_of_trained_labels_refuses_others_and_new_texts(runs, name):
    editor = LabelEditor(runs(name), plugins=PLUGINS)
    with pytest.raises(DataError, match="'unheard', was not there in training") as caught:
        editor.add({"unheard": "a new label"})
    assert "dual-encoder" in caught.value.hint
    label_id = DATA.labels.ids[-1]
    with pytest.raises(DataError, match=f"a new text would not change how '{label_id}' is found") as caught:
        editor.replace({label_id: "another text"})
    assert "train again" in caught.value.hint


def test_a_head_of_trained_labels_takes_vectors_where_it_can(runs):
    for name, dimension in (("classifier", 16), ("linear", None)):
        retriever = Retriever.load(runs(name), plugins=PLUGINS)
        vectors_ND = retriever.encode([DATA.test.texts[0]]).to_dense() * 100
        assert dimension in (None, vectors_ND.shape[1])
        xmc.add_labels(runs(name), {"given": "seen with the eyes"}, vectors=vectors_ND)
        assert retriever.reload_if_changed().search([DATA.test.texts[0]], k=1)[0][0].label_id == "given"
        xmc.compact_labels(runs(name))
        assert retriever.reload_if_changed().search([DATA.test.texts[0]], k=1)[0][0].label_id == "given"
        xmc.remove_labels(runs(name), ["given"])
    with pytest.raises(DataError, match="turns queries into others before the search"):
        xmc.add_labels(runs("factored"), {"given": "text"}, vectors=torch.ones(1, 16))


@pytest.mark.parametrize("name", ["classifier", "linear"])
def test_a_trained_vector_comes_back_in_the_place_of_a_given_one(runs, name):
    editor, label_id, text = LabelEditor(runs(name), plugins=PLUGINS), DATA.labels.ids[9], DATA.labels.texts[9]
    retriever = Retriever.load(runs(name), plugins=PLUGINS)
    vectors_ND = retriever.encode([DATA.test.texts[0]]).to_dense() * 100
    scores = [hit.score for hits in retriever.search(TEXTS, k=1, allowed=[label_id]) for hit in hits]

    def found():
        answers = Retriever.load(runs(name), plugins=PLUGINS).search(TEXTS, k=1, allowed=[label_id])
        return [hit.score for hits in answers for hit in hits]

    for back in (
        lambda: editor.replace({label_id: text}),
        lambda: editor.put({label_id: text}),
        lambda: editor.replace({label_id: "another text"}),
        lambda: editor.rollback("v000000"),
    ):
        for compacted in (False, True):
            editor.put({label_id: text}, vectors=vectors_ND)
            if compacted:
                editor.compact()
            assert found() != pytest.approx(scores, rel=1e-3)
            assert back().changed and found() == pytest.approx(scores, rel=1e-5)
    editor.add({"given": "seen with the eyes"}, vectors=vectors_ND)
    for edit in (editor.put, editor.replace):
        with pytest.raises(DataError, match="'given', was not there in training"):
            edit({"given": "seen with the eyes"})
    editor.remove(["given"])


@pytest.fixture(scope="module")
def reranked_run(tmp_path_factory):
    run = tmp_path_factory.mktemp("reranked") / "run"
    settings = ("encoder.dimension=16", "train.epochs=1", "train.batch_size=80", "fusion.weight=0.7", "fusion.depth=10")
    xmc.train_run("tiny", run, plugin="linear.fused", settings=settings)
    return run


def test_a_second_stage_gives_labels_that_it_does_not_know_its_mean_score(reranked_run):
    whole = Retriever.load(reranked_run, plugins=PLUGINS)
    ids, texts = DATA.labels.ids, dict(zip(DATA.labels.ids, DATA.labels.texts, strict=True))
    new = {"A": texts[ids[7]], "zz": "purple banana"}
    asked = [texts[ids[7]], *TEXTS]
    editor = LabelEditor(reranked_run, plugins=PLUGINS)
    for compacted in (False, True):
        if compacted:
            editor.compact()
        else:
            editor.add(new)
            editor.remove([ids[3]])
        edited = Retriever.load(reranked_run, plugins=PLUGINS)
        queries = edited.prepare(asked)
        first = edited.search_embeddings(edited.embed(queries), k=10)
        second_H = edited.reranking.second_scores(queries, first)
        old_row = {label_id: row for row, label_id in enumerate(whole.labels.ids)}
        names_H = [edited.labels.ids[row] for row in first.label_rows]
        neutral = np.float32(edited.reranking.neutral)
        assert neutral != 0 and "A" in names_H
        for query, (start, stop) in enumerate(zip(first.offsets, first.offsets[1:], strict=False)):
            for place in range(start, stop):
                name = names_H[place]
                if name in new:
                    assert second_H[place] == neutral
                    continue
                alone = type(first)(np.array([0, 1]), np.array([old_row[name]]), first.scores[place : place + 1])
                wanted = whole.reranking.second_scores(whole.prepare(asked[query : query + 1]), alone)
                assert second_H[place] == pytest.approx(wanted[0], abs=1e-5)
        allowed = ["A", *ids[4:12]]
        for hits in edited.search(asked, k=20, allowed=allowed):
            assert {hit.label_id for hit in hits} == set(allowed)
            assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    xmc.rerank_run(reranked_run)  # fitted to the labels that are there now
    again = Retriever.load(reranked_run, plugins=PLUGINS)
    assert (again.reranking.fitted_rows_L == np.arange(len(again.labels))).all()

    shutil.rmtree(reranked_run / "labels")  # without edits, other labels are still refused
    (reranked_run / "encoder" / "has-labels").unlink()
    xmc.index_run(reranked_run)
    with pytest.raises(ArtifactError, match="fitted to another encoder or other labels"):
        Retriever.load(reranked_run, plugins=PLUGINS)
