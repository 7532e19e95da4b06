"""Invariants: a writer that runs out of space says so and names a path; the earlier version stays; no rest is left.

The limit is put on the size of a file (which works without privileges), and on a real full disk where mounting works.
"""

import contextlib
import errno
import os
import resource
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

import xmc
from xmc.api import HeadContext
from xmc.data.shards import write_table
from xmc.data.tables import LabelTable
from xmc.engine.run_config import read_run_config
from xmc.plugin_manager import load_plugins
from xmc.retrieve.layout import encoder_store, index_store
from xmc.retrieve.trained_model import commit_model
from xmc.store import VersionedFolder, write_bytes, write_json
from xmc.train.checkpoint import Progress, open_store, save_checkpoint
from xmc.train.curve import write_curve_table

FULL = (errno.ENOSPC, errno.EFBIG)
LAST_BYTES = [1, 2, 100, 511, 512, 513, 1000, 2048, 4095, 4096, 4097, 6000, 8192, 10_000, 12_288, 14_000, 16_384]


@contextlib.contextmanager
def no_file_above(size: int):
    """No file can grow beyond `size` bytes in the block; the write fails with EFBIG, as on a full disk with ENOSPC."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def sizes_below(largest: int) -> list[int]:
    """At least 20 limits under which a file of `largest` bytes does not fit."""
    spread = [largest * part // 12 for part in range(12)]
    return sorted({largest - last for last in LAST_BYTES if last < largest} | set(spread))


def _write_curve(path: Path, epochs: int, write) -> None:
    row = {"step": 7, "loss": 0.123456789, "validation_p1": 0.5, "learning_rate": 0.01, "seconds": 1.0}
    write(path, [{"epoch": epoch, **row} for epoch in range(1, epochs + 1)])


def _noise(size: int) -> pa.Table:
    return pa.table({"x": np.random.default_rng(0).random(size // 8)})


FILE_WRITERS = {
    "bytes": lambda path, size: write_bytes(path, bytes(size)),
    "json": lambda path, size: write_json(path, list(range(size // 8))),
    "table": lambda path, size: _write_curve(path, size // 40, write_curve_table),
    "parquet": lambda path, size: write_table(path.with_suffix(".parquet"), _noise(size)),
    "arrow": lambda path, size: write_table(path.with_suffix(".arrow"), _noise(size)),
}


@pytest.mark.parametrize("name", FILE_WRITERS)
def test_a_file_writer_reports_a_full_disk(tmp_path, name):
    write = FILE_WRITERS[name]
    write(tmp_path / "file", 20_000)
    before = snapshot(tmp_path)
    (path,) = tmp_path.iterdir()
    write(tmp_path / "file", 40_000)
    largest = path.stat().st_size
    write(tmp_path / "file", 20_000)
    before = snapshot(tmp_path)
    limits = sizes_below(largest)
    assert len(limits) >= 20
    for limit in limits:
        with pytest.raises(OSError, match="could not write") as caught, no_file_above(limit):
            write(tmp_path / "file", 40_000)
        assert caught.value.errno in FULL, limit
        assert caught.value.filename == str(path)
        assert snapshot(tmp_path) == before, limit
    with no_file_above(largest):  # null control: it fits
        write(tmp_path / "file", 40_000)
    assert path.stat().st_size == largest


def _save_checkpoint(run: Path) -> None:
    config = read_run_config(load_plugins(), run)
    options = config.encoder.options
    encoder = options.load_training(open_store(run).current().folder / "encoder")
    optimizer = torch.optim.AdamW(encoder.module.parameters())
    encoder.embed(encoder.prepare(["fog"], "query"), "query").sum().backward()
    optimizer.step()
    head = config.head.options.build(HeadContext(labels=1, dimension=1, similarity="cosine"))
    random_states = torch.get_rng_state()[None]
    save_checkpoint(
        open_store(run),
        encoder,
        head.state(),
        optimizer,
        Progress(step=1),
        fingerprint={},
        random_states=random_states,
    )


def _save_encoder_again(run: Path) -> None:
    config = read_run_config(load_plugins(), run)
    encoder = config.encoder.options.load_training(open_store(run).current().folder / "encoder")
    head = config.head.options.build(HeadContext(labels=1, dimension=1, similarity="cosine"))
    sections = {"encoder_section": config.encoder.to_dict(), "head_section": config.head.to_dict()}
    commit_model(run, encoder, head, LabelTable(["a"], ["fog"]), **sections)


FOLDER_WRITERS = {
    "checkpoint": (open_store, _save_checkpoint),
    "encoder": (encoder_store, _save_encoder_again),
    "exact index": (index_store, lambda run: xmc.index_run(run)),
    "faiss index": (index_store, lambda run: xmc.index_run(run, settings=["index.name=faiss.flat"])),
}


@pytest.mark.parametrize("name", FOLDER_WRITERS)
def test_a_folder_writer_reports_a_full_disk(tiny_run_copy, name):
    open_folder, write = FOLDER_WRITERS[name]
    store = open_folder(tiny_run_copy)
    write(tiny_run_copy)
    sizes = sorted({size for size, _ in store.current().manifest.files.values()})
    before, version = snapshot(tiny_run_copy), store.current()
    limits = sorted({*sizes_below(sizes[-1]), *(size - 1 for size in sizes)})  # each file is the one that fails once
    assert len(limits) >= 20
    for limit in limits:
        with pytest.raises(OSError, match="could not write") as caught, no_file_above(limit):
            write(tiny_run_copy)
        assert caught.value.errno in FULL, limit
        assert str(store.root) in str(caught.value.filename)
        assert snapshot(tiny_run_copy) == before, limit
    assert store.current() == version
    with no_file_above(max(sizes) + 64):  # null control
        write(tiny_run_copy)
    assert store.current().folder != version.folder


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("mounting needs privileges")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_really_full_disk(small_disk):
    store = VersionedFolder(small_disk / "thing", kind="thing")
    reported = 0
    for size in range(100_000, 300_000, 4000):
        shutil.rmtree(store.root, ignore_errors=True)
        with store.new_version() as folder:
            (folder / "a.bin").write_bytes(bytes(40_000))
        version, before = store.current(), snapshot(small_disk)
        try:
            with store.new_version() as folder:
                (folder / "a.bin").write_bytes(bytes(size // 2))
                (folder / "b.bin").write_bytes(bytes(size // 2))
        except OSError as error:
            reported += 1
            assert error.errno == errno.ENOSPC
            assert str(store.root) in str(error.filename)
            assert snapshot(small_disk) == before
        else:
            assert store.current().folder != version.folder
    assert 20 <= reported < 50


def test_without_the_size_check_and_the_temporary_file_a_full_disk_leaves_a_torn_file(tmp_path):
    """The protection removed: a plain writer in place must fail this file's invariants, or they prove nothing."""
    path = tmp_path / "file"
    path.write_bytes(bytes(20_000))
    before = snapshot(tmp_path)
    with pytest.raises(OSError, match="File too large"), no_file_above(30_000):
        path.write_bytes(bytes(40_000))
    assert snapshot(tmp_path) != before
