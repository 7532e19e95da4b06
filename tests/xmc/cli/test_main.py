"""Invariants: a process under a launcher, which leaves without teardown, says everything and gives its exit code; one
whose reader has gone (`xmc … | head`) ends like any tool that SIGPIPE ends, and says nothing; a signal is answered with
a sentence and 128 + its number."""

import os
import signal
import subprocess
import sys

import pytest

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


@pytest.fixture
def closed_pipe():
    """The end of a pipe to write to, whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--version",),
        ("plugins", "--help"),  # which rich prints, with an exit code of its own for this
        ("plugins", "list", "--json"),
        ("no-such-verb",),
        ("plugins", "show", "no-such-thing"),
    ],
)
def test_output_that_nobody_reads_any_more_ends_it_as_sigpipe_would(closed_pipe, monkeypatch, arguments):
    monkeypatch.setattr(sys, "argv", ["xmc", *arguments])
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, os.fdopen(os.dup(closed_pipe), "w", encoding="utf-8"))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 141


@pytest.mark.parametrize("processes", ["1", "2"])
def test_nothing_is_said_of_output_that_nobody_reads(closed_pipe, processes):
    done = subprocess.run(
        [sys.executable, "-m", "xmc", "--version"],
        env={**os.environ, "WORLD_SIZE": processes, "RANK": "0"},
        stdout=closed_pipe,
        stderr=subprocess.PIPE,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_any_verb_in_order_and_with_a_sentence(xmc_command, tiny_run_copy, tmp_path, number):
    before = signal.signal(number, signal.default_int_handler)
    plugin = tmp_path / "sends.py"
    plugin.write_text(f"import os\nos.kill(os.getpid(), {int(number)})\n")
    try:
        code, out, errors = xmc_command("index", "--run", tiny_run_copy, "--plugin-file", plugin)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
    assert (code, out) == (128 + number, "")
    assert f"stopped by {number.name}." in errors
