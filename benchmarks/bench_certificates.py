"""How many answers of faiss.ivf are proven exact, by cells visited; what does `exact` cost beside scoring all labels?

Run: python benchmarks/bench_certificates.py [--labels 100000] [--threads 2]; about five minutes with the defaults.
Vectors: clusters of three widths, and random ones, where no certificate is to be expected. k = 10.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import faiss
import numpy as np
import torch
from record import alternate, record, spread

from xmc_index_exact.exact import Exact
from xmc_index_faiss.ivf import Ivf

RESULTS = Path(__file__).parent / "results" / "certificates.csv"
K = 10
KINDS = {"clusters of width 0.1": 0.1, "clusters of width 0.25": 0.25, "clusters of width 0.5": 0.5, "random": None}


def vectors_of(width: float | None, labels: int, queries: int, dimension: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors; `width` is the length of the noise beside a centre of length 1."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(labels + queries, dimension, generator=generator)
    if width is not None:
        centres = torch.nn.functional.normalize(torch.randn(labels // 100, dimension, generator=generator), dim=1)
        chosen = torch.randint(len(centres), (len(noise),), generator=generator)
        noise = centres[chosen] + width * noise / dimension**0.5
    unit = torch.nn.functional.normalize(noise, dim=1)
    return unit[:labels], unit[labels:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--queries", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    rows = []
    for kind, width in KINDS.items():
        labels_LD, queries_QD = vectors_of(width, options.labels, options.queries, options.dimension)
        exact = Exact().build([labels_LD], similarity="dot", device="cpu")
        true = exact.search(queries_QD, K).label_rows.reshape(-1, K)
        for storage in ("flat", "sq8"):
            ivf = Ivf(storage=storage, training_per_cell=40).build([labels_LD], similarity="dot", device="cpu")
            for step in ivf.search_ladder():
                hits, proven_Q = ivf.with_search_options(step).search_certified(queries_QD, K)
                right_Q = (hits.label_rows.reshape(-1, K) == true).all(1)
                wrong = int((proven_Q & ~right_Q).sum())
                print(f"{kind} {storage} {step} proven {proven_Q.mean():.3f} exact {right_Q.mean():.3f} wrong {wrong}")
                shared = {"question": f"answers proven exact, {kind}", "x": step["nprobe"], "unit": "share of queries"}
                for what, value in (("proven", proven_Q.mean()), ("exact", right_Q.mean()), ("wrong proofs", wrong)):
                    rows.append({**shared, "subject": f"faiss.ivf {storage}: {what}", "median": f"{float(value):.4f}"})
            proving = replace(ivf, options=replace(ivf.options, exact=True))
            assert np.array_equal(proving.search(queries_QD, K).label_rows.reshape(-1, K), true)
            part_QD = queries_QD[:64]
            subjects = {"exact": partial(exact.search, part_QD, K), "ivf exact": partial(proving.search, part_QD, K)}
            seconds = {name: spread(times) for name, times in alternate(subjects, repeats=options.repeats).items()}
            for name, (median, p20, p80) in seconds.items():
                ratio = seconds["exact"][0] / median
                print(f"{kind} {storage} batch 64 {name} {median * 1e3:.1f} ms {ratio:.2f}x")
                times = {"median": f"{median * 1e3:.3f}", "p20": f"{p20 * 1e3:.3f}", "p80": f"{p80 * 1e3:.3f}"}
                names = {"question": f"exact answers, batch of 64, {kind}", "subject": f"{name}, {storage}"}
                rows.append({**names, **times, "baseline": "exact", "unit": "ms per batch", "ratio": f"{ratio:.2f}"})
    config = f"labels={options.labels} dimension={options.dimension} queries={options.queries} k={K}"
    record(RESULTS, [{**row, "threads": options.threads, "config": config} for row in rows])


if __name__ == "__main__":
    main()
