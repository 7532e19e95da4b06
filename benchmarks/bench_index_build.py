"""What does building an index cost? Seconds and bytes on disk a label, of everything the backends propose.

Run: python benchmarks/bench_index_build.py [--labels 200000] [--dimension 256] [--threads 2]
Clustered unit vectors. Processor seconds are those of the process, all threads together: on a busy machine they are
steadier than wall seconds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import faiss
import torch
from bench_exact_search import clustered
from record import record

from xmc.plugin_manager import load_plugins
from xmc.tune.candidates import Candidate, find_candidates

RESULTS = Path(__file__).parent / "results" / "index_build.csv"


def rows_of(candidate: Candidate, chunks: list[torch.Tensor], labels: int) -> list[dict[str, object]]:
    """Wall and processor seconds of a build, bytes that the saved index takes."""
    wall, processor = time.perf_counter(), time.process_time()
    index = candidate.backend.build(chunks, similarity="cosine", device="cpu")
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    with tempfile.TemporaryDirectory() as folder:
        index.save(Path(folder))
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    print(f"{candidate}: {wall:.1f} s, {processor:.1f} processor s, {size / labels:.1f} bytes a label", flush=True)
    shared = {"question": "index build", "subject": str(candidate), "x": labels}
    return [
        {**shared, "median": f"{wall:.2f}", "unit": "s"},
        {**shared, "median": f"{processor:.2f}", "unit": "processor s"},
        {**shared, "median": f"{size / labels:.1f}", "unit": "bytes a label on disk"},
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=200_000)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    labels_LE, _ = clustered(options.labels, 1, options.dimension)
    offers = load_plugins().offers["index"]
    candidates, _ = find_candidates(offers, labels=options.labels, dimension=options.dimension)
    shared = {"threads": options.threads, "config": f"labels={options.labels} dimension={options.dimension}"}
    rows = []
    for candidate in candidates:
        rows += [{**row, **shared} for row in rows_of(candidate, list(labels_LE.split(8192)), options.labels)]
        record(RESULTS, rows)


if __name__ == "__main__":
    main()
