"""The run folder for the time of a training: locked, ready, and as it was before when nothing came of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from xmc.engine.replacement import discard
from xmc.engine.run_config import FILE_NAME
from xmc.engine.run_folder import OF_A_RUN, prepare_folder
from xmc.retrieve.layout import encoder_store
from xmc.retrieve.run_plugins import PLUGINS_FILE
from xmc.store import locked, write_bytes
from xmc.store.lock import LOCK_NAME
from xmc.train.checkpoint import open_store


@contextmanager
def training_folder(run: Path, *, resume: bool, overwrite: bool) -> Iterator[None]:
    """Hold the lock of a folder that is made ready for training (see `prepare_folder`).

    When the block raises before anything was committed, everything that it wrote goes. What stops a process, such as
    Ctrl-C, is no refusal: the configuration stays then, so that `--resume` knows it.
    Raises: LockedError when another process writes there; as `prepare_folder`.
    """
    there, lock_there = run.exists(), (run / LOCK_NAME).exists()
    with locked(run):
        work = prepare_folder(run, resume=resume, overwrite=overwrite)
        written = {path: path.read_bytes() for name in (FILE_NAME, PLUGINS_FILE) if (path := work / name).is_file()}
        try:
            yield
        except Exception:
            if not (open_store(work).exists() or encoder_store(work).exists()):
                _leave_as_it_was(run, work, written)
                if not lock_there:
                    (run / LOCK_NAME).unlink(missing_ok=True)  # still held, see `locked`
                if not there and not any(run.iterdir()):
                    run.rmdir()
            raise


def _leave_as_it_was(run: Path, work: Path, written: Mapping[Path, bytes]) -> None:
    if work != run:
        discard(work)
    elif written:
        for path, content in written.items():
            write_bytes(path, content)
    else:
        for path in (run / name for name in OF_A_RUN):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
