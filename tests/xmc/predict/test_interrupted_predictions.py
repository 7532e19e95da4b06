"""Invariants: killed at any moment and started again, a prediction ends with the bytes of an uninterrupted one, each
shard once, nothing torn, lost or left over; a signal ends it within its batch; workers do not outlive their parent."""

import json
import signal
import time

import forked
import kill_predictions
import pytest
from predict_cases import contents, require_complete, write_shards
from repetitions import repetitions

from xmc import predict_run
from xmc.store import locked

PATIENCE_S = 240


def killed(run, folder, kills, *more):
    done = forked.run(kill_predictions.main, run, folder, kills, *more, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_killed_at_random_moments(tiny_run, tmp_path):
    kills = repetitions(50, full=500)
    counts = killed(tiny_run, tmp_path, kills)
    assert counts.pop("folders") >= 1
    nothing = dict.fromkeys(("torn", "lost", "again", "different", "rest"), 0)
    assert counts == {"reference": "done", "kills": kills, **nothing}


@pytest.mark.slow
def test_without_the_protection_the_kills_are_seen(tiny_run, tmp_path):
    assert killed(tiny_run, tmp_path, 12, "unprotected")["torn"] > 0


def start(run, shards, out, *options):
    command = ["predict", "--run", run, "--shards", shards, "--out", out, "-k", "5", "--batch-rows", "4"]
    return forked.Forked(forked.xmc, *command, *options)


def wait_for(condition, process):
    deadline = time.monotonic() + PATIENCE_S
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()


def children_of(process):
    psutil = pytest.importorskip("psutil", reason="psutil is not installed")
    return psutil.Process(process.pid).children()


@pytest.mark.parametrize(
    ("number", "workers"),
    [(signal.SIGTERM, 1), pytest.param(signal.SIGHUP, 2, marks=pytest.mark.slow)],
    ids=["SIGTERM", "SIGHUP with two workers, as a terminal sends it"],
)
def test_a_signal_ends_it_and_the_same_command_goes_on(tiny_run, tmp_path, number, workers):
    shards = write_shards(tmp_path / "in", shards=4, rows=1500)
    out = tmp_path / "out"
    process = start(tiny_run, shards, out, "--workers", str(workers))
    try:
        wait_for(lambda: list(out.glob(".tmp-*.parquet")), process)
        for child in children_of(process) if workers > 1 else ():
            child.send_signal(signal.SIGINT)
            child.send_signal(number)
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 128 + number, errors
    assert "of 4 shards are done" in errors and "died" not in errors and "The same command goes on" in errors
    assert not list(out.rglob(".tmp-*")) and not (out / "_SUCCESS").exists()
    with locked(out):
        pass
    if workers == 1:
        predict_run(tiny_run, str(shards), out, k=5, batch_rows=1000, workers=1, overwrite=True)
        require_complete(out)


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(tiny_run, tmp_path):
    psutil = pytest.importorskip("psutil", reason="psutil is not installed")
    shards = write_shards(tmp_path / "in", shards=2, rows=300)
    out = tmp_path / "out"
    process = start(tiny_run, shards, out, "--workers", "2")
    wait_for(lambda: list(out.glob(".tmp-*.parquet")), process)
    children = children_of(process)
    assert len(children) == 2
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive
    predict_run(tiny_run, str(shards), out, k=5, batch_rows=4, workers=1)
    predict_run(tiny_run, str(shards), tmp_path / "reference", k=5, batch_rows=4, workers=1)
    assert contents(out) == contents(tmp_path / "reference")


def test_a_full_disk_is_named_and_leaves_nothing(tiny_run, tmp_path):
    import resource

    shards = write_shards(tmp_path / "in", shards=1, rows=400)
    whole = predict_run(tiny_run, str(shards), tmp_path / "whole", k=5, workers=1)
    size = (tmp_path / "whole" / "part-0.parquet").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (1200, size // 2, size - 1):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            with pytest.raises(OSError, match="could not write") as raised:
                predict_run(tiny_run, str(shards), tmp_path / "out", k=5, workers=1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert raised.value.filename == str(tmp_path / "out" / "part-0.parquet")
        assert set(contents(tmp_path / "out")) == {"_job.json"}
    assert predict_run(tiny_run, str(shards), tmp_path / "out", k=5, workers=1).rows == whole.rows
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
