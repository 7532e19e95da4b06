"""Processes that begin with everything heavy imported: forks of one clean server, which each test process starts once.

What a test starts here is a process of its own, with its own pid, signals, exit code, pipes, environment and working
directory, but it does not spend seconds on importing torch and sentence-transformers once more. The server computes
nothing, so there are no threads to fork. Where the start itself is tested (the installed command, what it imports, the
hash seed, torchrun) a test starts a new interpreter instead.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TextIO

from repetitions import spare_the_disk

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "faiss",
        "matplotlib.backends.backend_agg",
        "scipy.optimize",
        "scipy.stats",
        "sentence_transformers.sentence_transformer.modules",
        "torch._dynamo",
        "uvicorn",
        "xmc.cli.main",
        "xmc.engine.whole_run",
        "xmc.serve.app",
    ]
)


class Forked:
    """A started process that calls `target(*words)`; the part of `subprocess.Popen` that tests need, always in text."""

    def __init__(self, target: Callable[..., None], *words: object, env: Mapping[str, str] | None = None) -> None:
        self.stdout, out = _pipe()
        self.stderr, err = _pipe()
        call = (target, [str(word) for word in words], dict(env or os.environ), Path.cwd(), out, err)
        self._process = FORKS.Process(target=_called, args=call, daemon=True)
        self._process.start()
        self.args = words
        out.close()
        err.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it still says on both pipes, once it has ended; killed when that takes too long."""
        with ThreadPoolExecutor(2) as readers:
            said = [readers.submit(stream.read) for stream in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        return said[0].result(), said[1].result()


def run(target: Callable[..., None], *words: object, timeout: float = 300.0) -> subprocess.CompletedProcess:
    """Let a fork call `target(*words)`: its exit code and what it said."""
    process = Forked(target, *words)
    out, err = process.communicate(timeout)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def xmc(*words: str) -> None:
    """The command `xmc` with these arguments, as a target."""
    from xmc.cli.main import main

    sys.argv = ["xmc", *words]
    main()


def _pipe() -> tuple[TextIO, Connection]:
    """A stream to read, and the end to write to as what may be sent to another process."""
    reader, writer = os.pipe()
    return os.fdopen(reader, encoding="utf-8"), Connection(writer, readable=False)


def _called(
    target: Callable[..., None], words: list[str], env: dict[str, str], folder: Path, out: Connection, err: Connection
) -> None:
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    out.close()
    err.close()
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which is ignored where the tests run under nohup
    spare_the_disk()
    target(*words)
