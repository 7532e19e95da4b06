"""Invariants: a folder is followed and a retriever is not; what is kept with a passage is durable and comes back as it
was; a collection sees its own passages only; an edit that was interrupted is completed by the same call."""

import copy
import json
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from repetitions import only_in_full

from xmc import Client, LabelEditor, Retriever
from xmc.data.shards import read_table, write_table
from xmc.engine.passage_editing import PassageEditor
from xmc.errors import ArtifactError, ConfigError, DataError, LockedError
from xmc.integrations.passages import Passages
from xmc.integrations.run_embeddings import RunEmbeddings
from xmc.integrations.run_passages import RunPassages, with_ids
from xmc.retrieve.layout import labels_store, passages_store
from xmc.retrieve.metadata_filters import Equals
from xmc.retrieve.passage_records import PassageRecords, to_json
from xmc.retrieve.passages_now import PassagesNow
from xmc.retrieve.written_filters import read_filter
from xmc.store.lock import locked

sys.path.insert(0, str(Path(__file__).parents[1] / "serve"))
from serve_cases import served

TEXTS = {"n1": "solar kettle appliance", "n2": "copper violin instrument", "n3": "solar violin garden"}
KEPT = {"n1": {"source": "a.txt", "page": 1}, "n2": {"source": "b.txt", "tags": ["x", None, {"y": 0.5}]}}


def interrupt(*given):
    raise KeyboardInterrupt  # in place of the second commit


def ids(found):
    return [passage.id for passage in found]


def test_hits_are_those_of_the_retriever_with_their_figures(calibrated_run):
    retriever = Retriever.load(calibrated_run)
    (hits,) = retriever.search(["tender tram"], k=3)
    for source in (calibrated_run, str(calibrated_run), retriever):
        found = Passages(source).search("tender tram", k=3)
        assert [passage.hit for passage in found] == hits
        assert [(passage.id, passage.text) for passage in found] == [(hit.label_id, hit.text) for hit in hits]
        assert found[0].facts() == {"score": hits[0].score, "rank": 1, "probability": hits[0].probability}


def test_nothing_relevant_is_an_empty_list(calibrated_run):
    passages = Passages(calibrated_run)
    assert ids(passages.search("tender tram", k=3, min_probability=0.5)) == ["L21"]
    assert passages.search("quarterly revenue forecast", k=3, min_probability=0.5) == []
    assert passages.search("tender tram", k=3, allowed=[]) == []


def test_without_a_calibration_a_least_probability_is_refused(tiny_run):
    with pytest.raises(ArtifactError, match="calibrate"):
        Passages(tiny_run).search("tender tram", k=3, min_probability=0.5)


def test_a_folder_is_followed_and_a_retriever_stays_as_it_is(tiny_run_copy):
    followed, fixed = Passages(tiny_run_copy), Passages(Retriever.load(tiny_run_copy))
    before = followed.current()
    assert followed.current() is before
    LabelEditor(tiny_run_copy).add({"n1": "solar kettle appliance"})
    assert ids(followed.search("solar kettle", k=1)) == ["n1"]
    assert "n1" not in ids(fixed.search("solar kettle", k=60))


@only_in_full
def test_another_process_opens_the_folder_again_and_a_copy_is_the_same(tiny_run_copy):
    passages, notes = Passages(tiny_run_copy), RunPassages(tiny_run_copy, collection="notes")
    notes.add(TEXTS, KEPT)
    for each in (passages, notes):
        sent = pickle.loads(pickle.dumps(each))
        assert copy.deepcopy(each) is each and sent is not each
        assert sent.search("solar kettle", k=2) == each.search("solar kettle", k=2)
    assert pickle.loads(pickle.dumps(notes)).ids() == list(TEXTS)
    fixed = Passages(Retriever.load(tiny_run_copy))
    assert copy.deepcopy(fixed.current()) is copy.copy(fixed.current()) is fixed.current()
    with pytest.raises(TypeError, match="send the path of its run"):
        pickle.dumps(fixed)


def test_a_passage_that_is_removed_during_its_search_has_its_metadata_yet(tiny_run_copy):
    notes = RunPassages(tiny_run_copy, collection="notes")
    notes.add(TEXTS, KEPT)

    def keep(passage):
        notes.remove([passage.id])
        return passage.id == "n1"

    (found,) = notes.search("solar kettle", k=1, keep=keep)
    assert found.id == "n1" and found.metadata == KEPT["n1"] and notes.ids() == []


