"""The process that the native engine starts: reads lines of JSON (a job, then shards) and answers in lines of JSON.

A new interpreter, not a fork: libraries that were used with threads hang in forks, and a caller's script needs no
guard against being imported again. When the input closes (the engine ends, or is killed) its shard is dropped.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from typing import Any

from xmc.data.shard_list import ShardFile
from xmc.predict.job import Job

GRACE_S = 20.0  # for the batch under way, once nobody listens any more


class Dropped(BaseException):
    """Nobody waits for this shard any more."""


class Lines:
    """The lines that come in, read by a thread of their own so that the end of the input is noticed at once."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._lines: queue.Queue[str] = queue.Queue()
        self.ended = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def next(self) -> dict[str, Any]:
        """The next line. Raises: Dropped at the end of the input."""
        line = self._lines.get()
        if not line:
            raise Dropped
        return dict(json.loads(line))

    def _read(self) -> None:
        for line in self._file:
            self._lines.put(line)
        self.ended.set()
        self._lines.put("")
        threading.Event().wait(GRACE_S)
        os._exit(1)


def main() -> None:
    """Serve until the input ends."""
    for number in (signal.SIGINT, signal.SIGHUP):  # which reach all processes of a terminal; the engine decides
        signal.signal(number, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers
    try:
        _serve(Lines(sys.stdin), answers)
    except (Dropped, BrokenPipeError):
        return


def _serve(lines: Lines, answers: Any) -> None:
    from xmc.predict.engine import answered
    from xmc.predict.shard import ShardPredictor

    def say(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    def watch(rows: int, size: int) -> None:
        if lines.ended.is_set():
            raise Dropped
        if rows:
            say({"rows": rows, "bytes": size})

    job = Job.from_dict(lines.next())
    opened: list[ShardPredictor] = []
    while True:
        shard = ShardFile.from_dict(lines.next())

        def predict(shard: ShardFile = shard) -> Any:
            if not opened:
                opened.append(ShardPredictor.open(job))
            return opened[0].predict(shard, watch)

        say(answered(predict))


if __name__ == "__main__":
    main()
