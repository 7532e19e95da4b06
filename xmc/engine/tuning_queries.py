"""The queries by which an index is chosen: held-out ones of the run's data set, some to choose and others to judge."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from xmc.data.dataset import Dataset

MOST = 4500  # more would tell the recall to less than ± 0.005
FEWEST = 20  # held-out queries; with fewer, label texts are asked instead
CHOOSING_SHARE = 2 / 3


@dataclass(frozen=True)
class TuningTexts:
    """Texts that choose and texts that judge; `source` says where from, `notes` what to mind."""

    choosing: list[str]
    judging: list[str]
    source: str
    notes: tuple[str, ...] = ()


def tuning_texts(data: Dataset, *, seed: int = 0, most: int = MOST) -> TuningTexts:
    """Queries of dev, else of test, at most `most`; two thirds choose, the others judge; no positive is looked at.

    With fewer than 20 of them the labels' texts are asked in their place. The hash of seed and id says which are taken
    and which of them judge, so neither the others nor their order matter.
    """
    for split in ("dev", "test"):
        queries = data.splits.get(split)
        if queries is not None and len(queries) >= FEWEST:
            return _halved(queries.ids, queries.texts, f"{split} queries", (), seed=seed, most=most)
    note = f"fewer than {FEWEST} queries are held out, so the labels' own texts are asked: real queries may fare worse."
    labels = [(i, text) for i, text in zip(data.labels.ids, data.labels.texts, strict=True) if text.strip()]
    ids, texts = [i for i, _ in labels], [text for _, text in labels]
    return _halved(ids, texts, "label texts", (note,), seed=seed, most=most)


def _halved(
    ids: Sequence[str], texts: Sequence[str], what: str, notes: tuple[str, ...], *, seed: int, most: int
) -> TuningTexts:
    drawn = sorted(range(len(ids)), key=lambda row: hashlib.sha256(f"{seed}:{ids[row]}".encode()).digest())[:most]
    choosing = max(1, round(CHOOSING_SHARE * len(drawn)))
    chosen, judged = drawn[:choosing], drawn[choosing:]
    if not judged:
        judged = chosen
        notes = (*notes, "there is one query only, which chooses and judges.")
    source = f"{what}: {len(chosen):,} choose, {len(judged):,} others judge"
    return TuningTexts([texts[row] for row in chosen], [texts[row] for row in judged], source, notes)