def test_a_client_of_a_service_is_searched_like_a_retriever(calibrated_copy):
    (best,) = Retriever.load(calibrated_copy).search(["tender tram"], k=1)[0]
    RunPassages(calibrated_copy).add({best.label_id: best.text}, {best.label_id: {"page": 3}})
    with served("--run", calibrated_copy) as process, Client(process.address) as client:
        remote, local = Passages(client), Passages(calibrated_copy)
        (found,) = client.search_passages(["tender tram"], k=3)
        assert (found[0].id, found[0].metadata, found[1].metadata) == (best.label_id, {"page": 3}, {})
        assert [passage.hit for passage in found] == client.search(["tender tram"], k=3)[0]
        for options in ({}, {"min_probability": 0.5}, {"allowed": ["L09"]}):
            found, wanted = (passages.search("tender tram", k=3, **options) for passages in (remote, local))
            assert [p[:3] for p in found] == [p[:3] for p in wanted] and found[0].hit.probability is not None
            np.testing.assert_allclose([p.hit.score for p in found], [p.hit.score for p in wanted], rtol=1e-6)
        parts = {"page": {"$gte": 3, "$ne": 4}}, {"$not": {"page": 3}}, {"$or": [{"page": {"$in": [3]}}, {"page": 4}]}
        for keep in map(read_filter, ({}, *parts, {"$and": [*parts]})):
            found, wanted = (passages.search("tender tram", k=99, keep=keep) for passages in (remote, local))
            assert [p[:3] for p in found] == [p[:3] for p in wanted]
        with pytest.raises(ConfigError, match="needs the run itself, and Client has only"):
            remote.search("tender tram", k=3, keep=lambda passage: True)


def test_what_cannot_be_searched_is_refused(tiny_run):
    with pytest.raises(ConfigError, match="must be a run folder or have the method `search`"):
        Passages(3)
    with pytest.raises(ArtifactError, match="is not a run folder"):
        Passages("no/such/run")

    class OnlySearch:
        search = Retriever.load(tiny_run).search

    assert ids(Passages(OnlySearch()).search("tender tram", k=1)) == ["L21"]
    with pytest.raises(ConfigError, match="OnlySearch has only its `search`"):
        Passages(OnlySearch()).search("tender tram", k=1, keep=Equals({"page": 1}))
    with pytest.raises(ConfigError, match="edited in a run folder"):
        RunPassages(Retriever.load(tiny_run))


@pytest.mark.parametrize("name", [None, 3, b"notes", "\ud800"])
def test_what_is_no_name_of_a_collection_is_refused(name, tiny_run):
    with pytest.raises(ConfigError, match="a collection is named by a text, got"):
        RunPassages(tiny_run, collection=name)


def test_passages_come_back_as_they_went_in_also_from_another_process_state(tiny_run_copy):
    passages = RunPassages(tiny_run_copy)
    passages.add(TEXTS, KEPT)
    for reader in (passages, RunPassages(tiny_run_copy)):
        assert [tuple(p[:3]) for p in reader.get(["n2", "gone", "n1"])] == [
            ("n2", TEXTS["n2"], KEPT["n2"]),
            ("n1", TEXTS["n1"], KEPT["n1"]),
        ]
        assert reader.get(["n3", "L21"])[0].metadata == {} == reader.get(["L21"])[0].metadata
    assert Passages(tiny_run_copy).search("solar kettle", k=1)[0].facts()["source"] == "a.txt"
    passages.add({"n1": "a lantern"}, {"n1": {"page": 2}})
    assert [tuple(p[:3]) for p in passages.get(["n1"])] == [("n1", "a lantern", {"page": 2})]


def test_only_passages_that_a_filter_keeps_are_found(tiny_run_copy):
    passages = RunPassages(tiny_run_copy)
    passages.add(TEXTS, KEPT)
    everything = ids(passages.search("solar violin", k=63))
    assert len(everything) == 63
    keep = lambda passage: "source" in passage.metadata  # noqa: E731
    assert ids(passages.search("solar violin", k=63, keep=keep)) == [i for i in everything if i in KEPT]
    assert ids(passages.search("solar violin", k=9, keep=keep, allowed=["n1", "n3", "L21"])) == ["n1"]
    assert passages.search("solar violin", k=9, keep=Equals({"page": 7})) == []
    assert passages.ids(Equals({"source": "a.txt"})) == ["n1"]


