"""Invariants: a run that has lost a part which it had is refused, and the error names the part and says what to do;
until the note of a part is made, and in runs of an earlier xmc, nothing is missed."""

import shutil

import pytest

import xmc
from xmc.engine.describe import describe_run
from xmc.errors import ArtifactError
from xmc.retrieve.passage_records import PassageRecords
from xmc.retrieve.retriever import Retriever
from xmc.retrieve.run_state import identity_of
from xmc.store import versions


def put_metadata(run):
    text = xmc.list_labels(run)["L01"]
    xmc.put_labels(run, {"L01": text}, metadata={"L01": {"page": 1}})


PARTS = {
    "labels": lambda run: xmc.add_labels(run, {"new": "purple banana"}),
    "reranker": lambda run: xmc.rerank_run(run, settings={"fusion.prior": 0.5}),
    "passages": put_metadata,
}
READERS = {
    "labels": (Retriever.load, identity_of, xmc.list_labels, describe_run),
    "reranker": (Retriever.load, identity_of, describe_run),
    "passages": (lambda run: PassageRecords(run).current(), describe_run),
}


@pytest.mark.parametrize("emptied", [False, True])
@pytest.mark.parametrize("part", PARTS)
def test_a_run_that_has_lost_a_part_is_refused_until_it_is_back(tiny_run_copy, part, emptied):
    PARTS[part](tiny_run_copy)
    before = Retriever.load(tiny_run_copy)
    (tiny_run_copy / part).rename(tiny_run_copy / "aside")
    if emptied:
        (tiny_run_copy / part).mkdir()
    readers = [*READERS[part], *([] if part == "passages" else [lambda run: before.reload_if_changed()])]
    for read in readers:
        with pytest.raises(ArtifactError, match=f"run/{part} is missing or empty: the .* lay there") as caught:
            read(tiny_run_copy)
        assert "Restore that folder from a copy." in caught.value.hint
        assert f"rm {tiny_run_copy}/encoder/has-{part}" in caught.value.hint
    assert len(before.search(["tender tram"], k=1)[0]) == 1  # who has it open goes on
    shutil.rmtree(tiny_run_copy / part, ignore_errors=True)
    (tiny_run_copy / "aside").rename(tiny_run_copy / part)
    assert Retriever.load(tiny_run_copy).identity == before.identity


def test_edits_of_labels_whose_edits_are_lost_are_refused(tiny_run_copy):
    PARTS["labels"](tiny_run_copy)
    shutil.rmtree(tiny_run_copy / "labels")
    editor = xmc.LabelEditor(tiny_run_copy)
    for edit in (lambda: editor.put({"L01": "a text"}), lambda: editor.remove(["L01"]), editor.compact):
        with pytest.raises(ArtifactError, match="labels is missing or empty"):
            edit()
    (tiny_run_copy / "encoder" / "has-labels").unlink()  # as the error says
    assert "new" not in xmc.list_labels(tiny_run_copy)


def test_a_lost_second_stage_is_fitted_again_as_the_error_says(tiny_run_copy):
    PARTS["reranker"](tiny_run_copy)
    shutil.rmtree(tiny_run_copy / "reranker")
    with pytest.raises(ArtifactError) as caught:
        Retriever.load(tiny_run_copy)
    assert f"Or fit it again: xmc rerank --run {tiny_run_copy}" in caught.value.hint
    assert Retriever.load(tiny_run_copy, reranked=False).reranking is None  # for who does not ask for it
    assert xmc.rerank_run(tiny_run_copy)["prior"] == 0.5
    assert Retriever.load(tiny_run_copy).reranking is not None


@pytest.mark.parametrize("part", PARTS)
def test_without_the_note_a_run_opens_and_the_next_version_makes_it(tiny_run_copy, part, monkeypatch):
    note, write = tiny_run_copy / "encoder" / f"has-{part}", versions.write_bytes

    def kill(path, data):
        if path == note:
            raise KeyboardInterrupt  # a kill between the commit and the note
        write(path, data)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(versions, "write_bytes", kill)
        PARTS[part](tiny_run_copy)
    describe_run(tiny_run_copy)
    assert part == "passages" or set(Retriever.load(tiny_run_copy).identity) == {"encoder", "index", part}
    assert not note.exists()
    xmc.put_labels(tiny_run_copy, {"L01": "another text"}, metadata={"L01": {"page": 2}})
    xmc.rerank_run(tiny_run_copy, settings={"fusion.prior": 0.5})
    assert note.exists()


def test_a_disk_that_refuses_the_note_refuses_nothing_else(tiny_run_copy, monkeypatch):
    write = versions.write_bytes

    def refuse(path, data):
        if path.name == "has-labels":
            raise OSError(28, "No space left on device", str(path))
        write(path, data)

    monkeypatch.setattr(versions, "write_bytes", refuse)
    PARTS["labels"](tiny_run_copy)
    assert "new" in xmc.list_labels(tiny_run_copy) and not (tiny_run_copy / "encoder" / "has-labels").exists()
