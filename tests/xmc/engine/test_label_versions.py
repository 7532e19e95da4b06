"""Invariants: after a rollback a run has the labels of that version and answers as it did then, whatever was edited or
built since; it is one more version, and what cannot be gone back to is refused before anything is committed."""

import fcntl
import shutil
from datetime import UTC, datetime

import numpy as np
import pytest
import torch

import xmc
from xmc.data.dataset import load_dataset
from xmc.engine import label_commit
from xmc.engine.label_editing import LabelEditor
from xmc.engine.label_versions import BEFORE_EDITS, KEPT
from xmc.errors import ArtifactError, DataError, LockedError
from xmc.plugin_manager import load_plugins
from xmc.retrieve.label_edits import FIRST_FILE, read_edits, save_edits
from xmc.retrieve.layout import encoder_store, labels_store
from xmc.retrieve.retriever import Retriever

PLUGINS = load_plugins()
TEXTS = [*load_dataset("tiny").test.texts[:20], "purple banana", "tender tram vehicle", "quartz"]
TINY = load_dataset("tiny").labels
pytestmark = pytest.mark.filterwarnings("ignore::xmc.errors.XmcWarning")


@pytest.fixture
def editor(tiny_run_copy):
    return LabelEditor(tiny_run_copy, plugins=PLUGINS)


def opened(run) -> Retriever:
    return Retriever.load(run, device="cpu", plugins=PLUGINS)


def answers(run):
    return [[(hit.label_id, hit.text, hit.score) for hit in hits] for hits in opened(run).search(TEXTS, k=70)]


def names(editor):
    return [version.version for version in editor.versions()]


def recommit_encoder(run):
    store = encoder_store(run)
    old = store.current()
    with store.new_version(facts={**old.manifest.facts, "again": True}) as folder:
        shutil.copytree(old.folder, folder, dirs_exist_ok=True)
        (folder / "manifest.json").unlink()


@pytest.mark.parametrize("compacted", [False, True])
def test_after_a_rollback_the_run_answers_as_it_did_then(editor, compacted, monkeypatch):
    monkeypatch.setattr(label_commit, "KEPT", 30)
    vectors_ND = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 32)).astype(np.float32))
    edits = [
        lambda: editor.add({"new-1": "purple banana", "new-2": "quartz"}),
        lambda: editor.put({"L00": "a picture", "own": "another"}, vectors=vectors_ND[:2]),
        lambda: editor.replace({"L01": "quartz", "L00": "a text again"}),
        lambda: editor.remove(["L02", "new-1", "own"]),
        lambda: editor.sync({"L02": "another text", **dict(list(editor.labels().items())[:40])}),
        lambda: editor.put({"own": "a third"}, vectors=vectors_ND[2:]),
    ]
    states = {BEFORE_EDITS: (editor.labels(), answers(editor.run))}
    for edit in edits:
        edit()
        states[names(editor)[-1]] = (editor.labels(), answers(editor.run))
    assert list(states) == names(editor)
    if compacted:
        editor.compact(device="cpu")
    for version in [BEFORE_EDITS, *reversed(states), "v000004"]:
        report = editor.rollback(version)
        labels, wanted = states[version]
        assert editor.labels() == labels and report.labels == len(labels)
        for found, hits in zip(answers(editor.run), wanted, strict=True):  # compacted: sums of another order
            assert [hit[:2] for hit in found] == [hit[:2] for hit in hits]
            scores = [hit[2] for hit in hits]
            assert [hit[2] for hit in found] == (pytest.approx(scores, abs=1e-6) if compacted else scores)


def test_a_wrong_file_that_was_the_first_edit_leaves_no_trace_in_answers(editor):
    run = editor.run
    xmc.check_run(run, ["conformal"], device="cpu")
    before, sets = answers(run), opened(run).search_sets(TEXTS, alpha=0.3)
    editor.put({**{f"wrong-{number}": f"purple banana {number}" for number in range(200)}, "L03": "quartz"})
    with pytest.raises(ArtifactError, match="fitted for labels that were edited since"):
        opened(run).search_sets(TEXTS)
    report = xmc.rollback_labels(run, to=BEFORE_EDITS)
    assert (report.labels, report.added, report.removed, report.changed, report.hint) == (60, 0, 0, 201, "")
    assert answers(run) == before and opened(run).search_sets(TEXTS, alpha=0.3) == sets
    xmc.index_run(run, device="cpu")
    assert answers(run) == before, "an index built from the data set knows of the rollback"


def test_an_index_that_was_built_with_a_wrong_file_is_led_back_too(editor):
    before, labels = answers(editor.run), editor.labels()
    editor.put({"wrong": "purple banana", "L03": "quartz"})
    editor.remove(["L04"])
    editor.compact(device="cpu")
    report = editor.rollback(BEFORE_EDITS)
    assert editor.labels() == labels and answers(editor.run) == before
    assert (report.base, report.added, report.removed, report.changed) == (60, 2, 2, 3)


