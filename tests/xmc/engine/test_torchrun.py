"""Invariants: `xmc train` in two processes, as torchrun starts them, gives the run of one; a process that is killed
ends the other with an error, and the resumed run ends with the bits of one that was never stopped."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import ANY

import forked
import pytest
import torch
from repetitions import only_in_full
from resume_cases import final_bits
from safetensors.torch import load_file

from xmc.engine.run_config import resolve
from xmc.engine.training import run_training
from xmc.plugin_manager import load_plugins
from xmc.retrieve.retriever import Retriever
from xmc.train.checkpoint import open_store

pytestmark = pytest.mark.slow
TWO = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "xmc")
PATIENCE_S = 120
BASE = ("encoder.dimension=16", "train.batch_size=75", "train.epochs=3", "train.patience=0", "train.device=cpu")
MINED = ("head.name=classifier", "train.label_scope=mined", "train.sampled_labels=20", "train.hard_negatives=3")
REWRITTEN = ("augmentation.name=robust.worst-case", "augmentation.radius=1")


def command(run, settings, *more):
    flags = [flag for setting in settings for flag in ("--set", setting)]
    return ["train", "--data", "tiny", "--out", str(run), *flags, *more]


def test_two_processes_make_the_run_of_one(tmp_path):
    settings = (*BASE, *MINED, *REWRITTEN, "train.epochs=2", "encoder.dropout=0.0")
    pair = Pair(tmp_path / "two", settings, "--json")
    (said, errors), (silence, other_errors) = (process.communicate(PATIENCE_S) for process in pair.processes)
    assert [process.returncode for process in pair.processes] == [0, 0], errors + other_errors
    assert not silence
    report = json.loads(said)
    assert report["processes"] == report["plan"]["processes"] == 2
    plugins = load_plugins()
    config = resolve(plugins, plugin="dexml", settings=settings, flags={"data": {"name": "tiny"}})
    alone = run_training(config, tmp_path / "one", plugins=plugins)
    assert report["best_validation_p1"] == pytest.approx(alone["best_validation_p1"], abs=0.011)
    for part in ("encoder/query/tower.safetensors", "head.safetensors"):
        one, other = (load_file(open_store(tmp_path / name).current().folder / part) for name in ("one", "two"))
        assert one.keys() == other.keys()
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=1e-5, atol=1e-5)
    assert len(Retriever.load(tmp_path / "two").search(["fog"], k=3)[0]) == 3


@only_in_full
def test_torchrun_starts_them(tmp_path):
    run = [*TWO, *command(tmp_path / "two", (*BASE, "train.epochs=1"), "--json")]
    two = subprocess.run(run, capture_output=True, text=True, timeout=PATIENCE_S)
    assert two.returncode == 0, two.stderr
    assert json.loads(two.stdout)["processes"] == 2  # one process speaks


class Pair:
    """Two processes that train into one folder, started without a launcher that would end the second for the first."""

    def __init__(self, run: Path, settings: tuple[str, ...], *more: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        self.processes = [
            forked.Forked(
                forked.xmc,
                *command(run, settings, *more),
                env={**os.environ, "RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
            )
            for rank in ("0", "1")
        ]

    def ends(self) -> list[tuple[int, str]]:
        """Exit code and last words of both."""
        said = [process.communicate(timeout=PATIENCE_S)[1] for process in self.processes]
        return [
            (process.returncode, words.replace("\n", " ")) for process, words in zip(self.processes, said, strict=True)
        ]

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


STOPPED = (*BASE, "train.epochs=8", "train.label_scope=sampled", "encoder.dropout=0.2")  # 48 steps
OFTEN, NEVER = "train.checkpoint_s=0.0", "train.checkpoint_s=3600"


def wait_for_step(run: Path, step: int) -> None:
    store, deadline = open_store(run), time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and (not store.exists() or store.current().manifest.facts["step"] < step):
        time.sleep(0.01)


def test_a_killed_process_ends_the_other_and_the_run_goes_on_to_the_same_bits(tmp_path):
    run, store = tmp_path / "parts", open_store(tmp_path / "parts")
    pairs = [Pair(tmp_path / "whole", (*STOPPED, NEVER))]
    try:
        for killed, step in ((1, 4), (0, 20)):
            pair = Pair(run, (*STOPPED, OFTEN), *(["--resume"] if store.exists() else []))
            pairs.append(pair)
            wait_for_step(run, step)
            pair.processes[killed].kill()
            code, words = pair.ends()[1 - killed]
            assert code == 2 and "another process of this run ended or fell silent" in words and "--resume" in words
            assert step <= store.current().manifest.facts["step"] < 48
        pairs.append(Pair(run, (*STOPPED, NEVER), "--resume"))
        for pair in (pairs[0], pairs[-1]):
            assert pair.ends() == [(0, ANY), (0, ANY)]
    finally:
        for pair in pairs:
            pair.kill()
    assert final_bits(run) == final_bits(tmp_path / "whole")


def test_what_one_process_began_is_not_continued_by_two(tiny_run_copy):
    pair = Pair(tiny_run_copy, (), "--resume")
    try:
        ends = pair.ends()
    finally:
        pair.kill()
    for code, words in ends:
        assert code == 2 and "processes was 1, is 2" in words