@pytest.mark.filterwarnings("ignore:.*labels? stands? beside")
def test_a_filter_of_values_is_looked_up_and_finds_what_asking_each_does(tiny_run_copy, monkeypatch):
    values = [0, 0.0, False, 1, 1.5, True, None, "", "1", [], [1], [True, "x"], {}, {"a": [1]}, {"a": [1.0]}, {"a": 1}]
    kept = {f"n{row:02d}": {"value": value, "page": row % 3} for row, value in enumerate(values)}
    passages = RunPassages(tiny_run_copy)
    passages.add({label_id: f"lantern {label_id}" for label_id in kept}, {**kept, "n03": {"page": 0}})
    asked = []
    monkeypatch.setattr(PassagesNow, "named", lambda *_: asked.append(1) or [])
    looked_up = {}
    for wanted in ({"value": value, "page": page} for value in values for page in (0, 1.0, 2)):
        looked_up[repr(wanted)] = passages.ids(Equals(wanted))
    assert not asked
    monkeypatch.undo()
    for value in values:
        for page in (0, 1.0, 2):
            wanted = {"value": value, "page": page}
            assert looked_up[repr(wanted)] == passages.ids(Equals(wanted).__call__), wanted
    assert passages.ids(Equals({"value": [1], "page": 1})) == ["n10"]
    assert passages.ids(Equals({"other": 1})) == [] == passages.ids(Equals({"value": (1,)}))
    assert len(passages.ids(Equals({}))) == 60 + len(values)


def test_a_looked_up_filter_follows_every_edit(tiny_run_copy):
    passages, reader = RunPassages(tiny_run_copy), Passages(tiny_run_copy)
    first, second = Equals({"page": 1}), Equals({"page": 2})

    def found(keep):
        return sorted(ids(reader.search("lantern", k=9, keep=keep)))

    passages.add({"n1": "a lantern", "n2": "two lanterns"}, {"n1": {"page": 1}, "n2": {"page": 1}})
    assert found(first) == ["n1", "n2"] and found(second) == []
    passages.add({"n1": "a lantern"}, {"n1": {"page": 2}})
    assert found(first) == ["n2"] and found(second) == ["n1"]
    passages.remove(["n2"])
    assert found(first) == [] and found(second) == ["n1"]
    assert ids(reader.search("lantern", k=9, keep=second, allowed=["L21"])) == []


def test_a_collection_sees_and_edits_its_own_passages_only(tiny_run_copy):
    first, second = (RunPassages(tiny_run_copy, collection=name) for name in ("first", "second"))
    assert first.search("solar violin", k=5) == [] and first.ids() == []
    first.add({"n1": TEXTS["n1"], "n3": TEXTS["n3"]}, KEPT)
    second.add({"n2": TEXTS["n2"]}, KEPT)
    assert sorted(ids(first.search("solar violin", k=5))) == ["n1", "n3"] == first.ids()
    assert ids(second.search("solar violin", k=5, allowed=["n1", "n2"])) == ["n2"]
    assert ids(first.search("solar violin", k=5, keep=Equals({"page": 1}))) == ["n1"]
    assert first.get(["n2", "L21"]) == [] and first.remove(["n2", "L21"]) == []
    for stranger in ("n2", "L21"):
        with pytest.raises(DataError, match=f"the label '{stranger}', which is not in the collection 'first'"):
            first.add({stranger: "another text"}, {})
    assert first.remove(first.ids()) == ["n1", "n3"] and first.ids() == []
    assert len(Retriever.load(tiny_run_copy).labels) == 61


def test_a_passage_edited_as_one_of_the_whole_run_stays_in_its_collection(tiny_run_copy):
    notes, whole = RunPassages(tiny_run_copy, collection="notes"), RunPassages(tiny_run_copy)
    notes.add(TEXTS, KEPT)
    whole.add({"n1": "a lantern", "w1": "a lantern"}, {"n1": {"page": 9}})
    assert notes.ids() == sorted(TEXTS)
    assert [tuple(p[:3]) for p in notes.get(["n1", "w1"])] == [("n1", "a lantern", {"page": 9})]


