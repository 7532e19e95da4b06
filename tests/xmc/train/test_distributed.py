"""Invariants: two processes learn what one learns, within 1e-5, and hold the same bits; what goes wrong on one ends
both with the same words."""

import json
import os
import socket
from datetime import timedelta
from pathlib import Path

import distributed_cases
import forked
import pytest
import torch
from distributed_cases import CASES, learned
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from xmc.errors import ConfigError, DeviceError, PeerError
from xmc.train import process_group as module
from xmc.train.distributed import ALONE, Ranks
from xmc.train.process_group import is_first_process, process_group


def launcher_environment(rank: int, port: int, size: int = 2) -> dict[str, str]:
    return {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory) -> Path:
    """What both ranks of all cases left; this process is rank 0."""
    folder, port = tmp_path_factory.mktemp("ranks"), free_port()
    other = forked.Forked(distributed_cases.join, folder, env={**os.environ, **launcher_environment(1, port)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PATIENCE", timedelta(seconds=120))
        for name, value in launcher_environment(0, port).items():
            patch.setenv(name, value)
        try:
            with process_group("cpu") as ranks:
                distributed_cases.run_all(ranks, folder)
            assert other.wait(120) == 0
        finally:
            other.kill()
    return folder


@pytest.mark.parametrize("case", CASES)
def test_two_processes_learn_what_one_learns(two_ranks, tmp_path, case):
    alone = learned(case, tmp_path)
    first, second = (load_file(two_ranks / f"{case}.{rank}") for rank in (0, 1))
    assert first.keys() == second.keys() == alone.keys()
    for name in alone:
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], alone[name], rtol=1e-5, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_the_cases_do_learn(two_ranks):
    for case, (make_encoder, *_) in CASES.items():
        before, after = make_encoder().module.state_dict(), load_file(two_ranks / f"{case}.0")
        assert any((after[name] - tensor).abs().max() > 0.01 for name, tensor in before.items()), case


def test_only_rank_0_writes(two_ranks):
    versions = list((two_ranks / "all labels.run" / "checkpoint").glob("v*"))
    assert len(versions) == 1 and not list(two_ranks.rglob(".tmp-*"))


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("nan", "NonFiniteError", "step 0: the loss is not finite for batch rows [1, 2] (2 in all)."),
        ("signal", "InterruptedRunError", "stopped by signal 15 after step 3 of 9; the checkpoint is safe."),
        ("refused", "DataError", "rank 1 finds no data. Copy it."),
        ("drift", "PeerError", "the encoders of the processes have drifted apart."),
    ],
)
def test_what_goes_wrong_on_one_rank_ends_both_with_the_same_words(two_ranks, name, kind, words):
    said = [json.loads((two_ranks / f"said.{rank}").read_text())[name] for rank in (0, 1)]
    assert said[0] == said[1] and said[0][0] == kind
    assert said[0][1].startswith(words)


@given(st.integers(1, 7), st.integers(1, 50), st.integers(1, 20))
def test_shares_and_places_are_everything_once(size, count, batch_size):
    shares = Ranks(0, size).shares(count)
    assert [row for share in shares for row in range(count)[share]] == list(range(count))
    sizes = [share.stop - share.start for share in shares]
    assert max(sizes) - min(sizes) <= 1
    places = Ranks(0, size).places(count, batch_size)
    assert sorted(place for part in places for place in part.tolist()) == list(range(count))
    for start in range(0, count, batch_size):
        batch = range(start, min(count, start + batch_size))
        sizes = [sum(place in batch for place in part.tolist()) for part in places]
        assert max(sizes) - min(sizes) <= 1, "no rank waits for another in any batch"


def test_alone_everything_is_as_it_was(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with process_group("cpu") as ranks, ranks.together():
        assert ranks == ALONE and ranks.writes and is_first_process()
        value = torch.tensor([1.0, 2.0])
        assert ranks.sum(value) is value and ranks.largest([3, 4]) == [3, 4]
        assert ranks.gather(value).tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(("rank", "size", "first"), [("0", "2", True), ("1", "2", False), ("1", "1", True)])
def test_the_first_of_several_processes(monkeypatch, rank, size, first):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    assert is_first_process() is first


def test_half_an_environment_is_refused(monkeypatch):
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"WORLD_SIZE is set, but .*torchrun"), process_group("cpu"):
        pass


def test_a_rank_that_never_comes(monkeypatch):
    for name, value in launcher_environment(0, free_port()).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(module, "PATIENCE", timedelta(seconds=1))
    with pytest.raises(PeerError, match="did not find each other"), process_group("cpu"):
        pass


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_process_without_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(DeviceError, match="process 0 of this machine has no GPU: torch sees 0"), process_group("cuda"):
        pass
