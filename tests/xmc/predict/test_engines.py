"""Invariants: a Ray cluster and a Dask cluster write the bytes that one process writes, also when a worker is killed in
the middle and when the parts of the index are held by actors of their own. One local cluster each serves all tests."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from dataclasses import replace
from functools import partial

import forked
import pyarrow.parquet as pq
import pytest
import torch
from predict_cases import contents, require_complete, write_shards
from repetitions import IS_FULL, only_in_full

import xmc
from xmc import predict_run
from xmc.data.shard_list import ShardFile, list_shards
from xmc.errors import ArtifactError, ConfigError, DeviceError, InterruptedRunError, PeerError
from xmc.predict.engine import Failure, answered, understood
from xmc.predict.job import make_job, require_here
from xmc.predict.on_dask import DaskEngine, _collect, _require_ready
from xmc.predict.on_ray import RayEngine
from xmc.predict.ray_parts import RemoteParts
from xmc.predict.scheduler import require_reachable
from xmc.store.location import Location

pytestmark = pytest.mark.slow
OPTIONS = {"k": 3, "batch_rows": 4}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("shards") / "in", shards=6, rows=200)


@pytest.fixture(scope="module")
def expected(tiny_run, shards, tmp_path_factory):
    out = tmp_path_factory.mktemp("expected") / "out"
    predict_run(tiny_run, str(shards), out, workers=1, **OPTIONS)
    return contents(out)


@pytest.fixture(scope="module")
def ray():
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "180")  # on a busy machine 30 seconds are too few
    ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=200 << 20,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
    )
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def dask_address():
    distributed = pytest.importorskip("distributed", reason="the extra 'dask' is not installed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


def kill_a_writer(out, killed, *, kills=1):
    """Kill the first process that is seen to write a shard into the folder; more `kills` each at another shard."""
    import psutil

    shards = set()
    for _ in range(kills):
        kill_one(psutil, out, killed, shards)


def kill_one(psutil, out, killed, shards):
    before, deadline = len(killed), time.monotonic() + 120
    while time.monotonic() < deadline and len(killed) == before:
        new = [path for path in out.glob(".tmp-*.parquet") if path.name.partition("part-")[2] not in shards]
        if not new:
            time.sleep(0.005)
            continue
        for process in psutil.Process().children(recursive=True):
            try:
                files = [file.path for file in process.open_files()]
            except psutil.Error:
                continue
            if str(new[0]) in files:
                process.send_signal(signal.SIGKILL)
                killed.append(process.pid)
                shards.add(new[0].name.partition("part-")[2])
                return


def predict_while_a_worker_is_killed(run, shards, out, *, kills=1, **options):
    killed: list[int] = []
    killer = threading.Thread(target=partial(kill_a_writer, kills=kills), args=(out, killed))
    killer.start()
    report = predict_run(run, str(shards), out, **{"workers": 2, **OPTIONS, **options})
    killer.join()
    assert len(killed) == kills and report.skipped == 0
    require_complete(out)


def test_native_survives_a_killed_worker(tiny_run, shards, expected, tmp_path):
    predict_while_a_worker_is_killed(tiny_run, shards, tmp_path / "out")
    assert contents(tmp_path / "out") == expected


def test_ray_survives_a_killed_actor(ray, tiny_run, shards, expected, tmp_path):
    predict_while_a_worker_is_killed(tiny_run, shards, tmp_path / "out", engine="ray")
    assert contents(tmp_path / "out") == expected


@only_in_full
def test_ray_actors_may_die_once_at_each_of_many_shards(ray, tiny_run, shards, expected, tmp_path):
    predict_while_a_worker_is_killed(tiny_run, shards, tmp_path / "out", kills=5, engine="ray", workers=1)
    assert contents(tmp_path / "out") == expected


def test_what_a_part_on_ray_cannot_do_keeps_its_name(monkeypatch):
    """Ray gives the error a class that it makes up, which no engine knows."""
    ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    error = ray.exceptions.RayTaskError("search", "its traceback", DeviceError("no GPU.", hint="Use cpu."))

    def get(references):
        raise error.as_instanceof_cause()

    monkeypatch.setattr(ray, "put", lambda value: value)
    monkeypatch.setattr(ray, "get", get)
    part = types.SimpleNamespace(search=types.SimpleNamespace(remote=lambda queries, k, rows: None))
    with pytest.raises(DeviceError, match=r"no GPU\. Use cpu\.") as raised:
        understood(None, answered(lambda: RemoteParts((part,), (0,), None).search(torch.eye(2), 1)))
    assert type(raised.value) is DeviceError


def test_dask_survives_a_killed_worker(dask_address, tiny_run, shards, expected, tmp_path):
    predict_while_a_worker_is_killed(tiny_run, shards, tmp_path / "out", engine="dask", scheduler=dask_address)
    assert contents(tmp_path / "out") == expected


def test_tasks_on_dask_end_with_the_command_that_asked_for_them(dask_address, tiny_run, tmp_path):
    folder, out = write_shards(tmp_path / "in", shards=4, rows=4_000), tmp_path / "out"
    out.mkdir()
    job = make_job(tiny_run, str(out), k=3, batch_rows=2, device="cpu")

    def interrupt(rows, size):
        if list(out.iterdir()):
            raise KeyboardInterrupt

    with DaskEngine(scheduler=dask_address).started(job, most=4, waiting=lambda: None) as workers:
        with pytest.raises(KeyboardInterrupt):
            list(workers.map_shards(list_shards(str(folder)).shards, watch=interrupt))
        assert not list(out.iterdir())  # what was under way is dropped
        time.sleep(1)
        assert not list(out.iterdir())


def test_ray_and_dask_keep_to_a_filter(ray, dask_address, tiny_run_copy, shards, tmp_path):
    """Ray spreads the parts of the index, and asks each of them twice: for probabilities all labels are ranked."""
    xmc.check_run(tiny_run_copy, ["calibrate"])
    xmc.index_run(tiny_run_copy, settings=["index.name=sharded", "index.shards=2"])
    options = {"allowed": ["L03", "L33", "L57"], "workers": 1, **OPTIONS}
    one = str(shards / "part-0.parquet")
    predict_run(tiny_run_copy, one, tmp_path / "native", **options)
    engines = {"dask": {"scheduler": dask_address}} | ({"ray": {}} if IS_FULL else {})  # three actors that import torch
    for engine, more in engines.items():
        predict_run(tiny_run_copy, one, tmp_path / engine, engine=engine, **more, **options)
        assert contents(tmp_path / engine) == contents(tmp_path / "native")
    assert pq.read_table(tmp_path / "dask" / "part-0.parquet")["probabilities"].null_count == 0


@only_in_full
def test_a_signal_ends_ray_with_a_word(tiny_run, shards, tmp_path):
    """Also where the command starts a cluster of its own, which would take the signal for itself."""
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    command = ["predict", "--run", tiny_run, "--shards", shards, "--out", tmp_path / "out", "--batch-rows", "1"]
    process = forked.Forked(forked.xmc, *command, "--engine", "ray", "--workers", "1")
    deadline = time.monotonic() + 240
    while not list(tmp_path.glob("out/.tmp-*.parquet")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.terminate()
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert "The same command goes on" in errors


@only_in_full
def test_ctrl_c_ends_dask_with_a_word(tiny_run, shards, tmp_path):
    """It reaches all processes of a terminal; those of the cluster wait for what the command decides."""
    pytest.importorskip("distributed", reason="the extra 'dask' is not installed")
    options = ["--out", tmp_path / "out", "--batch-rows", "1", "--engine", "dask", "--workers", "1"]
    command = [sys.executable, "-m", "xmc", "predict", "--run", tiny_run, "--shards", shards, *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 240
    while not list(tmp_path.glob("out/.tmp-*.parquet")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 128 + signal.SIGINT, errors
    assert "The same command goes on" in errors and "Traceback" not in errors
    assert "still alive" not in errors  # as Dask says of a worker that does not end
    assert not list(tmp_path.glob("out/.tmp-*"))  # what was under way was dropped


@pytest.mark.parametrize("engine", ["ray", "dask"])
def test_a_scheduler_that_is_not_there(tiny_run, shards, tmp_path, monkeypatch, engine):
    pytest.importorskip({"ray": "ray", "dask": "distributed"}[engine], reason="its extra is not installed")
    monkeypatch.setattr("xmc.predict.engine.require_reachable", partial(require_reachable, wait_s=1.0))
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(PeerError, match=f"nobody answers at --scheduler {address} within 1 s"):
            predict_run(tiny_run, str(shards), tmp_path / "out", engine=engine, scheduler=address)
    assert not (tmp_path / "out").exists()


def replace_by_a_cluster_that_does_not_start(run, shards, out):
    from xmc.predict import on_ray

    on_ray.LOCAL_STORE_BYTES = 1  # fewer than Ray takes
    with pytest.raises(PeerError, match="no Ray cluster at 'local'"):
        predict_run(run, shards, out, k=5, engine="ray", overwrite=True)


@only_in_full
def test_without_a_cluster_an_output_is_not_overwritten(tiny_run, shards, expected, tmp_path):
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    predict_run(tiny_run, str(shards), tmp_path / "out", workers=1, **OPTIONS)
    done = forked.run(replace_by_a_cluster_that_does_not_start, tiny_run, shards, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "out") == expected


def refused_by_workers(engine, run, shards, out):
    """Another run there than here, then one that they lack, and a device."""
    job = make_job(run, str(out), k=3, batch_rows=2)
    other = replace(job, model={**job.model, "encoder": "another"})
    with (
        pytest.raises(ArtifactError, match="was changed since this prediction began"),
        engine.started(other, most=1, waiting=lambda: None),
    ):
        pass
    options = {"workers": engine.workers, "scheduler": engine.scheduler, "overwrite": True}
    if not torch.cuda.is_available():
        name = "ray" if isinstance(engine, RayEngine) else "dask"
        with pytest.raises(DeviceError):
            predict_run(run, str(shards), out, engine=name, k=5, device="cuda", **options)


def test_what_only_workers_lack_is_found_before_anything_is_replaced(dask_address, tiny_run, shards, tmp_path, request):
    predict_run(tiny_run, str(shards / "part-0.parquet"), tmp_path / "out", workers=1, **OPTIONS)
    before = contents(tmp_path / "out")
    refused_by_workers(DaskEngine(scheduler=dask_address), tiny_run, shards, tmp_path / "out")
    if IS_FULL:
        request.getfixturevalue("ray")
        refused_by_workers(RayEngine(1), tiny_run, shards, tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_a_signal_while_workers_are_waited_for_changes_nothing(tiny_run, shards, tmp_path, monkeypatch):
    """It would be told to begin anew without --overwrite, and then take what is there for its own."""
    distributed = pytest.importorskip("distributed", reason="the extra 'dask' is not installed")
    predict_run(tiny_run, str(shards / "part-0.parquet"), tmp_path / "out", workers=1, **OPTIONS)
    before = contents(tmp_path / "out")

    def stop(**options):
        os.kill(os.getpid(), signal.SIGTERM)
        return contextlib.nullcontext("tcp://127.0.0.1:1")

    monkeypatch.setattr(distributed, "LocalCluster", stop)
    monkeypatch.setattr(distributed, "Client", contextlib.nullcontext)
    with pytest.raises(InterruptedRunError, match=r"before it began\. Nothing was changed\."):
        predict_run(tiny_run, str(shards), tmp_path / "out", engine="dask", overwrite=True, **OPTIONS)
    assert contents(tmp_path / "out") == before


def test_a_dask_worker_that_cannot_be_asked(tiny_run, tmp_path):
    """One that is gone meanwhile is none of those that answer shards; one without xmc is told."""
    job = make_job(tiny_run, str(tmp_path / "out"), k=3, batch_rows=2)
    found = {"tcp://a:1": OSError("Timed out trying to connect"), "tcp://b:1": None}
    client = types.SimpleNamespace(run=lambda function, values, on_error: found)
    _require_ready(client, job)
    found["tcp://c:1"] = ModuleNotFoundError("No module named 'xmc'")
    with pytest.raises(PeerError, match=r"Dask worker tcp://c:1 is not ready: ModuleNotFoundError: No module named"):
        _require_ready(client, job)


def test_a_run_that_a_machine_lacks_is_told(tiny_run, tmp_path):
    job = replace(make_job(tiny_run, str(tmp_path / "out"), k=3, batch_rows=2), run=str(tmp_path / "none"))
    with pytest.raises(ArtifactError, match=rf"where a worker runs, has no run folder {tmp_path}/none\. Every machine"):
        require_here(job)


def test_a_dask_that_does_not_start_is_told(tiny_run, shards, tmp_path, monkeypatch):
    """As in a script without the guard, which each of its processes would run once more."""
    distributed = pytest.importorskip("distributed", reason="the extra 'dask' is not installed")

    def refuse(**options):
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr(distributed, "LocalCluster", refuse)
    with pytest.raises(PeerError, match=r"no Dask cluster starts .*: Nanny failed to start\. .*__name__ == '__main__'"):
        predict_run(tiny_run, str(shards), tmp_path / "out", engine="dask", **OPTIONS)
    assert contents(tmp_path / "out") == {}


def test_a_dask_that_is_lost_is_told():
    distributed = pytest.importorskip("distributed", reason="the extra 'dask' is not installed")
    shard = ShardFile(Location.of("in/a.parquet"), "a.parquet", 1, 1)

    class Lost:
        def add_done_callback(self, hear):
            hear(self)

        def result(self):
            raise distributed.client.FutureCancelledError("task", "scheduler-connection-lost")

    with pytest.raises(PeerError, match=r"have .*in/a\.parquet answered: FutureCancelledError: .*connection-lost"):
        list(_collect(distributed, {Lost(): shard}, lambda rows, size: None))


def test_errors_travel_as_plain_values():
    def fail(error):
        raise error

    answer = json.loads(json.dumps(answered(lambda: fail(OSError(28, "No space left on device", "/a/b")))))
    with pytest.raises(OSError, match="No space left") as raised:
        understood(None, answer)
    assert (raised.value.errno, raised.value.filename) == (28, "/a/b")
    with pytest.raises(ArtifactError, match=r"damaged\. Build it again"):
        understood(None, answered(lambda: fail(ArtifactError("damaged.", hint="Build it again."))))
    with pytest.raises(MemoryError):
        understood(None, answered(lambda: fail(MemoryError())))
    assert isinstance(understood(None, answered(lambda: fail(xmc.errors.DataError("row 3.")))), Failure)


def test_an_engine_that_is_not_installed(monkeypatch):
    import sys

    from xmc.predict.engine import open_engine

    for module, extra in (("ray", "ray"), ("distributed", "dask")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ConfigError, match=rf"pip install 'xmc-engine\[{extra}\]'"):
            open_engine(extra, workers=1)
