"""Which index, at which recall, answers how many queries a second; and what does xmc add to the raw library?

Run: python benchmarks/bench_index_curve.py [--labels 1000000] [--graph-labels 200000] [--threads 2] [--texts FILE]
Clustered vectors of 384 numbers, or embeddings of the lines of a text file (make_sentences.py makes one of a million
sentences): wordllama's static token vectors, 256 numbers (rows go to index_curve_texts.csv), or those that a
sentence-transformers folder makes of them, such as the encoder of a run (--encoder; index_curve_encoder.csv). HNSW and
its peers are built over the first --graph-labels. Peers that are not installed are skipped.
The same on a GPU: bench_index_curve_gpu.py. With --indexes only these are measured, and rows of others are kept. Rows
are recorded as they come: a run that is stopped leaves those it has measured beside the earlier ones of the others.
About an hour with the defaults on two cores; --labels 50000 --graph-labels 20000 is a look of a few minutes.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from bench_exact_search import clustered
from raw_faiss import raw, refined
from record import PAUSE_S, alternate, beside_earlier, record, spread

from xmc.encode.encoder import embed_chunks
from xmc.encode.sentence_transformer import SentenceTransformerOptions
from xmc.values import Hits
from xmc_index_exact.exact import Exact
from xmc_index_faiss.hnsw import Hnsw
from xmc_index_faiss.ivf import Ivf

RESULTS = Path(__file__).parent / "results" / "index_curve.csv"
K = 10
BATCHES = (1, 64, 1024)
INDEXES = ("exact", "ivf", "hnsw")
NPROBES, EFS = (8, 32, 128), (16, 64, 256)

Subject = tuple[str, str, Callable[[torch.Tensor], Any]]  # what, the setting, its search


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    labels_LD, queries_QD = vectors(options)
    source = Path(options.texts).name if options.texts else "clustered"
    config = f"vectors={source} dimension={labels_LD.shape[1]} k={K} repeats={options.repeats}"
    stem = "index_curve_encoder" if options.encoder else "index_curve_texts" if options.texts else "index_curve"
    results, rows = RESULTS.with_name(f"{stem}.csv"), []
    for measured_rows in groups(labels_LD, queries_QD, options):
        rows += [{**row, "threads": options.threads, "config": config} for row in measured_rows]
        record(results, beside_earlier(results, rows, keys=("question", "subject")))
    if set(options.indexes) == set(INDEXES):
        record(results, rows)


def groups(
    labels_LD: torch.Tensor, queries_QD: torch.Tensor, options: argparse.Namespace
) -> Iterator[list[dict[str, object]]]:
    """The rows of each group of subjects, as soon as it is measured."""
    graph_LD = labels_LD[: options.graph_labels]
    for name, where_LD, subjects in zip(
        INDEXES, (labels_LD, labels_LD, graph_LD), (exact_subjects, cell_subjects, graph_subjects), strict=True
    ):
        if name not in options.indexes:
            continue
        exact = Exact().build([where_LD], similarity="dot", device="cpu")
        true_QK = exact.search(queries_QD, K).label_rows.reshape(-1, K)
        for group in subjects(where_LD, exact, options):
            yield measured(group, queries_QD, true_QK, len(where_LD), repeats=options.repeats)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=1_000_000)
    parser.add_argument("--graph-labels", type=int, default=200_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--indexes", nargs="+", default=INDEXES, choices=INDEXES)
    parser.add_argument("--texts", default="")
    parser.add_argument("--encoder", default="", help="sentence-transformers folder for --texts")
    return parser.parse_args()


def vectors(options: argparse.Namespace) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels and 1,024 queries; of texts, every so-manyth line is a query and not a label."""
    queries = max(BATCHES)
    if not options.texts:
        return clustered(options.labels, queries, options.dimension)
    lines = Path(options.texts).read_text(encoding="utf-8").splitlines()[: options.labels + queries]
    vectors_ND = encoded(lines, options.encoder) if options.encoder else embed(lines)
    is_query = torch.zeros(len(lines), dtype=torch.bool)
    is_query[torch.linspace(0, len(lines) - 1, queries).long()] = True
    return vectors_ND[~is_query], vectors_ND[is_query]


