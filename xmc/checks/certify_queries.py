"""The query side of `xmc check certify`: lists that no rewriting of the query changes, and attacks on the others."""

from __future__ import annotations

from typing import Any

import numpy as np

from xmc.checks.certify_bench import Bench, Side, radius_name
from xmc.checks.query_certificate import QueryCertificate, QueryCertifier
from xmc.checks.substitution_attacks import QueryAttacker


def measure_queries(bench: Bench) -> Side:
    """Certify every query, then attack it: at random, greedily, and with the witness of each uncertified list."""
    texts = bench.queries.texts
    leading = bench.rank(texts, max(bench.ks) + 1)
    shape = (len(texts), len(bench.radii), len(bench.ks))
    side = Side(np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool))
    kept_QTN = np.zeros(shape)
    certifier = QueryCertifier(
        bench.additive("query"),
        bench.substitutions,
        bench.labels,
        bench.embed,
        bench.ks,
        bench.radii,
        listed=bench.listed,
    )
    attacker = QueryAttacker(bench.substitutions, bench.rank, bench.score, bench.ks, bench.radii)
    positives = bench.positives()
    counts = {"unknown": 0, "witnesses": 0, "working": 0}
    for row, text in enumerate(texts):
        certificate = certifier.certify(text, leading[row][: max(bench.ks)])
        if certificate is None:
            counts["unknown"] += 1
        else:
            side.certified_QTN[row] = certificate.lists_TN
            kept_QTN[row] = _kept(certificate, leading[row], positives[row], bench)
            _try_witnesses(bench, side, row, certificate, leading[row], counts)
        generator = np.random.default_rng([bench.seed, row])
        attacks = attacker.random(text, bench.attacks, generator)
        if bench.greedy:
            attacks += attacker.greedy(text, leading[row].tolist(), bench.greedy, generator)
        answers = attacker.answers(attacks)
        side.attacks += len(answers)
        side.broken_QTN[row] |= attacker.broken(answers, leading[row].tolist())
        if certificate is not None:
            rivals_TK = certificate.rivals_TK
            lowest_TK = attacker.lowest_ranks(answers, leading[row][: rivals_TK.shape[1]].tolist())
            side.fallen += int((lowest_TK > rivals_TK).sum())  # with so many rivals a label cannot come lower
        bench.progress(row + 1, len(texts))
    for place, radius in enumerate(bench.radii):
        for column, k in enumerate(bench.ks):
            side.extra[f"query_kept_precision_at_{k}_radius_{radius_name(radius)}"] = kept_QTN[:, place, column]
    if counts["witnesses"]:
        side.working = counts["working"] / counts["witnesses"]
    side.notes = _notes(bench, counts, len(texts))
    return side


def _kept(certificate: QueryCertificate, leading: Any, positives: Any, bench: Bench) -> np.ndarray[Any, Any]:
    """Share of the first k that is relevant and cannot leave the first k, (T, N)."""
    right_K = np.isin(leading[: certificate.rivals_TK.shape[1]], positives)
    return np.stack([((certificate.rivals_TK[:, :k] < k) & right_K[:k]).sum(axis=1) / k for k in bench.ks], axis=1)


def _try_witnesses(
    bench: Bench,
    side: Side,
    row: int,
    certificate: QueryCertificate,
    leading: Any,
    counts: dict[str, int],
) -> None:
    keys = sorted(certificate.witnesses)
    answers = bench.rank([certificate.witnesses[key].text for key in keys], max(bench.ks)) if keys else []
    for key, answer in zip(keys, answers, strict=True):
        place, column = key
        witness, k = certificate.witnesses[key], bench.ks[column]
        works = set(answer[:k].tolist()) != set(leading[:k].tolist())
        side.broken_QTN[row, place:, column] |= works
        if witness.exact:
            counts["witnesses"] += 1
            counts["working"] += works
        side.witnesses.append(
            {
                "side": "query",
                "query_id": bench.queries.ids[row],
                "k": k,
                "radius": bench.radii[place],
                "falls": bench.retriever.labels.ids[witness.falls],
                "rises": bench.retriever.labels.ids[witness.rises],
                "works": works,
                "text": witness.text,
            }
        )


def _notes(bench: Bench, counts: dict[str, int], queries: int) -> list[str]:
    texts = bench.additive("query")
    if texts is None:
        how = f"by listing, where a query has at most {bench.listed:,} rewritings"
    elif texts.exact:
        how = "exactly, by the sum over words"
    else:
        how = f"exactly up to {bench.listed} rewritings, beyond by a bound that is sound and not complete"
    notes = [f"Query side: lists are certified {how}."]
    if counts["unknown"]:
        notes.append(f"Nothing can be proved of {counts['unknown']} of {queries} queries; they count as not certified.")
    if counts["witnesses"]:
        ties = (
            "" if counts["working"] == counts["witnesses"] else "; the others come so near that rounding could decide"
        )
        notes.append(
            f"{counts['working']} of {counts['witnesses']} exact witnesses of uncertified lists change the list{ties}."
        )
    return notes
