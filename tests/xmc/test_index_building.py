"""Invariants: an index holds a vector for each label, or there is no new index: no label is left out."""

from dataclasses import dataclass, replace

import pytest
import torch

from xmc.engine.component import Component
from xmc.engine.indexing import run_indexing
from xmc.engine.run_config import read_run_config
from xmc.errors import PluginError
from xmc.index_building import build_index
from xmc.plugin_manager import load_plugins
from xmc.retrieve.layout import index_store
from xmc.retrieve.trained_model import TrainedModel
from xmc_index_exact.exact import Exact


@dataclass(frozen=True)
class Twice(Exact):
    """Counts in a first pass and fills in a second."""

    def build(self, embeddings, *, similarity, device):
        rows = sum(len(chunk) for chunk in embeddings)
        matrix_LD = torch.zeros(rows, 2)
        for chunk in embeddings:
            matrix_LD[: len(chunk)] = chunk
        return super().build([matrix_LD], similarity=similarity, device=device)


@dataclass(frozen=True)
class FirstChunk(Exact):
    def build(self, embeddings, *, similarity, device):
        return super().build([next(iter(embeddings))], similarity=similarity, device=device)


@dataclass(frozen=True)
class Half(Exact):
    def build(self, embeddings, *, similarity, device):
        whole = torch.cat(list(embeddings))
        return super().build([whole[::2]], similarity=similarity, device=device)


@dataclass(frozen=True)
class Forgetful(Exact):
    def build(self, embeddings, *, similarity, device):
        super().build(embeddings, similarity=similarity, device=device)


@pytest.mark.parametrize(
    ("backend", "labels", "message"),
    [
        (Exact(), 60, "the head gives 4 label vectors for 60 labels"),
        (Exact(), 3, "the head gives 4 label vectors for 3 labels"),
        (Twice(), 4, "Twice reads the label vectors a second time"),
        (FirstChunk(), 4, "FirstChunk read 2 of 4 label vectors"),
        (Forgetful(), 4, r"Forgetful: build\(\) answers a NoneType whose report is no IndexReport"),
        (Half(), 4, "Half was given 4 label vectors and reports labels=2"),
    ],
)
def test_what_is_left_out_is_refused_in_numbers(backend, labels, message):
    chunks = iter([torch.ones(2, 2), torch.ones(2, 2)])
    with pytest.raises(PluginError, match=message):
        build_index(backend, chunks, labels=labels, similarity="dot", device="cpu")


def test_every_label_once():
    assert build_index(Exact(), [torch.ones(3, 2)], labels=3, similarity="dot", device="cpu").report.labels == 3


def test_the_index_of_the_run_stays_when_a_new_one_is_refused(tiny_run_copy, monkeypatch):
    plugins = load_plugins()
    config, before = read_run_config(plugins, tiny_run_copy), index_store(tiny_run_copy).current_sha256()
    with pytest.raises(PluginError, match="a second time"):
        run_indexing(replace(config, index=Component("twice", Twice())), tiny_run_copy, plugins=plugins)
    monkeypatch.setattr(TrainedModel, "label_vectors", lambda self, labels: (iter([torch.ones(10, 32)]), None))
    with pytest.raises(PluginError, match="gives 10 label vectors"):
        run_indexing(config, tiny_run_copy, plugins=plugins)
    assert index_store(tiny_run_copy).current_sha256() == before
