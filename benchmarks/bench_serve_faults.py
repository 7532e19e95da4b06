"""The service where it hurts: reloads under load, fuzzed requests, a kill, a long soak.

    python benchmarks/bench_serve_faults.py RUN [reload fuzz restart soak]

RUN is a run on icd10cm with an exact index, such as that of `make quickstart`; it is copied, never changed.
- `reload`: labels are added and removed while 8 clients ask, 200 times and more; every answer is compared with the
  offline answer of the generation that it names.
- `fuzz`: 10,000 requests with up to three faults each, over 16 connections.
- `restart`: seconds from `kill -9` to the next answer.
- `soak`: --soak-s (600) seconds at half of the measured capacity; memory and latency by minute.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import socket
import tempfile
import threading
import time
from pathlib import Path

import httpx
import psutil
from record import beside_earlier, record, spread
from serve_load import requests_of
from serve_services import AS_ADMIN, K, Row, bodies_file, load, texts_of_test, xmc_service

import xmc
from xmc.machine import cores

RESULTS = Path(__file__).parent / "results" / "serve_faults.csv"


def reload(run: Path, work: Path, options: argparse.Namespace) -> list[Row]:
    """Edits under load: every answer against the offline answer of its generation."""
    copy = work / "reload"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run, copy)
    texts = texts_of_test(50)
    expected: dict[str, list[list[str]]] = {}
    answers: list[tuple[int, int, str, list[str]]] = []
    stop = threading.Event()

    def remember() -> None:
        retriever = xmc.Retriever.load(copy)
        expected[retriever.generation] = [[hit.label_id for hit in hits] for hits in retriever.search(texts, k=K)]

    def ask(address: str, seed: int) -> None:
        chance = random.Random(seed)
        with httpx.Client(base_url=address, timeout=60) as client:
            while not stop.is_set():
                row = chance.randrange(len(texts))
                answer = client.post("/v1/search", json={"texts": [texts[row]], "k": K})
                body = answer.json()
                ids = [hit["label_id"] for hit in body["results"][0]["hits"]] if answer.status_code == 200 else []
                answers.append((row, answer.status_code, body.get("generation", ""), ids))

    remember()
    with xmc_service(copy) as (address, process), httpx.Client(base_url=address, headers=AS_ADMIN, timeout=60) as admin:
        before_mb = process.memory_info().rss / 1e6
        threads = [threading.Thread(target=ask, args=(address, seed)) for seed in range(8)]
        for thread in threads:
            thread.start()
        reloads = 0
        while reloads < 200 or len(answers) < 20_000:
            change = (
                {"action": "add", "labels": {"new": texts[reloads % 50]}} if reloads % 2 == 0
                else {"action": "remove", "ids": ["new"]}
            )  # fmt: skip
            assert admin.post("/v1/labels", json=change).status_code == 200
            remember()
            reloads += 1
        stop.set()
        for thread in threads:
            thread.join()
        grown_mb = process.memory_info().rss / 1e6 - before_mb
    failed = sum(status != 200 for _, status, _, _ in answers)
    wrong = sum(status == 200 and expected[gen][row] != ids for row, status, gen, ids in answers)
    seen = len({gen for _, _, gen, _ in answers})
    print(f"{reloads} reloads, {len(answers)} answers of {seen} generations, {wrong} wrong, {failed} failed")
    counts = {
        "reloads": reloads, "answers": len(answers), "generations named": seen, "wrong": wrong, "failed": failed,
        "memory grown, MB": round(grown_mb, 1),
    }  # fmt: skip
    return [
        count_row("reload under load", name, value, "8 clients, a label added or removed each time")
        for name, value in counts.items()
    ]


def count_row(question: str, x: str, value: float, config: str) -> Row:
    return {
        "question": question, "subject": "xmc serve", "x": x, "median": value, "unit": "", "threads": cores(),
        "config": config,
    }  # fmt: skip


def edges() -> list[object]:
    """Values that break services."""
    numbers = [0, -1, 1e308, 10**30, float("nan"), float("inf"), True]
    texts = ["", " ", "0", "\ud800", "a" * 40_000, "../../etc/passwd"]
    nested = [None, [], [[]], {}, [None], ["a"] * 65, [1, "a"], {"a": {"b": {"c": {}}}}]
    return [*numbers, *texts, *nested]


def fuzzed_bodies(count: int, seed: int) -> list[tuple[str, bytes]]:
    """Good bodies with one to three things wrong: a field swapped for an edge, added, left out, or bytes changed."""
    chance = random.Random(seed)
    good: list[tuple[str, dict[str, object]]] = [
        ("/v1/search", {"texts": ["heart attack"], "k": 5, "certify": True}),
        ("/v1/search", {"vectors": [[0.1] * 256], "k": 5}),
        ("/v1/search", {"texts": ["a"], "allowed": ["A00"], "min_probability": 0.5}),
        ("/v1/search", {"texts": ["a"], "sets": {"alpha": 0.1, "risk": "coverage"}}),
        ("/v1/embeddings", {"input": ["a", "b"], "model": "run", "encoding_format": "float"}),
        ("/v1/rerank", {"query": "a", "documents": ["b", {"text": "c"}], "top_n": 1}),
        ("/v1/vector_stores/run/search", {"query": "a", "filters": {"type": "eq", "key": "id", "value": "A00"}}),
        ("/v1/labels", {"action": "add", "labels": {"x": "y"}}),
    ]
    found = []
    for _ in range(count):
        path, body = chance.choice(good)
        body = dict(body)
        for _ in range(chance.randint(0, 3)):
            match chance.randrange(3):
                case 0:
                    body[chance.choice(list(body) or ["k"])] = chance.choice(edges())
                case 1:
                    body[chance.choice(["k", "run", "x", "texts", "query"])] = chance.choice(edges())
                case 2:
                    body.pop(chance.choice(list(body)), None) if body else None
        content = bytearray(json.dumps(body).encode())
        if chance.random() < 0.3:
            for _ in range(chance.randint(1, 10)):
                content[chance.randrange(len(content))] = chance.randrange(256)
        if chance.random() < 0.02:
            content = bytearray(b"[" * chance.randrange(100_000))
        found.append((path, bytes(content)))
    return found


def fuzz(run: Path, work: Path, options: argparse.Namespace) -> list[Row]:
    """10,000 broken requests: statuses, time, memory."""
    requests = fuzzed_bodies(options.requests, seed=11)
    statuses: list[int] = []
    seconds: list[float] = []

    def send(address: str, part: list[tuple[str, bytes]]) -> None:
        headers = {"content-type": "application/json", **AS_ADMIN}
        with httpx.Client(base_url=address, timeout=60, headers=headers) as client:
            for path, content in part:
                started = time.perf_counter()
                statuses.append(client.post(path, content=content).status_code)
                seconds.append(time.perf_counter() - started)

    copy = work / "fuzz"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run, copy)
    with xmc_service(copy) as (address, process):
        send(address, requests[:500])
        before_mb = process.memory_info().rss / 1e6
        statuses.clear()
        seconds.clear()
        threads = [threading.Thread(target=send, args=(address, requests[start::16])) for start in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert httpx.post(f"{address}/v1/search", json={"texts": ["a"]}).status_code == 200
        grown_mb = process.memory_info().rss / 1e6 - before_mb
    counts = {str(status): statuses.count(status) for status in sorted(set(statuses))}
    ordered = sorted(seconds)
    print(counts, f"p99 {1e3 * ordered[int(0.99 * len(ordered))]:.0f} ms, +{grown_mb:.0f} MB")
    config = "8 kinds of body with 0 to 3 faults, 16 connections"
    rows = [count_row("fuzzed requests", f"status {status}", count, config) for status, count in counts.items()]
    rows.append(count_row("fuzzed requests", "p99, ms", round(1e3 * ordered[int(0.99 * len(ordered))], 1), config))
    rows.append(count_row("fuzzed requests", "slowest, ms", round(1e3 * ordered[-1], 1), config))
    rows.append(count_row("fuzzed requests", "memory grown, MB", round(grown_mb, 1), config))
    return rows


def restart(run: Path, work: Path, options: argparse.Namespace) -> list[Row]:
    """Seconds from a kill to the next answer."""
    taken = []
    for _ in range(5):
        with xmc_service(run) as (_, process):
            process.send_signal(signal.SIGKILL)
            process.wait()
        started = time.perf_counter()
        with xmc_service(run) as (address, _):
            assert httpx.post(f"{address}/v1/search", json={"texts": ["a"]}).status_code == 200
            taken.append(time.perf_counter() - started)
    median, p20, p80 = spread(taken)
    row = count_row("restart after kill -9", "seconds to the first answer", round(median, 2), "5 times")
    return [row | {"p20": round(p20, 2), "p80": round(p80, 2), "unit": "s"}]


def soak(run: Path, work: Path, options: argparse.Namespace) -> list[Row]:
    """Half of the capacity for a long time; by minute."""
    bodies = bodies_file(work)
    rows = []
    with xmc_service(run) as (address, process):
        capacity = load(address, "/v1/search", bodies, clients=16, seconds=5)["per_s"]
        requests = requests_of(address, "/v1/search", json.loads(bodies.read_text()))
        rate = max(200.0, capacity / 2)
        resident, latencies, failed = paced(address, requests, rate, options.soak_s, process)
    config = f"{rate:.0f} requests/s of {capacity:.0f} for {options.soak_s} s"
    minutes = max(1, options.soak_s // 60)
    for minute, (size, seconds) in enumerate(zip(resident, latencies, strict=True), 1):
        if minute in (1, 2, minutes):
            p99 = 1e3 * sorted(seconds)[int(0.99 * (len(seconds) - 1))]
            rows.append(count_row("soak", f"memory in minute {minute}, MB", round(size, 1), config))
            rows.append(count_row("soak", f"p99 in minute {minute}, ms", round(p99, 2), config))
    rows.append(count_row("soak", "answers", sum(map(len, latencies)), config))
    rows.append(count_row("soak", "not 200", failed, config))
    print(*rows, sep="\n")
    return rows


def paced(
    address: str, requests: list[bytes], rate: float, seconds: int, process: psutil.Process
) -> tuple[list[float], list[list[float]], int]:
    """Requests at a steady rate from 8 connections: resident MB and latencies of each minute, and failures."""
    host, port = address.removeprefix("http://").split(":")
    minutes = max(1, seconds // 60)
    latencies: list[list[float]] = [[] for _ in range(minutes)]
    resident: list[float] = []
    failures: list[int] = []
    started = time.monotonic()

    def client(seed: int) -> None:
        chance = random.Random(seed)
        due = started + seed / rate
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            file = connection.makefile("rb")
            while (now := time.monotonic()) < started + 60 * minutes:
                if now < due:
                    time.sleep(due - now)
                due += 8 / rate
                begun = time.monotonic()
                connection.sendall(chance.choice(requests))
                head = [file.readline() for _ in range(1)]
                while (line := file.readline()) != b"\r\n":
                    head.append(line.lower())
                length = next(int(line.split(b":")[1]) for line in head if line.startswith(b"content-length"))
                file.read(length)
                if b" 200 " not in head[0]:
                    failures.append(1)
                latencies[min(minutes - 1, int((begun - started) / 60))].append(time.monotonic() - begun)

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for minute in range(minutes):
        time.sleep(max(0.0, started + 60 * (minute + 1) - 1 - time.monotonic()))
        resident.append(process.memory_info().rss / 1e6)
    for thread in threads:
        thread.join()
    return resident, latencies, len(failures)


PARTS = {"reload": reload, "fuzz": fuzz, "restart": restart, "soak": soak}


def main() -> None:
    """Measure and write the rows beside the earlier ones of what is not measured again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("parts", nargs="*", help="some of: " + ", ".join(PARTS))
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--soak-s", type=int, default=600)
    parser.add_argument("--work", type=Path, help="folder for copies of the run, kept; a temporary one if left out")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        for part in options.parts or PARTS:
            record(options.out, beside_earlier(options.out, PARTS[part](options.run, work, options)))


if __name__ == "__main__":
    main()