def encoded(lines: list[str], folder: str) -> torch.Tensor:
    """The embeddings of a sentence-transformers model, unit length."""
    encoder = SentenceTransformerOptions(model=folder, similarity="cosine").build([], [], seed=0)
    started = time.perf_counter()
    vectors_ND = torch.cat([part.cpu() for part in embed_chunks(encoder, encoder.prepare(lines, "label"), "label")])
    seconds = time.perf_counter() - started
    print(f"{len(lines):,} texts embedded in {seconds:.0f} s, {len(lines) / seconds:,.0f} a second", flush=True)
    return vectors_ND


def embed(lines: list[str]) -> torch.Tensor:
    """The mean of wordllama's token vectors, unit length."""
    from safetensors.torch import load_file
    from tokenizers import Tokenizer

    package = Path(str(importlib.import_module("wordllama").__file__)).parent
    table = next(iter(load_file(next(package.rglob("*256*.safetensors"))).values())).float()
    tokenizer = Tokenizer.from_file(str(next(package.rglob("*tokenizer*.json"))))
    ids = [encoding.ids for encoding in tokenizer.encode_batch(lines, add_special_tokens=False)]
    offsets = torch.tensor([0, *np.cumsum([len(one) for one in ids])[:-1].tolist()])
    flat = torch.tensor([token for one in ids for token in one])
    return torch.nn.functional.normalize(torch.nn.functional.embedding_bag(flat, table, offsets, mode="mean"), dim=1)


def exact_subjects(labels_LD: torch.Tensor, exact: Any, options: argparse.Namespace) -> Iterator[list[Subject]]:
    """Exact search beside faiss's."""
    del options
    flat = faiss.IndexFlatIP(labels_LD.shape[1])
    flat.add(labels_LD.numpy())
    yield [("exact", "", partial(exact.search, k=K)), ("raw faiss Flat", "", partial(raw, flat, None, K))]


def cell_subjects(labels_LD: torch.Tensor, exact: Any, options: argparse.Namespace) -> Iterator[list[Subject]]:
    """Each storage of faiss.ivf with the same faiss index searched raw."""
    del exact, options
    for backend in (Ivf(training_per_cell=40), Ivf(storage="sq8", training_per_cell=40), Ivf(storage="pq", rerank=8)):
        index = built(backend, labels_LD)
        for nprobe in NPROBES:
            own, setting = index.with_search_options({"nprobe": nprobe}), f"nprobe {nprobe}"
            told = faiss.SearchParametersIVF(nprobe=nprobe)
            subjects: list[Subject] = [
                (f"faiss.ivf {backend.storage}", setting, partial(own.search, k=K)),
                (f"raw faiss IVF {backend.storage}", setting, partial(raw, index.faiss_index, told, K)),
            ]
            if backend.storage != "flat":
                whole = refined(index.faiss_index, labels_LD.numpy(), backend.rerank, told)
                subjects.append((f"raw faiss IVF {backend.storage}, refined", setting, partial(raw, *whole, K)))
            yield subjects


def graph_subjects(labels_LD: torch.Tensor, exact: Any, options: argparse.Namespace) -> Iterator[list[Subject]]:
    """faiss.hnsw beside the same index raw, hnswlib and usearch."""
    del exact
    index = built(Hnsw(M=32, ef_construction=100), labels_LD)
    peers = {name: peer for name in ("hnswlib", "usearch") if (peer := peer_index(name, labels_LD, options.threads))}
    for ef in EFS:
        own, setting = index.with_search_options({"ef": ef}), f"ef {ef}"
        told = faiss.SearchParametersHNSW(efSearch=ef)
        subjects: list[Subject] = [
            ("faiss.hnsw", setting, partial(own.search, k=K)),
            ("raw faiss HNSW", setting, partial(raw, index.faiss_index, told, K)),
        ]
        subjects += [(name, setting, partial(peer, ef)) for name, peer in peers.items()]
        yield subjects


