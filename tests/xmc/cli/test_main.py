"""Invariants: a process under a launcher, which leaves without teardown, says everything and gives its exit code.

An output that nobody reads any more is no failed check.
"""

import os
import subprocess
import sys

import pytest
from forked import Forked

from xmc.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "code", "stream", "words"),
    [
        (("--version",), 0, "stdout", "xmc-engine"),
        (("plugins", "show", "no-such-thing"), 2, "stderr", "no-such-thing"),
        (("no-such-verb",), 2, "stderr", "No such command"),
    ],
)
@pytest.mark.parametrize("processes", ["1", "2"])
def test_exit_code_and_words_are_the_same_under_a_launcher(arguments, code, stream, words, processes):
    done = subprocess.run(
        [sys.executable, "-m", "xmc", *arguments],
        env={**os.environ, "WORLD_SIZE": processes, "RANK": "0"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code
    assert words in getattr(done, stream)


@pytest.mark.parametrize("arguments", [("plugins",), ("plugins", "--json"), ("config",)])
def test_an_output_that_nobody_reads_ends_it_as_sigpipe_would(arguments):
    process = Forked(called, *arguments)
    process.stdout.close()
    assert (process.wait(60), process.stderr.read()) == (141, "")


def called(*arguments):
    sys.argv = ["xmc", *arguments]
    main()
