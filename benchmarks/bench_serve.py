"""The service beside a bare FastAPI and faiss one: answers a second and latency; and what a batching window gains.

    python benchmarks/bench_serve.py RUN [--labels 46881 1000000] [--seconds 8] [--rounds 3]

RUN is a run on icd10cm with an exact index, such as that of `make quickstart`; it is copied, never changed. 1, 8 and 64
clients ask both services in turn; more labels than the run has are made of pairs of its texts. The load runs on the
same cores and takes a part of what the service could have, of both services alike.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path

from record import beside_earlier, record, spread
from serve_services import K, Row, bare_service, bodies_file, load, with_labels, xmc_service

from xmc.machine import cores

RESULTS = Path(__file__).parent / "results" / "serve.csv"
CLIENTS = (1, 8, 64)
OURS, BARE = "xmc serve", "bare FastAPI + faiss"


def speed(run: Path, work: Path, options: argparse.Namespace) -> list[Row]:
    """Throughput and latency of both services."""
    rows: list[Row] = []
    bodies = bodies_file(work)
    for labels in options.labels:
        copy = with_labels(run, work, labels)
        for clients in CLIENTS:
            rows += speed_rows(in_turn(copy, bodies, clients, options), labels, clients, options)
        rows += window_rows(copy, bodies, labels, options)
    return rows


def in_turn(run: Path, bodies: Path, clients: int, options: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """What the load of each round found, of both services, which take turns."""
    found: dict[str, list[dict[str, float]]] = {OURS: [], BARE: []}
    with xmc_service(run) as (ours, _), bare_service(run) as (bare, _):
        asked = ((OURS, ours, "/v1/search"), (BARE, bare, "/search"))
        for _, (name, address, path) in itertools.product(range(options.rounds), asked):
            summary = load(address, path, bodies, clients=clients, seconds=options.seconds)
            found[name].append(summary)
            print(run.name, clients, name, summary, flush=True)
    return found


def speed_rows(
    found: dict[str, list[dict[str, float]]], labels: int, clients: int, options: argparse.Namespace
) -> list[Row]:
    baseline = BARE
    rows: list[Row] = []
    for figure, unit, better in (("per_s", "answers/s", 1), ("p50_ms", "ms", -1), ("p99_ms", "ms", -1)):
        reference = spread([summary[figure] for summary in found[baseline]])[0]
        for name, summaries in found.items():
            median, p20, p80 = spread([summary[figure] for summary in summaries])
            rows.append({
                "question": f"service, {labels} labels", "subject": name, "baseline": baseline,
                "x": f"{figure} at {clients} clients", "median": f"{median:.3f}", "p20": f"{p20:.3f}",
                "p80": f"{p80:.3f}", "unit": unit, "ratio": f"{(median / reference) ** better:.2f}",
                "threads": cores(),
                "config": f"k={K} one text a request rounds={options.rounds} x {options.seconds} s "
                f"failed={sum(summary['failed'] for summary in summaries):.0f}",
            })  # fmt: skip
    return rows


def window_rows(run: Path, bodies: Path, labels: int, options: argparse.Namespace) -> list[Row]:
    """What a window gains or costs at 1 and 64 clients."""
    rows: list[Row] = []
    for window in ("0", "2", "5"):
        with xmc_service(run, "--batch-window-ms", window) as (address, _):
            for clients in (1, 64):
                summary = load(address, "/v1/search", bodies, clients=clients, seconds=options.seconds)
                for figure, unit in (("per_s", "answers/s"), ("p50_ms", "ms")):
                    rows.append({
                        "question": f"batching window, {labels} labels", "subject": f"{window} ms", "baseline": "0 ms",
                        "x": f"{figure} at {clients} clients", "median": f"{summary[figure]:.3f}", "unit": unit,
                        "threads": cores(), "config": f"k={K} {options.seconds} s",
                    })  # fmt: skip
                print(labels, "window", window, clients, summary, flush=True)
    return rows


def main() -> None:
    """Measure and write the rows beside the earlier ones of what is not measured again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--labels", type=int, nargs="+", default=[46_881, 1_000_000])
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, help="folder for copies of the run, kept; a temporary one if left out")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        record(options.out, beside_earlier(options.out, speed(options.run, work, options)))


if __name__ == "__main__":
    main()
