"""Invariants: a process takes itself for no larger than its control groups let it be, without any for what it is."""

import os

import pytest

from xmc.predict.machine import available_memory, cores

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