def test_a_filter_of_other_labels_is_refused_wherever_it_is_narrowed(tiny_run_copy):
    before = Retriever.load(tiny_run_copy)
    stale = before.filter([before.labels.ids[0]])
    passages = RunPassages(tiny_run_copy, collection="notes")
    passages.add({"A1": "copper violin"}, {"A1": {"page": 1}})  # an id before all others: each label has another row
    for reader in (passages, RunPassages(tiny_run_copy), Passages(tiny_run_copy)):
        for keep in (None, Equals({"page": 1}), lambda passage: True):
            with pytest.raises(ConfigError, match="made by another retriever"):
                reader.search("copper violin", k=9, allowed=stale, keep=keep)
    now = passages.current()
    vector_D = now.encode(["copper violin"])[0].tolist()
    assert ids(passages.search_vector(vector_D, k=9, allowed=now.filter(["A1", "L03"]))) == ["A1"]
    assert ids(passages.search_vector(vector_D, k=9, allowed=["L03"])) == []


def test_removing_takes_the_metadata_too_and_passes_over_what_is_not_there(tiny_run_copy):
    passages = RunPassages(tiny_run_copy)
    passages.add(TEXTS, KEPT)
    assert passages.remove(["n1", "gone", "n1"]) == ["n1"]
    assert passages.remove(["gone"]) == []
    assert set(PassageRecords(tiny_run_copy).current().by_id) == {"n2", "n3"}
    with pytest.raises(DataError, match="remove all labels"):
        passages.remove(passages.ids())


@pytest.mark.parametrize("again", ["add", "put", "sync"])
def test_a_label_added_under_the_id_of_a_removed_one_has_nothing_of_it(again, tiny_run_copy):
    notes, editor = RunPassages(tiny_run_copy, collection="notes"), LabelEditor(tiny_run_copy)
    notes.add(TEXTS, KEPT)
    before = editor.versions()[-1].version
    editor.remove(["n1"])
    editor.rollback(before)
    assert notes.get(["n1"])[0].metadata == KEPT["n1"]  # the label is the one that it was
    editor.remove(["n1"])
    others = editor.labels() if again == "sync" else {}
    getattr(editor, again)({**others, "n1": "purple velvet banana"})
    (added,) = Passages(tiny_run_copy).search("purple velvet banana", k=1)
    assert (added.id, added.metadata) == ("n1", {})
    assert ids(notes.get(TEXTS)) == ["n2", "n3"] and notes.get(["n2"])[0].metadata == KEPT["n2"]


def test_an_interrupted_addition_is_completed_by_the_same_call(tiny_run_copy, monkeypatch):
    RunPassages(tiny_run_copy, collection="c").add({"n1": "an old text"}, {})
    passages = RunPassages(tiny_run_copy, collection="c")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("xmc.engine.label_commit.save_edits", interrupt)
        passages.add(TEXTS, KEPT)
    assert [passage.text for passage in passages.get(TEXTS)] == ["an old text"]
    passages.add(TEXTS, KEPT)
    assert [(p.id, p.text) for p in passages.get(TEXTS)] == list(TEXTS.items())
    assert passages.get(["n1"])[0].metadata == KEPT["n1"]


def test_until_a_new_text_is_committed_the_old_one_has_its_own_metadata(tiny_run_copy, monkeypatch):
    old, new = {"n1": "solar kettle appliance"}, {"n1": "copper violin instrument"}
    notes = RunPassages(tiny_run_copy, collection="notes")
    notes.add(old, {"n1": {"page": 1}})
    for texts, page in ((new, 2), ({"n1": "a third text"}, 3)):  # the second is begun before the first is completed
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("xmc.engine.label_commit.save_edits", interrupt)
            notes.add(texts, {"n1": {"page": page}})
        for reader in (notes, RunPassages(tiny_run_copy), Passages(tiny_run_copy), Passages(notes.current())):
            assert what_is_found(reader, "solar kettle", Equals({"page": 1})) == [("n1", old["n1"], {"page": 1})]
            assert what_is_found(reader, "solar kettle", Equals({"page": page})) == []
        assert notes.get(["n1"])[0].metadata == {"page": 1} and notes.ids(Equals({"page": 1})) == ["n1"]
    notes.add(new, {"n1": {"page": 2}})
    for reader in (notes, Passages(tiny_run_copy)):
        assert what_is_found(reader, "copper violin", Equals({"page": 2})) == [("n1", new["n1"], {"page": 2})]
    notes.add(new, {"n1": {"page": 4}})
    assert notes.get(["n1"])[0].metadata == {"page": 4}


