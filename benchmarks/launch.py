"""Run a command and write what it cost as JSON: python launch.py FILE COMMAND ...

A process of its own, for the peak memory that Linux reports of a child begins at that of the process that started it: a
benchmark that holds a data set would otherwise lend its size to every command it measures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time


def main() -> None:
    """Wall and processor seconds, peak memory in MB (1 MB = 1,024 KB), and the exit code."""
    file, *command = sys.argv[1:]
    started = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    cost = {
        "wall_s": time.perf_counter() - started,
        "processor_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
    }
    with open(file, "w", encoding="utf-8") as out:  # noqa: PTH123 - a small process imports little
        json.dump({"exit_code": os.waitstatus_to_exitcode(status), "cost": cost}, out)


if __name__ == "__main__":
    main()
