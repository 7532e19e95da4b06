"""Invariants: after any edit a run answers as one whose index was built of the resulting labels; a rebuilt index loses
no edit; what cannot be is refused before anything is committed."""

import errno
import fcntl
import shutil
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import xmc
from xmc.data.dataset import load_dataset
from xmc.engine import label_commit
from xmc.engine.label_editing import LabelEditor
from xmc.errors import ArtifactError, ConfigError, DataError, LockedError, NonFiniteError, XmcWarning
from xmc.plugin_manager import load_plugins
from xmc.retrieve.label_edits import save_edits
from xmc.retrieve.layout import encoder_store, labels_store
from xmc.retrieve.retriever import Retriever
from xmc.store import versions

PLUGINS = load_plugins()
TEXTS = [*load_dataset("tiny").test.texts[:20], "purple banana", "tender tram vehicle", "quartz"]
TINY = load_dataset("tiny").labels


def opened(run) -> Retriever:
    return Retriever.load(run, device="cpu", plugins=PLUGINS)


def answers(retriever, **options):
    return [[(hit.label_id, hit.text, hit.score) for hit in hits] for hits in retriever.search(TEXTS, **options)]


def fresh(run, labels):
    """The answers of an index built of these labels (id to text) by the model of the run."""
    retriever = opened(run)
    ids = sorted(labels)
    table = type(retriever.labels)(ids, [labels[label_id] for label_id in ids])
    chunks, _ = retriever.model.label_vectors(table)
    similarity = retriever.encoder.similarity
    index = PLUGINS.find("index", "exact").spec.load()().build(chunks, similarity=similarity, device="cpu")
    return Retriever(retriever.model, index, table, retriever.query_map)


@pytest.mark.parametrize("query_weight", [0, 0.5])
@pytest.mark.filterwarnings("ignore::xmc.errors.XmcWarning")
def test_edits_answer_as_a_run_built_of_the_resulting_labels(tiny_run_copy, query_weight):
    xmc.index_run(tiny_run_copy, settings={"labels.query_weight": query_weight})
    editor, labels = LabelEditor(tiny_run_copy, plugins=PLUGINS), dict(zip(TINY.ids, TINY.texts, strict=True))
    generator, names = np.random.default_rng(0), set()
    for step in range(14):
        there = sorted(labels)
        chosen = [there[row] for row in generator.choice(len(there), 2, replace=False)]
        kinds = ["add", "remove", "replace", "put", "sync", "compact"]
        what = kinds[int(generator.choice(6, p=[0.3, 0.15, 0.15, 0.15, 0.15, 0.1]))]
        if what == "add":
            new = {f"L{step:02d}{letter}": labels[chosen[0]] if letter == "t" else f"new {step}" for letter in "tn"}
            report, labels = editor.add(new), {**labels, **new}
        elif what == "replace":
            new = {chosen[0]: labels[chosen[1]], chosen[1]: "purple banana"}
            report, labels = editor.replace(new), {**labels, **new}
        elif what == "put":
            new = {chosen[0]: f"put {step}", f"L{step:02d}p": "quartz", chosen[1]: labels[chosen[1]]}
            report, labels = editor.put(new), {**labels, **new}
            assert report.changed == 2
        elif what == "sync":
            labels = {**{label_id: labels[label_id] for label_id in there[::-2]}, chosen[0]: f"synced {step}"}
            report = editor.sync(labels, most_removed=0.5)
        elif what == "remove":
            report = editor.remove([*chosen, "not there"], missing_ok=True)
            labels = {label_id: text for label_id, text in labels.items() if label_id not in chosen}
        else:
            assert editor.compact(device="cpu").labels == len(labels)
            report = editor.report()
            assert (report.added, report.removed) == (0, 0)
        assert report.labels == len(labels) and list(editor.labels().items()) == sorted(labels.items())
        retriever, wanted = opened(tiny_run_copy), fresh(tiny_run_copy, labels)
        assert retriever.labels == wanted.labels
        for k in (1, 7, 100):
            assert answers(retriever, k=k) == answers(wanted, k=k)
        allowed = sorted(labels)[:: step + 2]
        assert answers(retriever, k=9, allowed=allowed) == answers(wanted, k=9, allowed=allowed)
        names.add(retriever.generation)
    assert len(names) == 14