@pytest.mark.parametrize("verb", ["put", "sync"])
def test_new_metadata_of_one_label_come_with_the_new_text_of_another(verb, tiny_run_copy, monkeypatch):
    old = {"n1": "solar kettle appliance", "n2": "copper violin instrument"}
    editor = PassageEditor(tiny_run_copy)
    editor.put(old, {"n1": {"page": 1}, "n2": {"page": 1}})
    texts, metadata = {**editor.labels.labels(), "n2": "silver violin"}, {"n1": {"page": 2}, "n2": {"page": 2}}
    edit = partial(getattr(editor, verb), texts, metadata)

    def pages(reader):
        return {passage.id: passage.metadata["page"] for passage in reader.now().named(["n1", "n2"])}

    follows = Passages(tiny_run_copy)
    for _ in range(2):  # the second attempt is killed as the first was
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("xmc.engine.label_commit.save_edits", interrupt)
            edit()
        for reader in (follows, Passages(tiny_run_copy), Passages(Retriever.load(tiny_run_copy))):
            assert pages(reader) == {"n1": 1, "n2": 1}
            assert what_is_found(reader, "solar kettle", Equals({"page": 1})) == [("n1", old["n1"], {"page": 1})]
    assert edit().changed_metadata == 2
    for reader in (follows, Passages(tiny_run_copy)):
        assert pages(reader) == {"n1": 2, "n2": 2}
    editor.put({"n2": old["n2"]}, {"n2": {"page": 3}})
    assert pages(follows) == {"n1": 2, "n2": 3}  # an earlier text of one brings nothing of the other back
    editor.put({"n1": old["n1"]}, {"n1": {"page": 4}})
    assert pages(follows) == {"n1": 4, "n2": 3}


def test_vectors_that_are_there_already_keep_no_metadata_waiting(tiny_run_copy):
    editor, texts = PassageEditor(tiny_run_copy), {"n1": "a lantern"}
    vectors_ND = Retriever.load(tiny_run_copy).encode(["a lantern"])
    editor.put(texts, {"n1": {"page": 1}}, vectors=vectors_ND)
    assert editor.put(texts, {"n1": {"page": 2}}, vectors=vectors_ND).changed == 0
    assert Passages(tiny_run_copy).now().named(["n1"])[0].metadata == {"page": 2}


def what_is_found(reader, query, keep):
    return [tuple(passage[:3]) for passage in reader.search(query, k=1, keep=keep)]


def test_new_and_replaced_texts_are_one_version_of_the_labels(tiny_run_copy):
    notes = RunPassages(tiny_run_copy, collection="notes")
    notes.add({"n1": "a lantern"}, {})
    assert notes.records.current() is notes.records.current()  # not read again
    before = labels_store(tiny_run_copy).names()
    notes.add(TEXTS, KEPT)
    assert len(labels_store(tiny_run_copy).names()) == len(before) + 1


def test_a_reader_sees_texts_and_metadata_of_one_moment(tiny_run_copy, monkeypatch):
    writer, reader = RunPassages(tiny_run_copy), Passages(tiny_run_copy)
    writer.add({"n1": "a lantern"}, {"n1": {"page": 0}})
    reader.search("lantern", k=1)
    writer.add({"n1": "lantern 1"}, {"n1": {"page": 1}})
    read, edits = PassageRecords.current, iter([2, 3])

    def edited_between(records):  # after the texts have been read, before the metadata are
        if records is reader.records:
            for page in edits:
                writer.add({"n1": f"lantern {page}"}, {"n1": {"page": page}})
        return read(records)

    monkeypatch.setattr(PassageRecords, "current", edited_between)
    (found,) = reader.search("lantern", k=1)
    assert (found.text, found.metadata) == ("lantern 3", {"page": 3})


