"""Invariants: a filter answers min(k, allowed) labels, the best of those allowed; an empty one answers nothing; what is
not there or belongs to another retriever is refused."""

import pytest

from xmc.data.dataset import load_dataset
from xmc.errors import ConfigError, DataError
from xmc.retrieve.retriever import Retriever

TEXTS = load_dataset("tiny").test.texts[:30]


@pytest.fixture(scope="module")
def retriever(tiny_run):
    return Retriever.load(tiny_run, device="cpu")


@pytest.mark.parametrize("allowed", [["L30", "L02", "L02"], [f"L{number:02d}" for number in range(0, 60, 7)]])
@pytest.mark.parametrize("k", [1, 4, 60])
def test_answers_are_those_of_all_labels_without_the_others(retriever, allowed, k):
    everything = retriever.search(TEXTS, k=60)
    wanted = [[(h.label_id, h.score) for h in hits if h.label_id in allowed][:k] for hits in everything]
    compiled = retriever.filter(allowed)
    assert len(compiled) == len(set(allowed)) and not compiled.unknown
    for given in (allowed, set(allowed), iter(allowed), compiled):
        answers = retriever.search(TEXTS, k=k, allowed=given)
        assert [[(h.label_id, h.score) for h in hits] for hits in answers] == wanted
        assert all([h.rank for h in hits] == list(range(1, len(hits) + 1)) for hits in answers)
    hits = retriever.hits(TEXTS, k=k, allowed=compiled)
    assert hits.label_rows.tolist() == retriever.hits(TEXTS, k=k, allowed=allowed).label_rows.tolist()


def test_nothing_allowed_is_nothing_found(retriever):
    assert retriever.search(TEXTS[:2], allowed=[]) == [[], []]
    assert retriever.search(TEXTS[:2], allowed=retriever.filter(["x"], ignore_unknown=True)) == [[], []]


def test_labels_that_are_not_there_are_named_or_counted(retriever):
    unknown = [f"x{number}" for number in range(7)]
    with pytest.raises(DataError, match=r"7 of the allowed labels are not there: 'x0', 'x1', .* and 2 more"):
        retriever.search(TEXTS, allowed=["L00", *unknown, *unknown])
    some = retriever.filter(["L00", *unknown], ignore_unknown=True)
    assert some.unknown == tuple(unknown) and len(some) == 1


def test_a_filter_that_cannot_be_is_refused(retriever, tiny_run):
    with pytest.raises(DataError, match="a collection of label ids, got one text"):
        retriever.search(TEXTS, allowed="L00")
    with pytest.raises(DataError, match=r"Write label_ids=\[label_id\]"):
        retriever.filter("L00")
    with pytest.raises(DataError, match="must be label ids, which are texts, got 3"):
        retriever.search(TEXTS, allowed=[3])
    other = Retriever.load(tiny_run, device="cpu")
    with pytest.raises(ConfigError, match="made by another retriever"):
        retriever.search(TEXTS, allowed=other.filter(["L00"]))