@pytest.mark.filterwarnings("ignore::xmc.errors.XmcWarning")
def test_what_changes_nothing_makes_no_version(tiny_run_copy):
    labels = dict(zip(TINY.ids, TINY.texts, strict=True))
    vectors_ND = torch.eye(len(labels), 32)
    with pytest.raises(ConfigError, match="a share from 0 to 1, got 2"):
        xmc.sync_labels(tiny_run_copy, labels, most_removed=2)
    for edit in (partial(xmc.put_labels, labels=labels), partial(xmc.sync_labels, labels=labels)):
        assert edit(tiny_run_copy).changed == 0
    assert xmc.remove_labels(tiny_run_copy, ["not there"], missing_ok=True).changed == 0
    assert not labels_store(tiny_run_copy).exists()
    own = partial(xmc.put_labels, tiny_run_copy, labels, vectors=vectors_ND)
    assert [own().changed for _ in range(2)] == [60, 0]
    vectors_ND[3] = vectors_ND[4]
    generation = opened(tiny_run_copy).generation
    assert own().changed == 1 and opened(tiny_run_copy).generation != generation
    expected = (opened(tiny_run_copy).encode(["quartz"]) @ vectors_ND.T)[0]
    hits = opened(tiny_run_copy).search(["quartz"], k=60)[0]
    found = {hit.label_id: hit.score for hit in hits}
    assert [found[label_id] for label_id in labels] == pytest.approx(expected.tolist(), abs=1e-6)
    assert xmc.put_labels(tiny_run_copy, labels).changed == 60  # the texts again
    assert answers(opened(tiny_run_copy), k=9) == answers(fresh(tiny_run_copy, labels), k=9)


@pytest.mark.filterwarnings("ignore::xmc.errors.XmcWarning")
def test_just_the_share_that_may_go_goes(tiny_run_copy):
    labels = {f"x{number:02d}": "quartz" for number in range(100)}
    xmc.sync_labels(tiny_run_copy, labels, most_removed=1)
    kept = dict(list(labels.items())[29:])
    with pytest.raises(DataError, match="would remove 29 of the run's 100 labels"):
        xmc.sync_labels(tiny_run_copy, kept, most_removed=0.28)
    assert xmc.sync_labels(tiny_run_copy, kept, most_removed=0.29).labels == 71


@pytest.mark.filterwarnings("ignore::xmc.errors.XmcWarning")
def test_what_list_gives_changes_nothing_in_sync_though_labels_have_vectors_of_their_own(tiny_run_copy):
    retriever = opened(tiny_run_copy)
    vectors_ND = retriever.encode(["purple banana", "quartz"])
    xmc.put_labels(tiny_run_copy, {"L01": TINY.texts[1], "own": "a picture"}, vectors=vectors_ND)
    for _ in range(2):
        before = opened(tiny_run_copy)
        assert xmc.sync_labels(tiny_run_copy, xmc.list_labels(tiny_run_copy)).changed == 0
        after = opened(tiny_run_copy)
        assert after.generation == before.generation
        assert [hits[0].label_id for hits in after.search(["purple banana", "quartz"])] == ["L01", "own"]
        xmc.compact_labels(tiny_run_copy, device="cpu")  # the vectors are in the index from now on
    labels = xmc.list_labels(tiny_run_copy) | {"own": "another picture"}
    assert xmc.sync_labels(tiny_run_copy, labels).changed == 1  # another text takes the place of the vector
    found = [hits[0].label_id for hits in opened(tiny_run_copy).search(["purple banana", "quartz"])]
    assert found[0] == "L01" and found[1] != "own"
    assert xmc.sync_labels(tiny_run_copy, labels, vectors=torch.eye(61, 32)).changed == 61


