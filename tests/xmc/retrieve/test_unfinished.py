"""Invariant: who opens a run that is not finished is told how to go on with it."""

import shutil

import pytest

import xmc
from xmc.errors import ArtifactError
from xmc.retrieve.retriever import Retriever


def test_an_interrupted_training(tiny_run_copy):
    shutil.rmtree(tiny_run_copy / "index")
    (tiny_run_copy / "train.json").unlink()
    go_on = rf"is not finished.* Go on with: xmc train --out {tiny_run_copy} --resume"
    with pytest.raises(ArtifactError, match=go_on):
        Retriever.load(tiny_run_copy)
    shutil.rmtree(tiny_run_copy / "encoder")
    with pytest.raises(ArtifactError, match=go_on):
        Retriever.load(tiny_run_copy)
    with pytest.raises(ArtifactError, match=go_on):
        xmc.index_run(tiny_run_copy)


def test_a_missing_index(tiny_run_copy):
    shutil.rmtree(tiny_run_copy / "index")
    with pytest.raises(ArtifactError, match=rf"but has no index\. Build it: xmc index --run {tiny_run_copy}"):
        xmc.evaluate_run(tiny_run_copy)
    xmc.index_run(tiny_run_copy)
    assert Retriever.load(tiny_run_copy).search(["tram"], k=1)


@pytest.mark.parametrize("stage", [".next-whole", ".next-moving"])
def test_a_replacement_that_was_killed_half_way(tiny_run_copy, stage):
    (tiny_run_copy / stage).mkdir()
    with pytest.raises(ArtifactError, match=rf"takes the place of .*xmc train --out {tiny_run_copy} --resume"):
        Retriever.load(tiny_run_copy)