def built(backend: Any, labels_LD: torch.Tensor, device: str = "cpu") -> Any:
    started = time.perf_counter()
    index = backend.build(labels_LD.split(16_384), similarity="dot", device=device)
    print(f"{backend} built in {time.perf_counter() - started:.0f} s, {index.report.memory_bytes >> 20} MB", flush=True)
    return index


def peer_index(name: str, labels_LD: torch.Tensor, threads: int) -> Callable[[int, torch.Tensor], np.ndarray] | None:
    """A search of the peer by (ef, queries), None when it is not installed."""
    try:
        module = importlib.import_module(f"{name}.index" if name == "usearch" else name)
    except ImportError:
        print(f"{name} is not installed: skipped", flush=True)
        return None
    if name == "hnswlib":
        index = module.Index(space="ip", dim=labels_LD.shape[1])
        index.init_index(max_elements=len(labels_LD), M=32, ef_construction=100, random_seed=1)
        index.add_items(labels_LD.numpy(), num_threads=threads)

        def search(ef: int, queries_QD: torch.Tensor) -> np.ndarray:
            index.set_ef(ef)
            return index.knn_query(queries_QD.numpy(), k=K, num_threads=threads)[0]

        return search
    other = module.Index(ndim=labels_LD.shape[1], metric="ip", dtype="f32", connectivity=32, expansion_add=100)
    other.add(np.arange(len(labels_LD)), labels_LD.numpy(), threads=threads)

    def search_other(ef: int, queries_QD: torch.Tensor) -> np.ndarray:
        other.expansion_search = ef
        return other.search(queries_QD.numpy(), K, threads=threads).keys.reshape(len(queries_QD), -1)

    return search_other


def measured(
    group: list[Subject],
    queries_QD: torch.Tensor,
    true_QK: np.ndarray,
    labels: int,
    *,
    repeats: int,
    pause_s: float = PAUSE_S,
) -> list[dict[str, object]]:
    """Rows of one group, timed in turn; the first of the group is the subject, the second its baseline."""
    rows: list[dict[str, object]] = []
    recalls = {}
    for what, _, search in group:
        found = search(queries_QD)
        found_QK = found.label_rows.reshape(-1, K) if isinstance(found, Hits) else found
        pairs = zip(found_QK.tolist(), true_QK.tolist(), strict=True)
        recalls[what] = np.mean([len(set(one) & set(other)) / K for one, other in pairs])
    for batch in BATCHES:
        part_QD = queries_QD[:batch].clone()
        times = repeats * (20 if batch == 1 else 1)
        seconds = alternate(
            {what: partial(search, part_QD) for what, _, search in group}, repeats=times, pause_s=pause_s
        )
        spreads = {what: spread(times) for what, times in seconds.items()}
        baseline = group[1][0]
        for what, setting, _ in group:
            median, p20, p80 = (batch / value for value in spreads[what])
            ratio = spreads[baseline][0] / spreads[what][0]
            added = (spreads[what][0] - spreads[baseline][0]) * 1e6
            print(
                f"{labels:,} {what} {setting} batch {batch}: {median:.0f} q/s, recall {recalls[what]:.4f}, "
                f"{ratio:.2f}x, {added:+.0f} us",
                flush=True,
            )
            names = {
                "question": f"queries a second at batch {batch}, {labels:,} labels",
                "x": f"{recalls[what]:.4f}",
            }
            shared = {**names, "subject": f"{what} {setting}".strip(), "baseline": baseline, "unit": "queries/s"}
            figures = {"median": f"{median:.1f}", "p20": f"{p80:.1f}", "p80": f"{p20:.1f}", "ratio": f"{ratio:.3f}"}
            rows.append({**shared, **figures})
    return rows


if __name__ == "__main__":
    main()
