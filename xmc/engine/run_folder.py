"""May a run be trained into a folder, and making it ready."""

from __future__ import annotations

import shutil
from pathlib import Path

from xmc.engine.run_config import FILE_NAME
from xmc.errors import ConfigError
from xmc.retrieve.layout import encoder_store
from xmc.retrieve.run_plugins import PLUGINS_FILE
from xmc.store import remove_temporaries
from xmc.store.atomic import TEMPORARY_PREFIX
from xmc.store.lock import LOCK_NAME
from xmc.train.augmented_queries import open_augmented
from xmc.train.checkpoint import open_store
from xmc.train.hard_negatives import open_negatives

WRITTEN_FILES = (FILE_NAME, PLUGINS_FILE, "curve.csv", "curve.png", "train.json", "rerank.json", "README.md")


def check_folder(run: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse a folder that must not be written into; touches nothing in it.

    Raises: ConfigError when it is a file, holds something and neither flag is set, or holds something but no run.
    """
    if resume and overwrite:
        raise ConfigError("--resume goes on with a run and --overwrite deletes it: give only one of them.")
    if run.exists() and not run.is_dir():
        raise ConfigError(f"{run} is a file; a run is a folder.", hint="Give another --out.")
    if not _present(run):
        return
    if not (resume or overwrite):
        raise ConfigError(
            f"{run} is not empty.", hint="Use --resume to go on, --overwrite to start anew, or another --out."
        )
    if not (run / FILE_NAME).is_file():
        done = "overwritten" if overwrite else "continued"
        raise ConfigError(f"{run} is not a run folder (it has no {FILE_NAME}): it is not {done}.")


def prepare_folder(run: Path, *, resume: bool, overwrite: bool) -> None:
    """Make the folder, whose lock is held, ready: empty with `overwrite`, and without what a killed writer left."""
    check_folder(run, resume=resume, overwrite=overwrite)
    remove_temporaries(run, WRITTEN_FILES)
    if overwrite:
        for path in sorted(_present(run), key=lambda path: path.name == FILE_NAME):
            # the configuration goes last: a kill half-way leaves what is still known to be a run
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    open_store(run).remove_orphans()
    encoder_store(run).remove_orphans()
    open_negatives(run).remove_orphans()
    open_augmented(run).remove_orphans()


def _present(run: Path) -> list[Path]:
    """What a folder holds beside the lock and what a killed writer left."""
    names = run.iterdir() if run.exists() else ()
    return [path for path in names if path.name != LOCK_NAME and not path.name.startswith(TEMPORARY_PREFIX)]
