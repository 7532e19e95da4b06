"""Label sets that change: random edits, and the fresh index that base and delta must answer as."""

import numpy as np
import torch

from xmc.data.tables import LabelTable
from xmc.plugin_manager import load_plugins
from xmc.retrieve.label_edits import Edit, LabelEdits
from xmc.retrieve.living_index import LivingIndex
from xmc.retrieve.living_labels import live_labels
from xmc.retrieve.opening import index_beside

GPU_ONLY = {"faiss.cagra"}
INDEXES = {offer.full_name: offer.spec for offer in load_plugins().offers["index"] if offer.full_name not in GPU_ONLY}
EXACT = sorted(name for name, spec in INDEXES.items() if spec.exact)
APPROXIMATE = sorted(name for name, spec in INDEXES.items() if not spec.exact)


def backend_of(name):
    return INDEXES[name].load()()


def build(name, vectors_LD, similarity="dot"):
    return built_by(backend_of(name), vectors_LD, similarity)


def built_by(backend, vectors_LD, similarity="dot"):
    return backend.build([vectors_LD], similarity=similarity, device="cpu")


class Labels:
    """A label set as a dictionary of id to vector, and the base and edits that stand for it."""

    def __init__(self, vectors):
        self.now = dict(vectors)
        self.base = dict(vectors)
        self.edits = {}

    def put(self, label_id, vector):
        self.now[label_id] = vector
        self.edits[label_id] = Edit(text_of(vector))

    def remove(self, label_id):
        del self.now[label_id]
        self.edits[label_id] = Edit(None)

    def compact(self):
        """A new base; the edits stay, as they do in a run."""
        self.base = dict(self.now)

    def living_index(self, name, similarity="dot", *, backend=None):
        """The base index with the edits, and its label ids; by this backend, else that of this name as it is."""
        table, backend = table_of(self.base), backend or backend_of(name)
        index = built_by(backend, stacked(self.base, table.ids), similarity)
        living = live_labels(table, {}, LabelEdits(self.edits))
        if living is None:
            return index, table.ids
        delta = None
        if len(living.added):
            delta = index_beside(index.report, backend, stacked(self.now, living.added.ids), device="cpu")
        return LivingIndex.of(index, delta, living), living.labels.ids

    def fresh_index(self, name, similarity="dot"):
        ids = sorted(self.now)
        return build(name, stacked(self.now, ids), similarity), ids


def text_of(vector):
    return " ".join(map(str, vector))


def table_of(vectors):
    ids = sorted(vectors)
    return LabelTable(ids, [text_of(vectors[label_id]) for label_id in ids])


def stacked(vectors, ids):
    return torch.tensor([vectors[label_id] for label_id in ids], dtype=torch.float32)


def random_labels(generator, *, labels, width=3, edits=12):
    """A label set after a random sequence of edits and compactions; few small whole numbers, so that there are ties."""

    def vector():
        return tuple(generator.integers(-1, 2, width).tolist())

    some = Labels({f"L{number:03d}": vector() for number in generator.permutation(labels)})
    for _ in range(edits):
        what = generator.choice(["add", "remove", "replace", "compact"], p=[0.4, 0.3, 0.2, 0.1])
        there = sorted(some.now)
        chosen = there[generator.integers(len(there))]
        if what == "add":
            some.put(f"L{generator.integers(999):03d}x"[: generator.integers(4, 6)], vector())
        elif what == "replace":
            some.put(chosen, vector())
        elif what == "remove" and len(there) > 1:
            some.remove(chosen)
        elif what == "compact":
            some.compact()
    return some


def named(hits, ids):
    """(label id, score) lists."""
    return [
        [(ids[row], score) for row, score in zip(rows.tolist(), scores.tolist(), strict=True)] for rows, scores in hits
    ]


def queries_of(generator, width=3, count=4):
    queries = generator.integers(-1, 2, (count, width))
    queries[0] = 0  # ties with everything
    return torch.tensor(queries, dtype=torch.float32)


def rows_of(ids, allowed):
    return np.array([row for row, label_id in enumerate(ids) if label_id in allowed], dtype=np.int64)
