"""Invariants: a process takes itself for no larger than its control groups let it be, without any for what it is.

And it starts no more threads than that, unless it is told how many.
"""

import os

import pytest

from xmc.errors import XmcWarning
from xmc.machine import available_memory, cores, keep_threads_to_quota, warn_of_threads_beyond_quota

MEMINFO = "MemTotal: 64000000 kB\nMemAvailable:   32000000 kB\n"


@pytest.fixture
def machine(tmp_path):
    """A function that makes the files of a machine whose groups have these limits."""

    def make(name="/", **groups):
        proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
        (proc / "self").mkdir(parents=True)
        (proc / "meminfo").write_text(MEMINFO)
        (proc / "self" / "cgroup").write_text(f"1:name=systemd:/x\n0::{name}\n")
        for group, files in groups.items():
            folder = cgroups / ("" if group == "root" else group.replace("__", "/"))
            folder.mkdir(parents=True, exist_ok=True)
            for file, text in files.items():
                (folder / file).write_text(text)
        return {"proc": proc, "cgroups": cgroups}

    return make


def memory(most, current, inactive):
    return {
        "memory.max": f"{most}\n",
        "memory.current": f"{current}\n",
        "memory.stat": f"anon 5\ninactive_file {inactive}\n",
    }


def test_a_container_sees_its_own_group_as_the_root(machine):
    files = machine(root={**memory(8 << 30, 3 << 30, 1 << 30), "cpu.max": "150000 100000\n"})
    assert available_memory(**files) == 6 << 30
    assert cores(**files) == 1


def test_the_tightest_of_the_groups_around_it_counts(machine):
    files = machine("/a/b", root={"cpu.max": "max 100000"}, a=memory(4 << 30, 5 << 30, 0), a__b=memory("max", 1, 0))
    assert available_memory(**files) == 0
    assert cores(**files) == len(os.sched_getaffinity(0))


def test_without_groups_it_is_the_machine(machine, tmp_path):
    files = machine("/../outside")
    assert available_memory(**files) == 32_000_000 << 10
    nothing = {"proc": tmp_path / "none", "cgroups": tmp_path / "none"}
    assert available_memory(**nothing) > 1 << 20 and cores(**nothing) == len(os.sched_getaffinity(0))


@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))


@pytest.mark.usefixtures("eight_cores")
def test_threads_are_kept_to_the_quota(machine):
    environment = {"PATH": "/bin"}
    keep_threads_to_quota(environment, **machine(root={"cpu.max": "250000 100000"}))
    assert environment.pop("PATH") == "/bin"
    assert environment["OMP_NUM_THREADS"] == "2" and set(environment.values()) == {"2"}


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(("given", "quota"), [({"OMP_NUM_THREADS": "5"}, "250000"), ({}, "max"), ({}, "800000")])
def test_threads_stay_where_they_are_given_or_no_quota_is_smaller(machine, given, quota):
    environment = dict(given)
    keep_threads_to_quota(environment, **machine(root={"cpu.max": f"{quota} 100000"}))
    assert environment == given


@pytest.mark.usefixtures("eight_cores")
def test_a_program_with_more_threads_than_its_quota_is_warned(machine, monkeypatch):
    files = machine(root={"cpu.max": "200000 100000"})
    warn_of_threads_beyond_quota(8, **files)  # the tests' one thread was chosen
    monkeypatch.delenv("OMP_NUM_THREADS")
    warn_of_threads_beyond_quota(2, **files)
    with pytest.warns(XmcWarning, match=r"8 threads, .* 2 of 8 cores.*OMP_NUM_THREADS=2"):
        warn_of_threads_beyond_quota(8, **files)
