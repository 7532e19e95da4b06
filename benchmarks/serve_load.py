"""Load on an HTTP service: many clients that each ask, read the answer, and ask again.

    python benchmarks/serve_load.py ADDRESS PATH BODIES.json --clients 64 --seconds 8

Run as a process of its own, so that the clients do not take the service's interpreter; prints one JSON object. A client
is one connection that stays open; requests are made before the clock starts. Raw sockets, as a Python HTTP client costs
more than the service.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from pathlib import Path
from urllib.parse import urlsplit

Answers = list[tuple[float, int, float]]  # begun at, status, seconds


def requests_of(address: str, path: str, bodies: list[str]) -> list[bytes]:
    """Whole requests, one for each body."""
    host = urlsplit(address).netloc
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: "
    return [f"{head}{len(body.encode())}\r\n\r\n{body}".encode() for body in bodies]


async def one_client(address: str, requests: list[bytes], until: float, seed: int, answers: Answers) -> None:
    """Ask in a random order until the time is over; a closed connection is opened again and counts as status 0."""
    where, chance = urlsplit(address), random.Random(seed)
    reader = writer = None
    while time.monotonic() < until:
        if writer is None:
            reader, writer = await asyncio.open_connection(where.hostname, where.port)
        started = time.monotonic()
        writer.write(chance.choice(requests))
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            answers.append((started, 0, time.monotonic() - started))
            writer = None
            continue
        answers.append((started, int(head[9:12]), time.monotonic() - started))
        if b"connection: close" in head.lower():
            writer.close()
            writer = None


async def load(address: str, requests: list[bytes], *, clients: int, seconds: float) -> Answers:
    """All answers to so many clients in so much time."""
    answers: Answers = []
    until = time.monotonic() + seconds
    await asyncio.gather(*(one_client(address, requests, until, seed, answers) for seed in range(clients)))
    return answers


def summary(answers: Answers, *, warmup_s: float) -> dict[str, float]:
    """Answers a second and percentiles of their time after the warm-up, and how many were not 200."""
    first = min(begun for begun, _, _ in answers) + warmup_s
    kept = [answer for answer in answers if answer[0] >= first]
    seconds = sorted(taken for _, status, taken in kept if status == 200)
    span = max(begun + taken for begun, _, taken in kept) - first
    at = {f"p{share}_ms": 1e3 * seconds[int(share / 100 * (len(seconds) - 1))] for share in (20, 50, 80, 99)}
    refused = sum(status == 503 for _, status, _ in kept)
    return {"per_s": len(seconds) / span, **at, "refused": refused, "failed": len(kept) - len(seconds) - refused}


def main() -> None:
    """Print the summary of one load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("path")
    parser.add_argument("bodies", type=Path)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--warmup", type=float, default=1)
    chosen = parser.parse_args()
    requests = requests_of(chosen.address, chosen.path, json.loads(chosen.bodies.read_text(encoding="utf-8")))
    answers = asyncio.run(load(chosen.address, requests, clients=chosen.clients, seconds=chosen.seconds))
    print(json.dumps(summary(answers, warmup_s=chosen.warmup)))


if __name__ == "__main__":
    main()