def test_beside_a_retriever_that_stays_as_it_is_metadata_do_too(tiny_run_copy):
    writer = RunPassages(tiny_run_copy)
    writer.add({"n1": "a lantern"}, {"n1": {"page": 1}})
    fixed = Passages(Retriever.load(tiny_run_copy))
    for page in (2, 3):
        writer.add({"n1": f"lantern {page}"}, {"n1": {"page": page}})
    assert what_is_found(fixed, "lantern", Equals({"page": 1})) == [("n1", "a lantern", {"page": 1})]


def test_what_an_earlier_xmc_kept_is_read(tiny_run_copy):
    notes = RunPassages(tiny_run_copy, collection="notes")
    notes.add(TEXTS, KEPT)
    file = passages_store(tiny_run_copy).current().folder / "passages.parquet"
    with passages_store(tiny_run_copy).new_version() as folder:
        write_table(folder / "passages.parquet", read_table(file).select(["label_id", "collection", "metadata"]))
    assert RunPassages(tiny_run_copy, collection="notes").get(["n1"]) == notes.get(["n1"])
    assert notes.get(["n1"])[0].metadata == KEPT["n1"]


def test_an_addition_beside_that_of_another_process_is_refused_before_anything_is_changed(tiny_run_copy):
    notes = RunPassages(tiny_run_copy, collection="notes")
    notes.add(TEXTS, KEPT)
    with locked(passages_store(tiny_run_copy).root / "changing"):
        for call in (lambda: notes.add({"n1": "a lantern"}, {}), lambda: notes.remove(["n1"])):
            with pytest.raises(LockedError, match="another process"):
                call()
    assert [tuple(p[:3]) for p in notes.get(["n1"])] == [("n1", TEXTS["n1"], KEPT["n1"])]


def test_threads_wait_for_one_another_and_another_writer_is_an_error(tiny_run_copy):
    passages = RunPassages(tiny_run_copy)
    stores = [passages, passages, RunPassages(tiny_run_copy / ".." / tiny_run_copy.name, collection="notes")]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: stores[n % 3].add({f"t{n}": f"tram {n}"}, {f"t{n}": {"n": n}}), range(6)))
    assert [p.metadata for p in passages.get([f"t{n}" for n in range(6)])] == [{"n": n} for n in range(6)]
    assert stores[2].ids() == ["t2", "t5"]
    with passages_store(tiny_run_copy).new_version(), pytest.raises(LockedError):
        passages.add({"n1": "text"}, {})


def test_a_label_that_another_adds_while_a_passage_is_added_is_not_replaced(tiny_run_copy, monkeypatch):
    notes, put = RunPassages(tiny_run_copy, collection="notes"), LabelEditor._put
    others = iter([{"n1": "their text"}, {}])

    def put_after_another(editor, *given, **options):
        if theirs := next(others, {}):
            LabelEditor(tiny_run_copy).add(theirs)
        return put(editor, *given, **options)

    monkeypatch.setattr(LabelEditor, "_put", put_after_another)
    with pytest.raises(DataError, match="the label 'n1', which is not in the collection 'notes'"):
        notes.add(TEXTS, KEPT)
    assert RunPassages(tiny_run_copy).get(TEXTS) == [("n1", "their text", {}, None)] and notes.ids() == []
    assert notes.records.current().by_id == {}


def test_a_passage_that_another_removes_just_now_is_removed(tiny_run_copy, monkeypatch):
    passages, get = RunPassages(tiny_run_copy), RunPassages.get
    passages.add(TEXTS, KEPT)

    def gone_after_a_look(self, ids):
        found = get(self, ids)
        LabelEditor(tiny_run_copy).remove(["n2"])
        return found

    monkeypatch.setattr(RunPassages, "get", gone_after_a_look)
    passages.remove(["n1", "n2"])
    assert sorted(passages.records.current().by_id) == ["n3"]


@pytest.mark.parametrize("texts", [{"n1": "new text", "n2": " "}, {"n4": "new", "n5": "x" * 2_000_000}, {"n4": None}])
def test_a_refused_addition_changes_nothing(texts, tiny_run_copy):
    passages = RunPassages(tiny_run_copy, collection="notes")
    passages.add(TEXTS, KEPT)
    with pytest.raises(DataError):
        passages.add(texts, {label_id: {"v": 2} for label_id in texts})
    assert {passage.id: passage.metadata for passage in passages.get([*TEXTS, *texts])} == {
        label_id: KEPT.get(label_id, {}) for label_id in TEXTS
    }
    assert sorted(passages.records.current().by_id) == sorted(TEXTS)


