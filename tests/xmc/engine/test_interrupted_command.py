"""Invariants: `xmc train` answers SIGTERM and SIGINT with a committed checkpoint and exit code 128 + number; a second
writer of the same folder is refused at once, by name, and harms nothing."""

import signal
import time

import forked
import pytest

from xmc.retrieve.layout import index_store
from xmc.store import locked
from xmc.train.checkpoint import open_store

SMALL = ("--set", "encoder.dimension=8")
ENDLESS = ("--set", "train.epochs=1000000", "--set", "train.patience=0", "--set", "train.checkpoint_s=0.05")
PATIENCE_S = 120


@pytest.fixture(params=[signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def number(request):
    return request.param


def test_a_signal_ends_training_with_a_checkpoint(tmp_path, number):
    out = tmp_path / "run"
    training = forked.Forked(forked.xmc, "train", "--data", "tiny", "--out", out, *SMALL, *ENDLESS)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not open_store(out).exists() and time.monotonic() < deadline and training.poll() is None:
            time.sleep(0.02)
        second = forked.run(forked.xmc, "train", "--out", out, "--resume")
        training.send_signal(number)
        _, errors = training.communicate(timeout=PATIENCE_S)
    finally:
        training.kill()
        training.wait()
    assert second.returncode == 2
    assert f"(pid {training.pid})" in second.stderr.replace("\n", "")
    assert training.returncode == 128 + number, errors
    assert "the checkpoint is safe" in errors.replace("\n", " ")
    assert "--resume" in errors
    assert open_store(out).current().manifest.facts["step"] > 0
    assert not list(out.rglob(".tmp-*"))
    with locked(out):
        pass


def test_a_second_index_builder_is_refused_and_the_index_stays(tiny_run_copy):
    before = index_store(tiny_run_copy).current()
    with locked(index_store(tiny_run_copy).root):
        second = forked.run(forked.xmc, "index", "--run", tiny_run_copy)
    assert second.returncode == 2
    assert "is being written by another process" in second.stderr.replace("\n", " ")
    assert index_store(tiny_run_copy).current() == before
