"""A new run that takes the place of one that is there, which stays until the new one is whole.

run/.next          the new run while it is made: `--resume` goes on with it, the run that is there answers as before
run/.next-whole    the same when it is whole; from now on the earlier run is removed
run/.next-moving   the same when the earlier run is gone; its files move up into the run folder

Each stage begins with one rename. A kill at any moment leaves the earlier run, or what `finish_replacement` completes.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from xmc.engine.run_config import FILE_NAME
from xmc.errors import XmcError
from xmc.retrieve.layout import REPLACEMENT, REPLACEMENT_MOVING, REPLACEMENT_WHOLE
from xmc.store.atomic import fsync_folder, temporary_name

STAGES = (REPLACEMENT, REPLACEMENT_WHOLE, REPLACEMENT_MOVING)


def put_in_place(run: Path, names: Collection[str]) -> None:
    """Let the new run, which is whole, take the place of the earlier one, whose files have these names.

    Only for who holds the lock of `run`. Raises: OSError when the disk refuses; the next training goes on with it.
    """
    (run / REPLACEMENT).rename(run / REPLACEMENT_WHOLE)
    fsync_folder(run)
    finish_replacement(run, names)


def finish_replacement(run: Path, names: Collection[str]) -> None:
    """Complete what a killed `put_in_place` began; nothing where nothing was."""
    whole, moving = run / REPLACEMENT_WHOLE, run / REPLACEMENT_MOVING
    if whole.is_dir():
        for name in names:
            _remove(run / name)
        fsync_folder(run)
        whole.rename(moving)
        fsync_folder(run)
    if moving.is_dir():
        for path in sorted(moving.iterdir()):
            path.rename(run / path.name)
        fsync_folder(run)
        moving.rmdir()


def discard(folder: Path) -> None:
    """Remove a folder that may be there, by way of another name: a kill half-way leaves nothing to go on with."""
    if folder.is_dir():
        leaving = folder.with_name(temporary_name(folder.name))
        folder.rename(leaving)
        shutil.rmtree(leaving)


def configuration_to_resume(run: Path) -> Path | None:
    """The configuration of the training that `--resume` goes on with, None where there is none."""
    files = (run / stage / FILE_NAME for stage in (*STAGES, ""))
    return next((file for file in files if file.is_file()), None)


@contextmanager
def telling_what_stays(run: Path, *, overwrite: bool) -> Iterator[None]:
    """Let the error that ends a training which was to replace a run say what became of both."""
    try:
        yield
    except XmcError as error:
        if (run / REPLACEMENT).is_dir():
            stays = (
                f"{run} still holds the earlier run; the new one is in {run / REPLACEMENT} until it is whole, and "
                "--resume goes on with it."
            )
        elif overwrite and (run / FILE_NAME).is_file():
            stays = f"What was in {run} is as it was."
        else:
            raise
        error.hint = f"{error.hint} {stays}".strip()
        raise


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