def test_what_changes_no_text_asks_nothing_of_the_labels(tiny_run_copy, monkeypatch):
    passages = RunPassages(tiny_run_copy, collection="notes")
    passages.add(TEXTS, KEPT)

    def refuse(*given):
        raise DataError("the run's head has a vector for each label that it was trained with")

    monkeypatch.setattr(LabelEditor, "put", refuse)
    passages.add({}, {})
    passages.add(TEXTS, {"n1": {"page": 2}})
    assert [passage.metadata for passage in passages.get(TEXTS)] == [{"page": 2}, {}, {}]


def test_damaged_records_are_refused(tiny_run_copy):
    RunPassages(tiny_run_copy).add(TEXTS, KEPT)
    file = passages_store(tiny_run_copy).current().folder / "passages.parquet"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"passages\.parquet"):
        Passages(tiny_run_copy).search("tender tram", k=1)


def test_records_whose_pointer_is_lost_are_not_taken_for_none(tiny_run_copy):
    RunPassages(tiny_run_copy, collection="notes").add({"n1": "a text"}, {"n1": {"page": 1}})
    passages = RunPassages(tiny_run_copy, collection="notes")
    (passages_store(tiny_run_copy).root / "CURRENT").unlink()
    for call in (passages.ids, lambda: passages.add({"n2": "another text"}, {}), lambda: Passages(tiny_run_copy)):
        with pytest.raises(ArtifactError, match="CURRENT"):
            call()
    assert len(list(passages_store(tiny_run_copy).root.glob("v*"))) == 2


@pytest.mark.parametrize(
    "metadata", [{"a": {1, 2}}, {1: "a"}, {"a": (1, 2)}, {"a": float("nan")}, {"a": b"x"}, {"a": "\ud800"}]
)
def test_metadata_that_would_not_come_back_are_refused(metadata, tiny_run_copy):
    with pytest.raises(DataError, match="the metadata of 'n1' cannot be kept"):
        RunPassages(tiny_run_copy).add({"n1": "a text"}, {"n1": metadata})
    assert not passages_store(tiny_run_copy).exists()


def test_metadata_that_are_no_dictionary_are_refused(tiny_run_copy):
    with pytest.raises(DataError, match="the metadata of 'n1' must be a dictionary, got NoneType"):
        RunPassages(tiny_run_copy).add({"n1": "a text"}, {"n1": None})


def test_metadata_that_json_holds_are_kept_to_the_letter():
    metadata = {"text": "Ж 漢 \u2028", "n": 2**70, "x": 0.1, "none": None, "list": [True, {"k": []}]}
    assert json.loads(to_json(metadata, label_id="x")) == metadata


def test_ids_are_made_where_there_are_none_and_checked_where_there_are():
    made = with_ids([None, "b", None], 3)
    assert made[1] == "b" and len(set(made)) == 3
    with pytest.raises(DataError, match="2 ids for 3 texts"):
        with_ids(["a", "b"], 3)
    with pytest.raises(DataError, match="'a' is given twice"):
        with_ids(["a", "b", "a"], 3)
    with pytest.raises(DataError, match="must be a text, got 0"):
        with_ids([0], 1)


def test_embeddings_are_those_that_the_run_compares(tiny_run):
    retriever = Retriever.load(tiny_run)
    for source in (tiny_run, retriever):
        embeddings = RunEmbeddings(source)
        queries_QD = np.array(embeddings.embed(["tender tram", "vast dumpling"], "query"))
        labels_LD = np.array(embeddings.embed(retriever.labels.texts, "label"))
        answers = retriever.search(["tender tram", "vast dumpling"], k=5)
        for scores_L, hits in zip(queries_QD @ labels_LD.T, answers, strict=True):
            assert [retriever.labels.ids[row] for row in np.argsort(-scores_L)[:5]] == [hit.label_id for hit in hits]
            np.testing.assert_allclose(np.sort(scores_L)[::-1][:5], [hit.score for hit in hits], atol=1e-5)
    with pytest.raises(DataError, match=r"(query|text) 1"):
        embeddings.embed(["a", " "], "label")
