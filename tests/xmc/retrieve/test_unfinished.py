"""Invariant: who opens a run that is not finished, or edits its labels, is told how to go on with it."""

import shutil

import pytest

import xmc
from xmc.errors import ArtifactError
from xmc.retrieve.retriever import Retriever

EDITS = (lambda run: xmc.remove_labels(run, ["L00"]), lambda run: xmc.add_labels(run, {"x": "y"}), xmc.list_labels)


def test_an_interrupted_training(tiny_run_copy):
    shutil.rmtree(tiny_run_copy / "index")
    (tiny_run_copy / "train.json").unlink()
    go_on = rf"is not finished.* Go on with: xmc train --out {tiny_run_copy} --resume"
    for ask in (Retriever.load, *EDITS):
        with pytest.raises(ArtifactError, match=go_on):
            ask(tiny_run_copy)
    shutil.rmtree(tiny_run_copy / "encoder")
    with pytest.raises(ArtifactError, match=go_on):
        Retriever.load(tiny_run_copy)
    with pytest.raises(ArtifactError, match=go_on):
        xmc.index_run(tiny_run_copy)


def test_a_missing_index(tiny_run_copy):
    shutil.rmtree(tiny_run_copy / "index")
    for ask in (xmc.evaluate_run, *EDITS, xmc.compact_labels):
        with pytest.raises(ArtifactError, match=rf"but has no index\. Build it: xmc index --run {tiny_run_copy}"):
            ask(tiny_run_copy)
    xmc.index_run(tiny_run_copy)
    assert Retriever.load(tiny_run_copy).search(["tram"], k=1)


@pytest.mark.parametrize("stage", [".next-whole", ".next-moving"])
def test_a_replacement_that_was_killed_half_way(tiny_run_copy, stage):
    editor = xmc.LabelEditor(tiny_run_copy)
    editor.remove(["L01"])
    (tiny_run_copy / stage).mkdir()
    for ask in (Retriever.load, *EDITS, lambda run: editor.remove(["L02"])):
        with pytest.raises(ArtifactError, match=rf"takes the place of .*xmc train --out {tiny_run_copy} --resume"):
            ask(tiny_run_copy)
    (tiny_run_copy / stage).rmdir()
    assert len(xmc.list_labels(tiny_run_copy)) == 59
