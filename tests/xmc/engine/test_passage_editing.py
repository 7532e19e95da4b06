"""Labels edited with what is kept beside them, from Python."""

import pytest
import torch

import xmc
from xmc.errors import DataError
from xmc.retrieve.layout import labels_store, passages_store
from xmc.retrieve.passage_records import PassageRecords
from xmc.retrieve.retriever import Retriever

TEXTS = {"n1": "solar kettle appliance", "n2": "copper violin instrument"}
KEPT = {"n1": {"page": 3, "tags": ["é", None]}}


def kept(run):
    records = PassageRecords(run).current()
    return {label_id: records.metadata(label_id) for label_id in records.by_id}


@pytest.mark.filterwarnings("ignore:.*labels? stands? beside")
def test_the_verbs_take_metadata(tiny_run_copy):
    xmc.add_labels(tiny_run_copy, TEXTS, metadata=KEPT)
    assert kept(tiny_run_copy) == {"n1": KEPT["n1"], "n2": {}}
    xmc.replace_labels(tiny_run_copy, {"n2": "silver violin"}, metadata={"n2": {"page": 1}})
    xmc.replace_labels(tiny_run_copy, {"n1": "solar lantern"})  # what is kept stays
    assert kept(tiny_run_copy) == {"n1": KEPT["n1"], "n2": {"page": 1}}
    xmc.put_labels(tiny_run_copy, {"n1": "solar lantern", "n3": "quartz"}, metadata={"n3": {"page": 2}})
    assert kept(tiny_run_copy) == {"n1": {}, "n2": {"page": 1}, "n3": {"page": 2}}
    everything = {"n3": "quartz", "n4": "wooden lantern"}
    assert xmc.sync_labels(tiny_run_copy, everything, metadata={"n4": {"page": 9}}, most_removed=1).labels == 2
    assert kept(tiny_run_copy) == {"n3": {}, "n4": {"page": 9}} and xmc.list_labels(tiny_run_copy) == everything


def test_a_report_counts_texts_and_metadata_apart(tiny_run_copy):
    def counts(edit, texts, **options):
        report = edit(tiny_run_copy, texts, **options)
        return report.changed, report.changed_metadata

    assert counts(xmc.add_labels, TEXTS, metadata=KEPT) == (2, 1)  # beside n2 nothing is kept, as before
    assert counts(xmc.put_labels, TEXTS, metadata=KEPT) == (0, 0)
    assert counts(xmc.put_labels, TEXTS, metadata={"n1": {"tags": ["é", None], "page": 3.0}}) == (0, 0)  # it is equal
    versions = passages_store(tiny_run_copy).names()
    assert counts(xmc.put_labels, TEXTS, metadata={"n1": {"tags": ["é", None], "page": 3.0}}) == (0, 0)
    assert passages_store(tiny_run_copy).names() == versions  # what is kept already makes no version
    assert counts(xmc.put_labels, TEXTS, metadata={"n1": {"page": 4}, "n2": {"page": 1}}) == (0, 2)
    assert counts(xmc.replace_labels, {"n1": "solar lantern"}, metadata={"n1": {"page": 4}}) == (1, 0)
    assert counts(xmc.replace_labels, {"n1": "solar kettle"}) == (1, 0)
    everything = {**xmc.list_labels(tiny_run_copy), "n2": "silver violin"}
    assert counts(xmc.sync_labels, everything, metadata={"n2": {"page": 2}}) == (1, 2)
    assert counts(xmc.remove_labels, ["n2"]) == (1, 0)


def test_vectors_and_metadata_go_together(tiny_run_copy):
    vectors_ND = Retriever.load(tiny_run_copy).encode(["purple banana", "quartz"])
    pictures = {"p1": "a drawing", "p2": "another drawing"}
    xmc.add_labels(tiny_run_copy, pictures, vectors=vectors_ND, metadata={"p1": {"by": "me"}})

    def found():
        return [hits[0].label_id for hits in Retriever.load(tiny_run_copy).search(["purple banana", "quartz"], k=1)]

    assert found() == ["p1", "p2"] and kept(tiny_run_copy) == {"p1": {"by": "me"}, "p2": {}}
    xmc.put_labels(tiny_run_copy, pictures, metadata={"p2": {"by": "you"}})  # equal texts are left alone
    assert found() == ["p1", "p2"]
    xmc.replace_labels(tiny_run_copy, pictures, vectors=vectors_ND.flip(0), metadata={})
    assert found() == ["p2", "p1"] and kept(tiny_run_copy) == {"p1": {}, "p2": {}}


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (TEXTS, {"metadata": {"n3": {}}}, "metadata of .n3., which is not among the labels"),
        (TEXTS, {"metadata": [{}]}, "metadata must be a mapping of label ids to dictionaries, got list"),
        (TEXTS, {"metadata": {"n1": 3}}, "the metadata of 'n1' must be a dictionary, got int"),
        (TEXTS, {"metadata": {"n1": {"a": (1,)}}}, "the metadata of 'n1' cannot be kept"),
        (TEXTS, {"metadata": KEPT, "vectors": torch.ones(1, 32)}, "got 1 vector for 2 labels"),
        ({}, {"metadata": {}}, "there are no labels"),
        (["n1"], {"metadata": {}}, "labels must be a mapping of label ids to texts, got list"),
        ({**TEXTS, "L21": "there already"}, {"metadata": KEPT}, "is there already: .L21"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_committed(labels, options, message, tiny_run_copy):
    with pytest.raises(DataError, match=message):
        xmc.add_labels(tiny_run_copy, labels, **options)
    assert not labels_store(tiny_run_copy).exists() and not passages_store(tiny_run_copy).exists()
