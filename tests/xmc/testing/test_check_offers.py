"""The kit must catch a liar of each kind: filters that leak or lose, false certificates, ladders that lead nowhere."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from xmc.errors import ConfigError
from xmc.testing import ConformanceError, check_index
from xmc.testing.check_index import CHECKS, _Case
from xmc.values import Hits
from xmc_index_exact.exact import Exact


@dataclass(frozen=True)
class Offering:
    """An exact index that offers everything, with one fault."""

    fault: str = "none"
    depth: int = 4

    def build(self, embeddings, *, similarity, device):
        return OfferingIndex(Exact().build(embeddings, similarity=similarity, device=device), self)

    def load(self, folder, *, device):
        return OfferingIndex(Exact().load(folder, device=device), self)

    @classmethod
    def proposals(cls, *, labels, dimension):
        return [cls()]

    def estimated_bytes(self, *, labels, dimension):
        return 7 if self.fault == "one size" else labels * dimension * 4


@dataclass
class OfferingIndex:
    inner: object
    options: Offering

    @property
    def report(self):
        return replace(self.inner.report, options={} if self.options.fault == "silent step" else vars(self.options))

    def save(self, folder):
        self.inner.save(folder)

    def search(self, queries_QD, k):
        if self.options.fault == "worse steps" and self.options.depth == 2:
            return Hits(*vars(self.inner.search(-queries_QD, k)).values())
        return self.inner.search(queries_QD, k)

    def search_among(self, queries_QD, k, label_rows):
        fault, rows = self.options.fault, label_rows
        if fault == "leaks" and len(rows) > 1:
            rows = np.union1d(rows, [0])
        if fault == "any order":
            rows = np.unique(rows.clip(0, 299))
        if fault == "loses":
            hits = self.inner.search(queries_QD, 100)
            kept = np.isin(hits.label_rows, rows)
            counts = np.add.reduceat(kept, hits.offsets[:-1]) if len(hits) else np.zeros(0, int)
            return Hits(np.concatenate(([0], np.cumsum(counts))), hits.label_rows[kept], hits.scores[kept])
        if fault == "worst":
            hits = self.inner.search_among(-queries_QD, k, rows)
            return replace(hits, scores=-hits.scores[::-1], label_rows=hits.label_rows[::-1])
        hits = self.inner.search_among(queries_QD, k, rows)
        return replace(hits, scores=hits.scores * 2) if fault == "other scores" else hits

    def search_certified(self, queries_QD, k):
        fault, proven = self.options.fault, np.ones(len(queries_QD), dtype=bool)
        if fault == "false proofs":
            hits = self.inner.search(queries_QD, k)
            return replace(hits, label_rows=np.roll(hits.label_rows, 1)), proven
        if fault == "other hits":
            return self.inner.search(queries_QD.flip(0), k), ~proven
        if fault == "one proof":
            return self.search(queries_QD, k), proven[:1]
        return self.search(queries_QD, k), proven.astype(int) if fault == "numbers" else proven

    def search_ladder(self):
        return [] if self.options.fault == "no steps" else [{"depth": 1}, {"depth": 2}]

    def with_search_options(self, options):
        if set(options) - {"depth"} and self.options.fault != "takes any":
            raise ConfigError("no such option")
        if self.options.fault == "writes itself":
            self.options = replace(self.options, fault="worse steps", depth=2)
        depth = options.get("depth", 1)
        return OfferingIndex(self.inner, replace(self.options, depth=depth))


FAULTS = {
    "leaks": "allowed",
    "any order": "refused",
    "loses": "min\\(k, allowed\\)",
    "worst": "filtered",
    "other scores": "filtered",
    "false proofs": "certified hits|proven answer",
    "other hits": "certified hits",
    "one proof": "one certificate",
    "numbers": "array of bool",
    "no steps": "has a step",
    "worse steps": "last step",
    "silent step": "report names",
    "takes any": "unknown search option",
    "writes itself": "as it was|last step",
    "one size": "more memory",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_kit_catches(fault):
    *_, offers = CHECKS  # the others take their time, and pass
    with pytest.raises(ConformanceError, match=FAULTS[fault]):
        offers(_Case(Offering(fault), exact=True, least_recall=0.9))


def test_the_kit_catches_a_proof_of_a_wrong_answer():
    """Search itself is at fault, and the certificate says that it is not."""

    @dataclass(frozen=True)
    class Sloppy(Offering):
        def build(self, embeddings, *, similarity, device):
            return SloppyIndex(Exact().build(embeddings, similarity=similarity, device=device), self)

    class SloppyIndex(OfferingIndex):
        def search(self, queries_QD, k):
            hits = self.inner.search(queries_QD, k + 1)
            if k != 1:
                return self.inner.search(queries_QD, k)
            return Hits(np.arange(len(hits) + 1), hits.label_rows[1::2], hits.scores[1::2])  # the second best

    with pytest.raises(ConformanceError, match="a proven answer is the true top k"):
        check_index(Sloppy(), least_recall=0.5)


def test_the_kit_passes_all_offers_without_a_fault():
    check_index(Offering(), exact=True)