def test_versions_say_what_made_them(editor):
    assert editor.versions() == xmc.list_label_versions(editor.run) == []
    assert editor.rollback(BEFORE_EDITS).changed == 0 and not labels_store(editor.run).exists()
    editor.add({"new": "purple banana"})
    editor.put({"new": "purple banana"})  # changes nothing
    editor.remove(["L00", "L01", "nope"], missing_ok=True)
    editor.rollback("v000002")
    found = [(each.version, each.change, each.changed, each.labels, each.current) for each in editor.versions()]
    assert found == [
        ("v000000", "before the first edit", None, 60, False),
        ("v000002", "add", 1, 61, False),
        ("v000003", "remove", 2, 59, False),
        ("v000004", "rollback to v000002", 2, 61, True),
    ]
    assert all(datetime.fromisoformat(each.at).tzinfo == UTC for each in editor.versions()[1:])
    assert not editor.versions()[0].at
    (labels_store(editor.run).root / "v000003" / "manifest.json").write_text("{}")
    damaged = editor.versions()[2]
    assert (damaged.version, damaged.change, damaged.labels) == ("v000003", "damaged", None)


def test_a_version_that_is_not_there_or_damaged_is_refused_and_nothing_is_committed(editor):
    for number in range(KEPT + 3):
        editor.put({"L00": f"text {number}"})
    kept = [f"v{number:06d}" for number in range(5, KEPT + 5)]
    assert names(editor) == [BEFORE_EDITS, *kept]
    generation = opened(editor.run).generation
    for version in ("v000001", "v000099", "L00", "", "../v000006"):
        with pytest.raises(DataError, match=rf"there is no version '{version}' of the labels") as caught:
            editor.rollback(version)
        assert f"There are: v000000, {', '.join(kept)}" in caught.value.hint
    (labels_store(editor.run).root / "v000006" / FIRST_FILE).write_bytes(b"other")
    (labels_store(editor.run).root / "v000007" / "manifest.json").unlink()
    for version, message in (("v000006", "first.parquet is damaged"), ("v000007", "manifest.json is damaged")):
        with pytest.raises(ArtifactError, match=message):
            editor.rollback(version)
    assert opened(editor.run).generation == generation
    assert editor.rollback("v000005").changed == 1 and editor.labels()["L00"] == "text 3"


def test_large_versions_go_sooner_but_for_the_last(editor, monkeypatch):
    for number in range(4):
        editor.put({f"new-{number}": "purple banana"})
    size = sum(path.stat().st_size for path in (labels_store(editor.run).root / "v000005").iterdir())
    monkeypatch.setattr(label_commit, "KEPT_BYTES", 2 * size)
    editor.put({"new-4": "purple banana"})
    assert names(editor) == [BEFORE_EDITS, "v000004", "v000005", "v000006"]
    monkeypatch.setattr(label_commit, "KEPT_BYTES", 0)
    editor.put({"new-5": "purple banana"})
    assert names(editor) == [BEFORE_EDITS, "v000006", "v000007"]
    assert editor.rollback(BEFORE_EDITS).labels == 60


def test_vectors_for_another_encoder_are_not_gone_back_to(editor):
    vectors_ND = opened(editor.run).encode(["quartz"])
    editor.add({"new": "purple banana"})
    editor.put({"own": "a picture"}, vectors=vectors_ND)
    editor.remove(["own", "new"])
    recommit_encoder(editor.run)
    xmc.index_run(editor.run, device="cpu")
    with pytest.raises(DataError, match="1 label, 'own', has vectors in v000003 that were given for another"):
        editor.rollback("v000003")
    assert editor.rollback("v000002").labels == 61  # embedded anew
    assert opened(editor.run).search(["purple banana"], k=1)[0][0].label_id == "new"
    with pytest.raises(DataError, match="there is no version"):
        editor.rollback("v000009")


def test_a_rollback_waits_for_no_other_writer(editor):
    editor.remove(["L00"])
    with (editor.run / "labels" / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LockedError, match="being written by another process"):
            editor.rollback(BEFORE_EDITS)
    assert editor.rollback(BEFORE_EDITS).labels == 60


def test_labels_edited_before_their_first_state_was_kept_go_back_as_far_as_is_known(editor):
    editor.put({"L00": "quartz"})
    store = labels_store(editor.run)
    facts = {"encoder_sha256": store.current().manifest.facts["encoder_sha256"]}
    with store.new_version(facts=facts) as folder:  # as xmc wrote it then
        save_edits(folder, read_edits(editor.run))
        (folder / FIRST_FILE).unlink()
    editor.put({"L01": "quartz"})
    old = editor.versions()[-2]
    assert (old.version, old.at, old.change, old.labels) == ("v000003", "", "", None)
    assert names(editor) == ["v000002", "v000003", "v000004"]
    with pytest.raises(DataError, match="what 1 label, 'L00', was in v000000 is not known"):
        editor.rollback(BEFORE_EDITS)
    assert editor.rollback("v000003").changed == 1
    assert editor.labels() == {**dict(zip(TINY.ids, TINY.texts, strict=True)), "L00": "quartz"}


def test_a_rollback_of_a_run_whose_labels_were_all_edited_leaves_some(editor):
    labels = editor.labels()
    editor.put({"new": "quartz"})
    editor.remove(TINY.ids)
    editor.compact(device="cpu")
    assert editor.rollback(BEFORE_EDITS).labels == 60 and editor.labels() == labels
    with pytest.raises(DataError, match="at least one must stay"):
        editor.remove(TINY.ids)
