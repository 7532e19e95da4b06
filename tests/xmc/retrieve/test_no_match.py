"""Invariants: a best score of exactly 0 is told wherever a search is asked for; other queries are told nothing."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from typer.testing import CliRunner

from xmc import LabelEditor, Retriever
from xmc.api import Hits
from xmc.cli.main import app
from xmc.errors import XmcWarning
from xmc.retrieve.calibration import NO_CUT_OFFS, Calibration, Curve
from xmc.retrieve.fitted import Fitted
from xmc.retrieve.label_filter import as_filter
from xmc.retrieve.no_match import no_match

NOTHING = ["$", "!?", "\u200b", "🙂", "你好"]


@pytest.fixture(scope="module")
def retriever(tiny_run):
    return Retriever.load(tiny_run, device="cpu")


@pytest.mark.parametrize("text", NOTHING)
def test_a_text_without_a_known_word_is_told_with_hits_as_ever(retriever, text):
    with pytest.warns(XmcWarning, match="best score is exactly 0") as said:
        lists = retriever.search(["tender tram", text], k=2)
    assert said[0].filename == __file__ and len(said) == 1
    assert [[hit.label_id for hit in hits] for hits in lists][1] == ["L00", "L01"]
    with pytest.warns(XmcWarning, match="exactly 0"):
        assert retriever.search([text], k=1, allowed=["L05", "L09"])[0][0].label_id == "L05"
    with pytest.warns(XmcWarning, match="exactly 0"):
        retriever.search_vectors(retriever.encode([text]))


def test_other_searches_and_one_that_warns_of_nothing_are_quiet(retriever, tiny_run):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        retriever.search(["tender tram", "zzz", "C"], k=2)
        assert retriever.search(["$"], allowed=[]) == [[]]
        assert len(Retriever.load(tiny_run, device="cpu", warn=False).search(["$"], k=2)[0]) == 2


def test_a_table_has_a_status_and_the_hits(retriever):
    table = pa.table({"query_id": ["a", "b", "c"], "text": ["tender tram", None, "$"]})
    found = retriever.search_table(table, k=2)
    assert found["status"].to_pylist() == ["ok", "null", "no-match"]
    assert found["label_ids"].to_pylist()[1:] == [[], ["L00", "L01"]]
    rows = torch.cat([retriever.encode(["tender tram"]), torch.zeros(1, retriever.encoder.dimension)]).tolist()
    vectors = pa.table({"query_id": ["a", "c"], "embedding": pa.array(rows, pa.list_(pa.float32()))})
    assert retriever.search_table(vectors, k=2)["status"].to_pylist() == ["ok", "no-match"]


def test_the_best_of_each_query_counts_and_a_second_stage_has_other_scores(retriever):
    hits = Hits(np.array([0, 2, 2, 3]), np.array([1, 2, 3]), np.array([0.5, 0.0, -0.0], np.float32))
    assert no_match(retriever, hits).tolist() == [False, False, True]
    reranked = type("Reranked", (), {"reranking": object(), "query_map": None})
    assert not no_match(reranked, hits).any()


def test_what_matches_nothing_is_relevant_with_probability_0(retriever):
    curves = tuple(Curve(np.array([0.0, 1.0]), np.array(band)) for band in ([0.3, 0.9], [0.2, 0.8]))
    calibration = Calibration("isotonic", (1, 2), curves, NO_CUT_OFFS)
    calibrated = replace(retriever, fitted=Fitted(calibration), opened=replace(retriever.opened, warn=False))
    texts, some = ["$", "tender tram"], ["L05", "L09"]
    vectors_QD = calibrated.encode(texts)
    for found in (
        calibrated.search(texts, k=2),
        calibrated.search(texts, k=2, allowed=some),
        calibrated.search_vectors(vectors_QD, k=2),
    ):
        assert [hit.probability for hit in found[0]] == [0, 0] and min(hit.probability for hit in found[1]) > 0.2
    for found in (
        calibrated.search(texts, k=2, min_probability=1e-9),
        calibrated.search(texts, k=2, min_probability=1e-9, allowed=some),
        calibrated.search_vectors(vectors_QD, k=2, min_probability=1e-9),
    ):
        assert [len(hits) for hits in found] == [0, 2]
    table = pa.table({"query_id": ["a", "b"], "text": texts})
    assert calibrated.search_table(table, k=2)["probabilities"].to_pylist()[0] == [0, 0]
    assert calibrated.search_table(table, k=2, min_probability=1e-9)["label_ids"].to_pylist()[0] == []
    assert len(calibrated.search(["$"], k=2, min_probability=0)[0]) == 2, "0 leaves nothing out"


def calibrated_by(retriever, *curves):
    calibration = Calibration("isotonic", (1, 2)[: len(curves)], curves, NO_CUT_OFFS)
    return replace(retriever, fitted=Fitted(calibration), opened=replace(retriever.opened, warn=False))


CURVES = Curve(np.array([0.0, 1.0]), np.array([0.3, 0.9])), Curve(np.array([0.0, 1.0]), np.array([0.2, 0.8]))


@pytest.mark.parametrize("bands", [1, 2])
def test_under_a_filter_the_best_of_all_labels_tells_whether_a_query_matches(retriever, bands):
    """By the best of the allowed labels the first query would match nothing, and the last one something."""
    allowed = as_filter(retriever.labels, ["L05", "L09"])
    lists = {True: np.array([0.0, 0.0, 0.4, -0.2], np.float32), False: np.array([0.7, 0.0, 0.4, 0.0], np.float32)}

    def search(*, k, allowed):
        scores = lists[allowed is not None]
        return Hits(np.array([0, 1, 1, 2, 3, 4]), np.array([5, 5, 5, 5]) - (allowed is None), scores)

    _, probabilities_H = calibrated_by(retriever, *CURVES[:bands]).judged_by(search, k=1, label_filter=allowed)
    assert probabilities_H.round(6).tolist() == [0.3 if bands == 1 else 0.2, 0, 0.54 if bands == 1 else 0.44, 0]


@pytest.mark.parametrize(("bands", "best", "searches"), [(2, 0.4, 2), (1, 0.4, 1), (1, 0.0, 2)])
def test_whole_lists_are_searched_only_where_they_matter(retriever, bands, best, searches):
    asked = []

    def search(*, k, allowed):
        asked.append(allowed)
        return Hits(np.array([0, 0, 1]), np.array([5]), np.array([best], np.float32))

    calibrated = calibrated_by(retriever, *CURVES[:bands])
    calibrated.judged_by(search, k=1, label_filter=as_filter(retriever.labels, ["L05"]))
    assert len(asked) == searches


def test_the_command_says_so_beside_the_answer(tiny_run):
    done = CliRunner().invoke(app, ["search", "$", "--run", str(tiny_run), "-k", "2", "--json"])
    assert done.exit_code == 0 and "note: a query matches no label" in done.stderr
    assert len(json.loads(done.stdout)["hits"]) == 2


def test_labels_that_no_query_can_find_are_named_when_they_are_added(tiny_run_copy):
    editor = LabelEditor(tiny_run_copy)
    with pytest.warns(XmcWarning, match="no word of the text of 2 of these labels, such as 'a'") as said:
        assert editor.add({"a": "$$$", "b": "words", "c": "…"}).added == 3
    assert said[0].filename == __file__
    editor.add({"d": "more words"})
