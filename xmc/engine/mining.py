"""Mine hard negatives through the run's own index backend: what the current model ranks best and should not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xmc.api import Head, IndexBackend, Positives
from xmc.engine.run_config import RunConfig
from xmc.index_building import build_index
from xmc.train.distributed import ALONE, Ranks
from xmc.train.hard_negatives import HardNegatives, IntArray, open_negatives, without_relevant


def hard_negatives(
    config: RunConfig,
    run: Path,
    *,
    positives: Positives,
    label_texts: Sequence[str],
    similarity: str,
    device: str,
    ranks: Ranks = ALONE,
) -> HardNegatives | None:
    """The negatives of a run whose `[train] label_scope` is `mined`, else None; each rank mines for its queries."""
    options = config.train
    if options.label_scope != "mined":
        return None
    groups_L = same_text_groups(label_texts)
    backend: IndexBackend = config.index.options

    def mine(head: Head, queries: Iterator[Tensor]) -> IntArray:
        all_rows = np.arange(len(groups_L))
        vectors = head.label_vectors(all_rows)
        index = build_index(backend, vectors, labels=len(all_rows), similarity=similarity, device=device)
        query_map = head.query_map()
        depth = min(options.mining_depth, len(groups_L))  # more there are not
        wanted = options.mining_skip + depth
        shares = [np.arange(len(positives))[share] for share in ranks.shares(len(positives))]
        own, done = shares[ranks.rank], 0
        own_NM = np.empty((len(own), depth), dtype=np.int32)
        for queries_QD in queries:
            rows = own[done : done + len(queries_QD)]
            part = positives.take(rows)
            k = min(len(groups_L), wanted + int(part.counts().max(initial=0)))
            hits = index.search(query_map.queries(queries_QD) if query_map else queries_QD, k)
            for (label_rows, _), start, stop in zip(hits, part.offsets[:-1], part.offsets[1:], strict=True):
                relevant = np.isin(groups_L[label_rows], groups_L[part.label_rows[start:stop]])
                own_NM[done] = without_relevant(label_rows, label_rows[relevant], depth=depth, skip=options.mining_skip)
                done += 1
        return ranks.gather_places(torch.from_numpy(own_NM), shares).numpy()

    return HardNegatives(mine, options, open_negatives(run), writes=ranks.writes)


def same_text_groups(texts: Sequence[str]) -> IntArray:
    """A number for each text, equal for texts that differ in case and outer blanks only.

    >>> same_text_groups(["Sea fog", "rain", "sea fog "]).tolist()
    [0, 1, 0]
    """
    number: dict[str, int] = {}
    return np.array([number.setdefault(text.strip().casefold(), len(number)) for text in texts], dtype=np.int64)