def test_an_edit_that_is_committed_is_no_failure_when_the_disk_is_full_then(tiny_run_copy, monkeypatch):
    """A run's first edit is followed by a second version for safety alone."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(versions, "link_or_copy", full)
    assert xmc.remove_labels(tiny_run_copy, ["L00"]).labels == 59
    assert "L00" not in opened(tiny_run_copy).labels.ids
    assert len(list(labels_store(tiny_run_copy).root.glob("v*"))) == 1
    monkeypatch.undo()
    assert xmc.remove_labels(tiny_run_copy, ["L01"]).labels == 58
    assert len(list(labels_store(tiny_run_copy).root.glob("v*"))) == 2


def test_a_rebuilt_index_has_the_edits(tiny_run_copy):
    xmc.add_labels(tiny_run_copy, {"new": "purple banana", "L21x": "tender tram vehicle"})
    xmc.remove_labels(tiny_run_copy, ["L21", "L00"])
    xmc.replace_labels(tiny_run_copy, {"L01": "quartz"})
    before = answers(opened(tiny_run_copy), k=5)
    report = xmc.index_run(tiny_run_copy, device="cpu")
    assert report.labels == 60
    assert LabelEditor(tiny_run_copy).report().added == 0
    assert answers(opened(tiny_run_copy), k=5) == before
    xmc.add_labels(tiny_run_copy, {"L21": "tender tram vehicle"})  # a removed label comes back
    assert [hits[0][0] for hits in answers(opened(tiny_run_copy), k=1)][-2] == "L21"
    xmc.index_run(tiny_run_copy, settings=["index.name=faiss.flat"], device="cpu")
    assert len(opened(tiny_run_copy).labels) == 61
    assert xmc.compact_labels(tiny_run_copy, device="cpu").backend == "faiss.flat"  # the backend that is there


@pytest.mark.parametrize(
    "settings",
    [
        ("index.name=faiss.ivf", "index.exact=true", "index.nlist=7"),
        ("index.name=faiss.ivf", "index.exact=true", "index.storage=pq", "index.pq_bits=5"),
        ("index.name=sharded", "index.backend=faiss.ivf", "index.options={nlist = 7, exact = true}"),
    ],
)
def test_an_exact_index_that_asks_for_many_labels_takes_a_single_one_beside_it(tiny_run_copy, settings):
    xmc.index_run(tiny_run_copy, settings=settings, device="cpu")
    labels = dict(zip(TINY.ids, TINY.texts, strict=True))
    new = {"L21x": labels["L21"], "new": "purple banana"}
    for label_id, text in new.items():
        xmc.add_labels(tiny_run_copy, {label_id: text})
        labels[label_id] = text
        assert opened(tiny_run_copy).report.exact
        assert answers(opened(tiny_run_copy), k=9) == answers(fresh(tiny_run_copy, labels), k=9)


def test_an_exact_index_of_small_numbers_takes_large_ones_beside_it(tmp_path):
    settings = ("encoder.dimension=16", "encoder.similarity=dot", "train.epochs=1", "index.name=faiss.ivf")
    codes = ("index.exact=true", "index.storage=fp16", "train.device=cpu")
    xmc.train_run("tiny", tmp_path / "run", settings=(*settings, *codes))
    xmc.add_labels(tmp_path / "run", {"large": "text"}, vectors=np.full((1, 16), 1e6))
    query_1D = torch.ones(1, 16)
    hits = opened(tmp_path / "run").search_vectors(query_1D, k=61)[0]
    assert (hits[0].label_id, hits[0].score, len(hits)) == ("large", 1.6e7, 61)


def test_a_compacted_index_needs_no_data_set(tiny_run_copy):
    config = tiny_run_copy / "config.toml"
    config.write_text(config.read_text().replace('name = "tiny"', 'name = "gone"'))
    xmc.add_labels(tiny_run_copy, {"new": "purple banana"})
    with pytest.raises(DataError, match="no data set 'gone'"):
        xmc.index_run(tiny_run_copy, device="cpu")
    assert xmc.compact_labels(tiny_run_copy, device="cpu").labels == 61


def test_an_edit_that_is_committed_while_an_index_is_built_is_not_lost(tiny_run_copy, monkeypatch):
    from xmc.engine import indexing

    real = indexing.load_dataset

    def and_meanwhile(name):
        xmc.add_labels(tiny_run_copy, {"late": "purple banana"})
        xmc.remove_labels(tiny_run_copy, ["L21"])
        return real(name)

    monkeypatch.setattr(indexing, "load_dataset", and_meanwhile)
    assert xmc.index_run(tiny_run_copy, device="cpu").labels == 60
    assert opened(tiny_run_copy).search(["purple banana"], k=1)[0][0].label_id == "late"
    assert "L21" not in opened(tiny_run_copy).labels.ids


def test_a_vector_of_zeros_is_told_as_such(tiny_run_copy):
    with pytest.warns(XmcWarning, match=r"^0 is each number of the vector of 1 of these labels, such as 'b', which"):
        vectors_ND = torch.tensor([[1.0], [0.0]]).expand(2, 32)
        xmc.add_labels(tiny_run_copy, {"a": "a tram", "b": "a pear"}, vectors=vectors_ND)


def test_vectors_take_the_place_of_texts(tiny_run_copy):
    retriever = opened(tiny_run_copy)
    vectors_ND = retriever.encode(["purple banana", "quartz"]).numpy()
    xmc.add_labels(tiny_run_copy, {"image-1": "a picture", "L999": "another"}, vectors=vectors_ND)
    hits = opened(tiny_run_copy).search(["purple banana", "quartz"], k=1)
    assert [(each[0].label_id, each[0].text) for each in hits] == [("image-1", "a picture"), ("L999", "another")]
    before = answers(opened(tiny_run_copy), k=6)
    xmc.remove_labels(tiny_run_copy, ["L05"])
    xmc.index_run(tiny_run_copy, device="cpu")
    xmc.add_labels(tiny_run_copy, {"L05": TINY.texts[TINY.ids.index("L05")]})
    assert answers(opened(tiny_run_copy), k=6) == before  # in the index now, and kept for the next one
    xmc.replace_labels(tiny_run_copy, {"image-1": "a picture"})  # by its text from now on
    assert opened(tiny_run_copy).search(["purple banana"], k=1)[0][0].label_id != "image-1"
    chunks, _ = opened(tiny_run_copy).model.label_vectors(opened(tiny_run_copy).labels)
    rows = torch.cat(list(chunks))
    assert torch.allclose(rows[opened(tiny_run_copy).labels.ids.index("L999")], torch.from_numpy(vectors_ND[1]))


@pytest.mark.parametrize(
    ("edit", "error", "message"),
    [
        (lambda e: e.add({"L21": "again"}), DataError, r"1 label is there already: 'L21'\. .*xmc labels replace"),
        (lambda e: e.add({}), DataError, "there are no labels"),
        (lambda e: e.add({"x": " \n"}), DataError, "label 'x' has an empty text"),
        (lambda e: e.add({"x": None}), DataError, "label 'x' has None"),
        (lambda e: e.add({"": "text"}), DataError, "a label id must be a string of at least one character, got ''"),
        (lambda e: e.add({7: "text"}), DataError, "a label id must be a string of at least one character, got 7"),
        (lambda e: e.add({"x": "a\ud800"}), DataError, "the text of label 'x' is not valid Unicode"),
        (lambda e: e.add({"x\ud800": "a"}), DataError, "is not valid Unicode"),
        (lambda e: e.add({"x": "a" * 1_000_001}), DataError, "longer than 1,000,000 bytes"),
        (lambda e: e.add(["x"]), DataError, "labels must be a mapping of label ids to texts, got list"),
        (lambda e: e.add({"x": "a"}, vectors=np.ones((2, 32))), DataError, "2 vectors for 1 label;"),
        (lambda e: e.add({"x": "a"}, vectors=np.ones((1, 31))), DataError, "dimension 31, expected 32"),
        (lambda e: e.add({"x": "a"}, vectors=np.full((1, 32), np.nan)), NonFiniteError, "NaN.* in row 0"),
        (lambda e: e.add({"x": "a"}, vectors=[[1.0], [1.0, 2.0]]), DataError, "no matrix of .* 1 row of 32"),
        (lambda e: e.add({"x": "a"}, vectors="abc"), DataError, "no matrix of numbers"),
        (lambda e: e.add({"x": "a"}, vectors=np.array([["a"] * 32])), DataError, "no matrix of numbers"),
        (lambda e: e.add({"x": "a"}, vectors=[None]), DataError, "no matrix of numbers"),
        (
            lambda e: e.replace({"nope": "a", "L21": "b"}),
            DataError,
            r"1 label is not there: 'nope'\. All that are: xmc labels",
        ),
        (lambda e: e.remove(["L21", "nope"]), DataError, r"1 label is not there: 'nope'"),
        (lambda e: e.remove(["L21", "L21"]), DataError, "1 label id is given twice, such as 'L21'"),
        (lambda e: e.remove([]), DataError, "there are no labels"),
        (lambda e: e.remove("L21"), DataError, "must be a list of strings, got one string"),
        (lambda e: e.remove(TINY.ids), DataError, "remove all labels"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_committed(tiny_run, edit, error, message):
    editor = LabelEditor(tiny_run, plugins=PLUGINS)
    with pytest.raises(error, match=message):
        edit(editor)
    assert not labels_store(tiny_run).exists()
    assert not list((tiny_run / "labels").glob("[!.]*")) if (tiny_run / "labels").exists() else True


@pytest.mark.parametrize("labels", [{}, {"x": " "}, {"": "text"}, {"x": "\ud800"}])
def test_what_put_refuses_is_refused_before_what_is_to_be_done_first(tiny_run, labels):
    with pytest.raises(DataError):
        LabelEditor(tiny_run, plugins=PLUGINS).put(labels, first=pytest.fail)
    assert not labels_store(tiny_run).exists()


def test_a_second_writer_is_refused_at_once(tiny_run_copy):
    editor = LabelEditor(tiny_run_copy, plugins=PLUGINS)
    editor.remove(["L00"])
    with (tiny_run_copy / "labels" / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for edit in (lambda: editor.remove(["L01"]), lambda: editor.add({"x": "y"})):
            started = time.monotonic()
            with pytest.raises(LockedError, match="being written by another process"):
                edit()
            assert time.monotonic() - started < 1
        assert len(opened(tiny_run_copy).labels) == 59
    editor.remove(["L01"])


def test_editors_of_one_process_wait_for_one_another(tiny_run_copy, monkeypatch):
    monkeypatch.setattr(label_commit, "save_edits", lambda *given: (time.sleep(0.02), save_edits(*given)))
    paths = [tiny_run_copy, tiny_run_copy / ".." / tiny_run_copy.name]  # two names of one folder
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda n: LabelEditor(paths[n % 2], plugins=PLUGINS).add({f"t{n}": f"tram {n}"}), range(3)))
    assert LabelEditor(tiny_run_copy).report().added == 3


def test_many_edits_ask_for_a_new_index(tiny_run_copy):
    editor = LabelEditor(tiny_run_copy, plugins=PLUGINS)
    assert not editor.remove(TINY.ids[:6]).hint
    with pytest.warns(XmcWarning, match="7 of those are gone, .* xmc labels compact --run"):
        report = editor.remove([TINY.ids[6]])
    assert report.hint and report.removed == 7
    editor.compact(device="cpu")
    assert not editor.report().hint


def test_the_advice_comes_once_and_when_the_edits_have_doubled(tiny_run_copy):
    editor, said = LabelEditor(tiny_run_copy, plugins=PLUGINS), []
    for number in range(16):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            report = editor.add({f"new-{number}": f"purple banana {number}"})
        said += [report.added] * len(caught)
        assert bool(report.hint) == (report.added > 6)
    assert said == [7, 14]


def test_vectors_kept_for_another_encoder_are_made_anew_and_given_ones_refused(tiny_run_copy):
    retriever = opened(tiny_run_copy)
    xmc.add_labels(tiny_run_copy, {"new": "purple banana"})
    before = answers(opened(tiny_run_copy), k=3)
    recommit_encoder(tiny_run_copy)
    with pytest.raises(ArtifactError, match="built with another encoder"):
        opened(tiny_run_copy)
    xmc.index_run(tiny_run_copy, device="cpu")
    assert answers(opened(tiny_run_copy), k=3) == before
    xmc.add_labels(tiny_run_copy, {"own": "text"}, vectors=retriever.encode(["quartz"]))
    recommit_encoder(tiny_run_copy)
    with pytest.raises(ArtifactError, match=r"'own', has vectors that were given for another encoder"):
        xmc.index_run(tiny_run_copy, device="cpu")
    xmc.remove_labels(tiny_run_copy, ["own"])
    xmc.index_run(tiny_run_copy, device="cpu")
    assert answers(opened(tiny_run_copy), k=3) == before


@pytest.mark.filterwarnings("ignore::xmc.errors.XmcWarning")
def test_labels_with_vectors_for_another_encoder_can_be_given_their_texts_or_other_vectors(tiny_run_copy):
    vectors_ND = opened(tiny_run_copy).encode(["purple banana", "quartz"])
    own = {"own-1": "purple banana", "own-2": "quartz"}
    give = partial(xmc.put_labels, tiny_run_copy, own, vectors=vectors_ND)
    assert give().changed == 2
    recommit_encoder(tiny_run_copy)
    for edit in (
        lambda: xmc.add_labels(tiny_run_copy, {"new": "text"}),
        lambda: xmc.replace_labels(tiny_run_copy, {"own-2": "text"}),
        lambda: xmc.sync_labels(tiny_run_copy, {**xmc.list_labels(tiny_run_copy), "own-2": "text"}),
    ):
        with pytest.raises(ArtifactError, match=r"^1 label, 'own-1', has|^2 labels, .*labels put FILE"):
            edit()
    assert xmc.put_labels(tiny_run_copy, xmc.list_labels(tiny_run_copy)).changed == 2
    xmc.index_run(tiny_run_copy, device="cpu")
    best = [hits[0].label_id for hits in opened(tiny_run_copy).search(["purple banana", "quartz"])]
    assert best == ["own-1", "own-2"]
    assert give().changed == 2
    recommit_encoder(tiny_run_copy)
    assert give().changed == 2  # the same vectors, meant for the encoder that is there now
    xmc.index_run(tiny_run_copy, device="cpu")
    assert [hits[0].label_id for hits in opened(tiny_run_copy).search(["purple banana", "quartz"])] == best
    recommit_encoder(tiny_run_copy)
    assert xmc.replace_labels(tiny_run_copy, own).changed == 2
    xmc.index_run(tiny_run_copy, device="cpu")
    recommit_encoder(tiny_run_copy)
    xmc.index_run(tiny_run_copy, device="cpu")  # nothing of them is left


def recommit_encoder(run: Path) -> None:
    store = encoder_store(run)
    old = store.current()
    count = old.manifest.facts.get("count", 0) + 1
    with store.new_version(facts={**old.manifest.facts, "count": count}) as folder:
        shutil.copytree(old.folder, folder, dirs_exist_ok=True)
        (folder / "manifest.json").unlink()


def test_removed_labels_are_no_positives_any_more(tiny_run_copy):
    data = load_dataset("tiny")
    counts = np.bincount(data.test.positives.label_rows, minlength=60)
    gone = [data.labels.ids[row] for row in np.argsort(-counts)[:5]]
    xmc.remove_labels(tiny_run_copy, gone)
    xmc.add_labels(tiny_run_copy, {"new": "purple banana"})
    report = xmc.evaluate_run(tiny_run_copy, settings=["evaluate.auc_negatives=10"])
    kept = sum(any(data.labels.ids[row] not in gone for row in rows) for rows in positives_of(data.test))
    assert report.queries == kept < 100
    assert report.overall.figures["P@1"].value > 0.9
    assert xmc.check_run(tiny_run_copy, ["exactness"], device="cpu").passed


@pytest.mark.filterwarnings("ignore::xmc.errors.XmcWarning")
def test_a_run_with_other_labels_than_its_data_is_not_judged(tiny_run_copy):
    xmc.sync_labels(tiny_run_copy, {"new-1": "solar kettle", "new-2": "copper violin"}, most_removed=1)
    report = tiny_run_copy / "report.json"
    before = report.read_bytes() if report.exists() else None
    for judge in (
        xmc.evaluate_run,
        partial(xmc.check_run, names=["exactness"]),
        partial(xmc.check_run, names=["all"]),
    ):
        with pytest.raises(DataError, match="no query of the split 'test' has a positive among the labels"):
            judge(tiny_run_copy, device="cpu")
    assert (report.read_bytes() if report.exists() else None) == before
    with pytest.raises(DataError, match="no query of the split 'train' has a positive"):
        xmc.rerank_run(tiny_run_copy, settings=["reranker.name=linear.one-vs-rest"], device="cpu")


def positives_of(queries):
    truth = queries.positives
    return [truth.label_rows[a:b] for a, b in zip(truth.offsets, truth.offsets[1:], strict=False)]


@pytest.mark.slow
def test_probabilities_stay_with_a_note_and_label_sets_go_stale(tiny_run_copy):
    quick = ["check.calibrate.bootstrap_samples=0"]
    xmc.check_run(tiny_run_copy, ["calibrate", "conformal"], settings=quick, device="cpu")
    whole = opened(tiny_run_copy)
    assert not whole.fitted.notes and whole.search_sets(TEXTS[:2], alpha=0.3)
    some = [label_id for label_id in TINY.ids if label_id != "L21"][:20]
    everything = {hit.label_id: hit.probability for hit in whole.search(["tender tram"], k=60)[0]}
    filtered = whole.search(["tender tram"], k=5, allowed=some)[0]
    assert len(filtered) == 5
    assert {hit.label_id: hit.probability for hit in filtered} == {
        hit.label_id: everything[hit.label_id] for hit in filtered
    }  # not those of the rank among the allowed
    sets = whole.search_sets(TEXTS, alpha=0.3)
    for hits, kept in zip(sets, whole.search_sets(TEXTS, alpha=0.3, allowed=some), strict=True):
        assert [hit.label_id for hit in kept] == [hit.label_id for hit in hits if hit.label_id in some]
    xmc.add_labels(tiny_run_copy, {"new": "purple banana"})
    with (
        pytest.warns(XmcWarning, match="some labels were edited after its probabilities were fitted"),
        pytest.warns(XmcWarning, match="Make it again: xmc check conformal"),
    ):
        edited = opened(tiny_run_copy)
    assert edited.search(["purple banana"])[0][0].probability is not None
    assert "edited after its probabilities were fitted" in edited.fitted.notes[0]
    with pytest.raises(ArtifactError, match=r"label sets of .* were fitted for labels that were edited since"):
        edited.search_sets(TEXTS)
    xmc.check_run(tiny_run_copy, ["calibrate"], settings=quick, device="cpu")
    again = edited.reload_if_changed()  # what was said before is not said again
    assert again is not edited and not again.fitted.notes and again.fitted.label_sets is None


def test_generation_changes_with_every_commit_and_an_unchanged_run_is_not_read_again(tiny_run_copy):
    first = opened(tiny_run_copy)
    assert first.reload_if_changed() is first and len(first.generation) == 16
    xmc.remove_labels(tiny_run_copy, ["L00"])
    second = first.reload_if_changed()
    assert second.generation not in ("", first.generation)
    assert second.index.base is first.index  # shared: only the edits were read
    assert "L00" in first.labels.ids and "L00" not in second.labels.ids
    assert opened(tiny_run_copy).generation == second.generation
    xmc.compact_labels(tiny_run_copy, device="cpu")
    third = second.reload_if_changed()
    assert third.generation != second.generation and third.encoder is first.encoder
    with pytest.raises(ArtifactError, match="not loaded from a run"):
        Retriever(first.model, first.index, first.labels).reload_if_changed()
