"""Invariants: what an index of others answers is what the user gets, or an error that names the backend; it can do what
the index can; indexes of xmc are not looked at again."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from xmc.api import CertifyingIndex, FilteredIndex, Hits, Index
from xmc.engine.indexing import run_indexing
from xmc.engine.run_config import read_run_config
from xmc.errors import PluginError
from xmc.plugin_manager import load_plugins
from xmc.retrieve.checked_index import checked
from xmc.retrieve.flat_scan import FlatScan
from xmc.retrieve.retriever import Retriever

GOOD = Hits(np.array([0, 2, 2, 4]), np.array([3, 1, 2, 5]), np.array([0.5, 0.5, 0.9, -1.0]))
QUERIES_QD = torch.zeros(3, 2)
NOT_FINITE = "a score that is not finite"
BROKEN = {
    "worst first": (replace(GOOD, scores=np.array([0.4, 0.5, 0.9, 0.1])), "not in the order of its scores"),
    "NaN": (replace(GOOD, scores=np.array([0.5, np.nan, 0.9, 0.1])), NOT_FINITE),
    "infinity": (replace(GOOD, scores=np.array([0.5, 0.4, 0.9, -np.inf])), NOT_FINITE),
    "more than k": (replace(GOOD, offsets=np.array([0, 1, 1, 4])), "3 labels where k is 2"),
    "a row of no label": (replace(GOOD, label_rows=np.array([3, -1, 2, 5])), "label row -1"),
    "a row above all": (replace(GOOD, label_rows=np.array([3, 0, 2, 6])), "label row 6; there are 0 to 5"),
    "a hit of nobody": (replace(GOOD, offsets=np.array([1, 2, 2, 4])), "offsets do not fit"),
    "hits of nobody": (replace(GOOD, offsets=np.array([0, 2, 2, 3])), "offsets do not fit"),
    "descending offsets": (replace(GOOD, offsets=np.array([0, 2, 1, 4])), "offsets do not fit"),
    "fewer scores": (replace(GOOD, scores=np.array([0.5, 0.5, 0.9])), "3 scores for 4 labels"),
    "fewer queries": (Hits(np.array([0, 2, 4]), GOOD.label_rows, GOOD.scores), "2 queries of 3"),
}


class Answering:
    """An index with one answer to everything."""

    def __init__(self, hits):
        self.hits, self.report = hits, FlatScan.of(torch.eye(6, 2), similarity="dot").report

    def search(self, queries_QD, k):
        return self.hits

    def save(self, folder):
        (folder / "saved").touch()


class AnsweringAmong(Answering):
    def search_among(self, queries_QD, k, label_rows):
        return self.hits


class AnsweringCertified(Answering):
    def search_certified(self, queries_QD, k):
        return self.hits, np.ones(3, bool)


class AnsweringBoth(AnsweringAmong, AnsweringCertified):
    pass


@dataclass(frozen=True)
class Backwards:
    """A backend that answers with distances, the smallest first, as if they were scores."""

    def build(self, embeddings, *, similarity, device):
        return BackwardsIndex(FlatScan.of(torch.cat(list(embeddings)), similarity=similarity))

    def load(self, folder, *, device):
        return self.build([torch.load(folder / "labels.pt")], similarity="cosine", device=device)


@dataclass(frozen=True, eq=False)
class BackwardsIndex:
    scan: FlatScan

    @property
    def report(self):
        return replace(self.scan.report, backend="backwards")

    def search(self, queries_QD, k):
        hits = self.scan.search(queries_QD, k)
        return replace(hits, scores=1 - hits.scores)

    def save(self, folder):
        torch.save(self.scan.labels_NE, folder / "labels.pt")


@pytest.fixture(scope="module")
def plugin_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugin") / "backwards_file.py"
    spec = f'IndexSpec("backwards", "{__name__}:Backwards", summary="wrong")'
    path.write_text(f"from xmc.api import IndexSpec, hookimpl\n\n@hookimpl\ndef xmc_indexes():\n    return [{spec}]\n")
    return path


@pytest.fixture(scope="module")
def plugins(plugin_file):
    return load_plugins(plugin_file=plugin_file)


BACKEND = "backwards_file.backwards"


@pytest.mark.parametrize("kind", [Answering, AnsweringAmong, AnsweringCertified, AnsweringBoth])
def test_it_can_do_what_the_index_can_and_answers_as_that(kind, plugins, tmp_path):
    index = kind(GOOD)
    looked_at = checked(index, BACKEND, plugins)
    for ability in (Index, FilteredIndex, CertifyingIndex):
        assert isinstance(looked_at, ability) == isinstance(index, ability)
    assert looked_at.search(QUERIES_QD, 2) is GOOD and looked_at.report is index.report
    if isinstance(looked_at, FilteredIndex):
        assert looked_at.search_among(QUERIES_QD, 2, np.arange(6)) is GOOD
    if isinstance(looked_at, CertifyingIndex):
        assert looked_at.search_certified(QUERIES_QD, 2)[0] is GOOD
    looked_at.save(tmp_path)
    assert (tmp_path / "saved").exists()


@pytest.mark.parametrize("case", BROKEN)
def test_an_answer_against_the_contract_is_an_error_that_names_the_backend(case, plugins):
    hits, said = BROKEN[case]
    looked_at = checked(AnsweringBoth(hits), BACKEND, plugins)
    for search in (
        lambda: looked_at.search(QUERIES_QD, 2),
        lambda: looked_at.search_among(QUERIES_QD, 2, np.arange(6)),
        lambda: looked_at.search_certified(QUERIES_QD, 2),
    ):
        with pytest.raises(PluginError, match=f"index '.*' answers .*{said}"):
            search()


def test_lists_without_hits_are_allowed(plugins):
    none = Hits(np.zeros(4, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    ends = Hits(np.array([0, 0, 2, 2]), np.array([1, 2]), np.array([0.5, 0.1]))
    for hits in (none, ends):
        assert checked(Answering(hits), BACKEND, plugins).search(QUERIES_QD, 2) is hits


def test_an_index_of_xmc_is_not_looked_at_again(plugins):
    for name in ("exact", "faiss.flat", "sharded"):
        index = Answering(GOOD)
        assert checked(index, name, plugins) is index


@pytest.mark.parametrize("settings", [[f"index.name={BACKEND}"], ["index.name=sharded", f"index.backend={BACKEND}"]])
def test_a_run_with_such_an_index_answers_nothing_wrong(settings, plugins, plugin_file, tiny_run_copy, monkeypatch):
    monkeypatch.setenv("XMC_PLUGIN_FILE", str(plugin_file))  # the parts of a sharded index look for it themselves
    config = read_run_config(plugins, tiny_run_copy, settings=settings)
    run_indexing(config, tiny_run_copy, plugins=plugins, device="cpu")
    retriever = Retriever.load(tiny_run_copy, plugins=plugins, device="cpu")
    with pytest.raises(PluginError, match="index 'backwards' answers a list that is not in the order"):
        retriever.search(["tender tram"], k=3)
