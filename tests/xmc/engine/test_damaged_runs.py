"""Invariants: whatever is done to whichever stored file, the folder is refused with an error that names a file in it,
by the store, before anything in the folder is parsed; what is not damaged opens."""

import itertools
import random
import shutil
import traceback
from collections import Counter
from pathlib import Path

import pytest
import safetensors.numpy
import safetensors.torch
from damage import KINDS, damaged, files_of
from repetitions import repetitions

import xmc
import xmc_index_faiss.saved
from xmc.errors import ArtifactError
from xmc.plugin_manager import load_plugins
from xmc.retrieve.label_edits import read_edits
from xmc.retrieve.layout import encoder_store, index_store, labels_store
from xmc.retrieve.retriever import Retriever
from xmc.store import VersionedFolder, manifest
from xmc.train import checkpoint

PLUGINS = load_plugins()


BACKENDS = {"exact": [], "faiss.flat": [], "faiss.ivf": ["index.storage=sq8"], "faiss.hnsw": []}


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    """A copy of the tiny run; each of its index folders has a version before the current one."""
    copies = {}
    for backend, settings in BACKENDS.items():
        copies[backend] = tmp_path_factory.mktemp("damaged") / "run"
        shutil.copytree(tiny_run, copies[backend])
        xmc.index_run(copies[backend], settings=[f"index.name={backend}", *settings])
    xmc.add_labels(copies["exact"], {"new": "purple banana"})
    return copies


class Parsers:
    """Watches the parsers of binary and text files; `parsed` lists what they were given."""

    def __init__(self, monkeypatch) -> None:
        self.parsed: list[str] = []
        self._watch(monkeypatch, safetensors.torch, "load_file")
        self._watch(monkeypatch, safetensors.numpy, "load_file")
        self._watch(monkeypatch, checkpoint, "load_file")
        self._watch(monkeypatch, xmc_index_faiss.saved, "read_faiss")
        self._watch(monkeypatch, Path, "read_text")  # the store reads bytes

    def _watch(self, monkeypatch, owner, name) -> None:
        real = getattr(owner, name)

        def watched(path, *rest, **more):
            self.parsed.append(str(path))
            return real(path, *rest, **more)

        monkeypatch.setattr(owner, name, watched)


def open_run(run: Path) -> None:
    Retriever.load(run, plugins=PLUGINS)


def open_checkpoint(run: Path) -> None:
    store = checkpoint.open_store(run)
    loaded = checkpoint.load_checkpoint(store, fingerprint=store.current().manifest.facts["fingerprint"])
    safetensors.torch.load_file(loaded.folder / "optimiser.safetensors")


TARGETS = {
    "encoder": ("exact", encoder_store, open_run),
    "exact index": ("exact", index_store, open_run),
    "faiss index": ("faiss.flat", index_store, open_run),
    "faiss.ivf with codes, bounds and vectors": ("faiss.ivf", index_store, open_run),
    "faiss.hnsw": ("faiss.hnsw", index_store, open_run),
    "checkpoint": ("exact", checkpoint.open_store, open_checkpoint),
    "labels": ("exact", labels_store, read_edits),
}


def refusals(store: VersionedFolder, open_it, run: Path, parsers: Parsers, *, rounds: int = 1, seed: int):
    """Do every kind of damage to every file, and that so many times, elsewhere in the file each time.

    Yields (what was done, error, parsed files).
    """
    generator = random.Random(seed)
    every = list(itertools.product(files_of(store.root, store.current().folder), KINDS))
    for path, kind in every * rounds:
        with damaged(path, kind, generator) as changed:
            if not changed:
                continue
            parsers.parsed.clear()
            error = None
            try:
                open_it(run)
            except Exception as raised:
                error = raised
            yield f"{kind.__name__}: {path}", error, [name for name in parsers.parsed if str(store.root) in name]


@pytest.mark.parametrize("target", TARGETS)
def test_every_mutant_is_refused_before_it_is_parsed(run, monkeypatch, target):
    backend, open_store, open_it = TARGETS[target]
    store, parsers = open_store(run[backend]), Parsers(monkeypatch)
    open_it(run[backend])
    assert any(str(store.root) in name for name in parsers.parsed), "undamaged, it is parsed"
    seen, rounds = Counter(), repetitions(3, full=50)
    for done, error, parsed in refusals(store, open_it, run[backend], parsers, rounds=rounds, seed=100):
        assert isinstance(error, ArtifactError), (done, error)
        assert not parsed, done
        frames = traceback.extract_tb(error.__traceback__)
        assert "/xmc/store/" in frames[-1].filename, done
        assert names_a_file(str(error), store), (done, str(error))
        seen[done.partition(": ")[2]] += 1
    assert set(seen) == {str(path) for path in files_of(store.root, store.current().folder)}
    assert min(seen.values()) >= rounds * (len(KINDS) - 4), "hardly a kind of damage leaves a file as it was"
    open_it(run[backend])  # all damage was undone: it was the damage that was refused


def names_a_file(message: str, store: VersionedFolder) -> bool:
    return str(store.root) in message and ("CURRENT" in message or f"{store.root}/v" in message)


def test_without_the_verification_mutants_get_through(run, monkeypatch):
    """The protection removed: or the test above proves nothing."""

    def trust(folder, *, kind, manifest_sha256=None, only=None):
        del kind, manifest_sha256, only
        path = folder / manifest.MANIFEST_NAME
        return manifest._parse(path, path.read_bytes())

    monkeypatch.setattr("xmc.store.versions.verify_folder", trust)
    store, parsers = encoder_store(run["exact"]), Parsers(monkeypatch)
    found = list(itertools.islice(refusals(store, open_run, run["exact"], parsers, seed=1), 60))
    assert sum(error is None for _, error, _ in found) > 10, "opened as if nothing had happened"
    assert any(parsed for _, _, parsed in found)
