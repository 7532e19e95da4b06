"""The services that bench_serve.py and bench_serve_faults.py measure, and what they ask them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import psutil

import xmc
from xmc.data.dataset import load_dataset
from xmc.data.tables import LabelTable

HERE = Path(__file__).parent
K = 10
ADMIN = "an-admin-token-for-benchmarks"
AS_ADMIN = {"authorization": f"Bearer {ADMIN}"}
Row = dict[str, object]


def texts_of_test(count: int = 2_000) -> list[str]:
    """Queries of the shipped test split."""
    return load_dataset("icd10cm").test.texts[:count]


def with_labels(run: Path, work: Path, labels: int) -> Path:
    """A copy of the run whose index has so many labels."""
    from xmc.engine.indexing import run_indexing
    from xmc.engine.run_config import read_run_config
    from xmc.plugin_manager import load_plugins

    copy = work / f"run-{labels}"
    if copy.is_dir():
        return copy
    shutil.copytree(run, copy)
    known = xmc.Retriever.load(copy).labels
    if labels > len(known):
        chance = np.random.default_rng(0)
        pairs_NP = chance.integers(len(known), size=(labels - len(known), 2))
        texts = [f"{known.texts[a]}, {known.texts[b]}" for a, b in pairs_NP.tolist()]
        ids = [f"~{row:07}" for row in range(len(texts))]
        plugins = load_plugins()
        table = LabelTable([*known.ids, *ids], [*known.texts, *texts])
        run_indexing(read_run_config(plugins, copy), copy, plugins=plugins, labels=table)
    return copy


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], ready: str, port: int) -> Iterator[tuple[str, psutil.Process]]:
    """A service's address and process once it answers; it is ended afterwards."""
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "XMC_ADMIN_TOKEN": ADMIN})
        try:
            while not _answers(address + ready):
                if process.poll() is not None:
                    log.seek(0)
                    raise SystemExit(f"{command} ended:\n{log.read().decode()}")
                time.sleep(0.1)
            yield address, psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(30)


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, timeout=60).status_code < 500
    return False


def xmc_service(run: Path, *options: str) -> contextlib.AbstractContextManager[tuple[str, psutil.Process]]:
    port = free_port()
    command = [sys.executable, "-m", "xmc", "serve", "--run", f"run={run}", "--port", str(port), *options]
    return running(command, "/readyz", port)


def bare_service(run: Path) -> contextlib.AbstractContextManager[tuple[str, psutil.Process]]:
    port = free_port()
    return running([sys.executable, str(HERE / "serve_bare.py"), str(run), str(port)], "/docs", port)


def load(address: str, path: str, bodies: Path, *, clients: int, seconds: float) -> dict[str, float]:
    """The summary of serve_load.py."""
    command = [sys.executable, str(HERE / "serve_load.py"), address, path, str(bodies)]
    options = ["--clients", str(clients), "--seconds", str(seconds)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def bodies_file(work: Path) -> Path:
    path = work / "bodies.json"
    path.write_text(json.dumps([json.dumps({"texts": [text], "k": K}) for text in texts_of_test()]))
    return path
