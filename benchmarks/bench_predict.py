"""What does `xmc predict` cost beside a bare loop, does its memory grow with the shards, what do Ray and Dask add?

Run: python benchmarks/bench_predict.py --run runs/quickstart [--rows 8192] [--k 10] [--repeats 5] [--parts engines]

The queries are those of the shipped test split of icd10cm, repeated. `loop`: one process, the shard function against
encode + search of the same texts in the same batches, in turn. `memory`: the command with two workers over 1, 4, 16 and
64 shards of the same number of rows each; the largest sum of the resident sizes of its processes (pages that they share
count more than once). `engines`: the command with two workers on the native engine, Ray and Dask, in turn, their start
included, over a short job and a long one.
Rows of parts that are not measured again are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from record import alternate, beside_earlier, record, spread

from xmc import Retriever
from xmc.data.dataset import load_dataset
from xmc.data.shard_list import list_shards
from xmc.predict.job import make_job
from xmc.predict.shard import ShardPredictor

RESULTS = Path(__file__).parent / "results" / "predict.csv"
XMC = (sys.executable, "-c", "from xmc.cli.main import main; main()")
BATCH_ROWS = 1024
SHARDS = (1, 4, 16, 64)  # of one shard only one process has work
POLL_S = 0.05
Row = dict[str, object]


def write_shards(folder: Path, *, shards: int, rows: int) -> Path:
    """Shards of `rows` queries each."""
    texts = load_dataset("icd10cm").test.texts
    folder.mkdir(parents=True)
    for number in range(shards):
        part = [texts[(number * rows + row) % len(texts)] for row in range(rows)]
        table = pa.table({"query_id": [f"{number}-{row}" for row in range(rows)], "text": part})
        pq.write_table(table, folder / f"part-{number}.parquet")
    return folder


def bare_loop(retriever: Retriever, texts: Sequence[str], k: int) -> None:
    """What cannot be saved: encode and search, batch by batch, hits thrown away."""
    for start in range(0, len(texts), BATCH_ROWS):
        retriever.search_embeddings(retriever.encode(texts[start : start + BATCH_ROWS]), k=k)


def loop_rows(options: argparse.Namespace, folder: Path) -> list[Row]:
    """The shard function against the bare loop, in one process."""
    torch.set_num_threads(options.threads)
    (shard,) = list_shards(str(write_shards(folder / "in", shards=1, rows=options.rows))).shards
    job = make_job(options.run, str(folder / "out"), k=options.k, batch_rows=BATCH_ROWS)
    predictor = ShardPredictor.open(job)
    texts = pq.read_table(shard.location.path)["text"].to_pylist()
    subjects: dict[str, Callable[[], object]] = {
        "bare loop": partial(bare_loop, predictor.retriever, texts, options.k),
        "xmc predict, a shard": partial(predictor.predict, shard, lambda rows, size: None),
    }
    seconds = alternate(subjects, repeats=options.repeats, warmups=1)
    rows, question = [], "predict vs bare loop" + (f", {options.threads} threads" if options.threads > 1 else "")
    baseline = spread(seconds["bare loop"])[0]
    for subject, values in seconds.items():
        median, p20, p80 = (options.rows / value for value in spread(values))
        ratio = baseline / spread(values)[0]
        print(f"{subject:24s} {median:10.1f} rows/s  {ratio:5.3f} of the bare loop", flush=True)
        figures = {"median": f"{median:.1f}", "p20": f"{p80:.1f}", "p80": f"{p20:.1f}", "ratio": f"{ratio:.3f}"}
        names = {"question": question, "subject": subject, "baseline": "bare loop", "x": options.rows}
        rows.append({**names, **figures, "unit": "rows/s"})
    return rows


def predict_command(options: argparse.Namespace, shards: Path, out: Path, engine: str) -> tuple[float, float]:
    """Wall seconds of the command, and the largest memory of its processes in MB."""
    shutil.rmtree(out, ignore_errors=True)
    arguments = ["--run", str(options.run), "--shards", str(shards), "--out", str(out), "-k", str(options.k)]
    command = [*XMC, "predict", *arguments, "--workers", "2", "--engine", engine, "--json"]
    started = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    peak = 0
    while process.poll() is None:
        peak = max(peak, tree_bytes(process.pid))
        time.sleep(POLL_S)
    seconds = time.perf_counter() - started
    assert process.stdout is not None and process.returncode == 0
    assert json.load(process.stdout)["skipped"] == 0
    return seconds, peak / 2**20


def tree_bytes(pid: int) -> int:
    """Resident bytes of a process and all that it started."""
    total = 0
    try:
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            total += process.memory_info().rss
    except psutil.Error:
        return 0
    return total


def memory_rows(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Peak memory over the number of shards."""
    rows = []
    per_shard = max(1, options.rows // 16)
    for shards in SHARDS:
        inputs = write_shards(folder / f"in-{shards}", shards=shards, rows=per_shard)
        _, peak = predict_command(options, inputs, folder / "out", "native")
        print(f"{shards:3d} shards  peak {peak:8.1f} MB", flush=True)
        names = {"question": "predict memory vs shards", "subject": "xmc predict, 2 workers", "x": shards}
        rows.append({**names, "median": f"{peak:.1f}", "unit": f"MB, {per_shard} rows a shard"})
    return rows


def engine_rows(options: argparse.Namespace, folder: Path) -> list[Row]:
    """The three engines, two workers each, the whole command: a short job, and one beside which a start is little."""
    return [row for total in options.job_rows for row in job_rows(options, folder / str(total), total)]


def job_rows(options: argparse.Namespace, folder: Path, total: int) -> list[Row]:
    """Rows per second and memory of each engine over eight shards with so many rows together."""
    inputs = write_shards(folder / "in", shards=8, rows=total // 8)
    measured: dict[str, list[tuple[float, float]]] = {engine: [] for engine in ("native", "ray", "dask")}
    for _ in range(max(1, options.repeats // 2)):
        for engine, values in measured.items():
            values.append(predict_command(options, inputs, folder / f"out-{engine}", engine))
    rows = []
    native = min(seconds for seconds, _ in measured["native"])
    for engine, values in measured.items():
        best, peak = min(seconds for seconds, _ in values), max(peak for _, peak in values)
        print(
            f"{engine:8s} {total / best:9.1f} rows/s  {native / best:5.3f} of native  peak {peak:8.1f} MB", flush=True
        )
        names = {"question": "predict by engine", "subject": f"--engine {engine}", "baseline": "native", "x": total}
        rows.append({**names, "median": f"{total / best:.1f}", "unit": "rows/s, best", "ratio": f"{native / best:.3f}"})
        rows.append({**names, "median": f"{peak:.1f}", "unit": "MB"})
    return rows


PARTS: dict[str, Callable[[argparse.Namespace, Path], list[Row]]] = {
    "loop": loop_rows,
    "memory": memory_rows,
    "engines": engine_rows,
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a run on icd10cm, such as that of `make quickstart`")
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--job-rows", type=int, nargs="+", default=[16_384, 131_072], help="of the part engines")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    config = f"icd10cm, k={options.k} batch_rows={BATCH_ROWS} repeats={options.repeats}"
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for part in options.parts:
            rows += PARTS[part](options, Path(folder) / part)
    measured = [{**row, "threads": options.threads, "config": config} for row in rows]
    record(options.results, beside_earlier(options.results, measured))


if __name__ == "__main__":
    main()
