"""Invariants: a job on GPUs has one worker to each, which sees no other; on a CPU nothing of this happens."""

import subprocess
import types

import numpy as np
import pytest
import torch
from predict_cases import write_shards
from repetitions import only_in_full

from xmc import predict_run
from xmc.data.shards import read_table
from xmc.errors import PeerError
from xmc.predict import gpus as gpus_module
from xmc.predict import native
from xmc.predict.gpus import gpus_for
from xmc.predict.on_ray import PLACING, RayEngine


@pytest.mark.parametrize(
    ("device", "driver", "visible", "count", "expected"),
    [
        ("cpu", True, None, 2, []),
        ("auto", False, None, 2, []),
        ("auto", True, None, 0, []),
        ("auto", True, None, 2, ["0", "1"]),
        ("cuda", True, "3,5", 2, ["3", "5"]),
        ("cuda", True, "GPU-8932f937,GPU-1", 1, ["GPU-8932f937"]),
        ("auto", True, "", 0, []),
    ],
)
def test_which_gpus_a_job_uses(monkeypatch, device, driver, visible, count, expected):
    monkeypatch.setattr(gpus_module, "has_gpu_driver", lambda: driver)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus_for(device) == expected


@pytest.fixture
def started(monkeypatch):
    """What the workers that are started see of the GPUs."""
    seen = []

    class Noting(subprocess.Popen):
        def __init__(self, *arguments, env, **options):
            seen.append(env.get("CUDA_VISIBLE_DEVICES"))
            super().__init__(*arguments, env=env, **options)

    monkeypatch.setattr(native.subprocess, "Popen", Noting)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return seen


@pytest.fixture
def shards(tmp_path):
    return write_shards(tmp_path / "in", shards=4, rows=3)


def test_workers_see_their_own_gpu_and_so_does_who_takes_the_place_of_one(
    monkeypatch, started, tiny_run, shards, tmp_path
):
    """Of workers that end at once: what they see is settled before, and to start real ones takes seconds."""
    monkeypatch.setattr(native, "gpus_for", lambda device: ["2", "7"])
    monkeypatch.setattr(native, "COMMAND", "")
    with pytest.raises(PeerError, match="worker processes died on"):
        predict_run(tiny_run, str(shards), tmp_path / "out", k=2, workers=3, device="cpu")
    assert started[:3] == ["2", "7", "2"] and set(started[3:]) <= {"2", "7"} and len(started) > 4


@only_in_full
def test_workers_that_see_their_own_gpu_answer(monkeypatch, started, tiny_run, shards, tmp_path):
    monkeypatch.setattr(native, "gpus_for", lambda device: ["2", "7"])
    report = predict_run(tiny_run, str(shards), tmp_path / "out", k=2, workers=3, device="cpu")
    assert report.rows == 3 + 4 + 5 + 6 and started == ["2", "7", "2"]


@only_in_full
def test_on_a_cpu_nothing_is_hidden(started, tiny_run, shards, tmp_path):
    predict_run(tiny_run, str(shards), tmp_path / "out", k=2, workers=2, device="cpu")
    assert started == [None, None]


@pytest.mark.parametrize(
    ("device", "gpus", "workers", "parts", "actors", "share"),
    [
        ("auto", 2, 0, 0, 2, 1.0),
        ("auto", 2, 8, 0, 8, 1 / 4),
        ("auto", 2, 3, 0, 3, 1 / 2),  # of two thirds a GPU has room for one, and the third actor would wait for ever
        ("cpu", 2, 0, 0, 4, None),
        ("auto", 0, 0, 0, 4, None),
        ("cuda", 8, 3, 0, 3, 1.0),
        ("cuda", 8, 0, 2, 6, 1.0),
        ("cuda", 2, 0, 4, 1, 1 / 3),
        ("cpu", 2, 0, 1, 3, None),
    ],
)
def test_ray_actors_ask_for_gpus(device, gpus, workers, parts, actors, share):
    ray = types.SimpleNamespace(
        available_resources=lambda: {"GPU": gpus}, cluster_resources=lambda: {"CPU": 4, "GPU": gpus}
    )
    job = types.SimpleNamespace(device=device)
    planned = RayEngine(workers)._planned(ray, job, parts=parts, most=20)
    assert planned == (actors, {**PLACING, **({"num_gpus": share} if share else {})})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("allowed", [None, ["L01", "L07", "L19", "L33"]])
def test_a_job_on_a_gpu_answers_as_one_on_a_cpu(tiny_run, shards, tmp_path, allowed):
    tables = {}
    for device, workers in (("cuda", 0), ("cpu", 2)):
        out = tmp_path / device
        predict_run(tiny_run, str(shards), out, k=3, device=device, workers=workers, allowed=allowed)
        tables[device] = [read_table(path, kind="hits") for path in sorted(out.glob("part-*"))]
    assert len(tables["cuda"]) == 4
    for gpu, cpu in zip(tables["cuda"], tables["cpu"], strict=True):
        for column in ("query_id", "label_ids", "status"):
            assert gpu[column].equals(cpu[column]), column
        scores = [np.concatenate(table["scores"].to_pylist()) for table in (gpu, cpu)]
        np.testing.assert_allclose(*scores, atol=1e-5)
