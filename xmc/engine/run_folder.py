"""What belongs to a run folder; may a run be trained into a folder, and making it ready."""

from __future__ import annotations

import shutil
from pathlib import Path

from xmc.config import read_toml
from xmc.engine.replacement import STAGES, discard, finish_replacement
from xmc.engine.run_config import FILE_NAME
from xmc.errors import ConfigError, first_few
from xmc.retrieve.layout import REPLACEMENT, encoder_store, work_folder
from xmc.retrieve.run_plugins import PLUGINS_FILE
from xmc.store import remove_temporaries, require_folders_above
from xmc.store.atomic import TEMPORARY_PREFIX
from xmc.store.lock import LOCK_NAME
from xmc.train.augmented_queries import open_augmented
from xmc.train.checkpoint import open_store
from xmc.train.hard_negatives import open_negatives
from xmc.utf8 import is_utf8

WRITTEN_FILES = (FILE_NAME, PLUGINS_FILE, "curve.csv", "curve.png", "train.json", "rerank.json", "README.md")
REPORT_FILES = ("report.json", "roc.csv", "roc.png")
FOLDERS = (
    *("augmented", "checkpoint", "checks", "diagnosis", "encoder", "hits", "index", "labels", "negatives"),
    *("passages", "reranker"),
)
OF_A_RUN = frozenset((*WRITTEN_FILES, *REPORT_FILES, *FOLDERS))
SECTIONS = frozenset(("data", "encoder", "loss", "train", "index"))  # which the configuration of every run has


def check_folder(run: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse a folder that must not be written into; touches nothing in it.

    Raises: ConfigError when it, or what is above it, is a file, when it holds something and neither flag is set, holds
    something but no run, or is to be overwritten and holds files that no run has.
    """
    if resume and overwrite:
        raise ConfigError("--resume goes on with a run and --overwrite replaces it: give only one of them.")
    if not is_utf8(str(run)):
        raise ConfigError(f"the folder {str(run)!a} has a name that is not UTF-8.", hint="Give another --out.")
    require_folders_above(run)
    if run.exists() and not run.is_dir():
        raise ConfigError(f"{run} is a file; a run is a folder.", hint="Give another --out.")
    present = present_in(run)
    if not present:
        return
    if not (resume or overwrite):
        raise ConfigError(
            f"{run} is not empty.", hint="Use --resume to go on, --overwrite to start anew, or another --out."
        )
    done = "overwritten" if overwrite else "continued"
    if not any(holds_run(run / stage) for stage in ("", *STAGES)):
        reason = f"its {FILE_NAME} is not that of a run" if (run / FILE_NAME).exists() else f"it has no {FILE_NAME}"
        raise ConfigError(f"{run} is not a run folder ({reason}): it is not {done}.", hint="Give another --out.")
    foreign = sorted(path.name for path in present if path.name not in (*OF_A_RUN, *STAGES))
    if overwrite and foreign:
        raise ConfigError(
            f"{run} holds {first_few(foreign, str)}, which no command of xmc wrote: it is not overwritten.",
            hint="Move that elsewhere, or give another --out.",
        )


def prepare_folder(run: Path, *, resume: bool, overwrite: bool) -> Path:
    """Make the folder, whose lock is held, ready; where in it the training writes.

    With `overwrite` that is an empty folder in it, and the run that is there stays (see `xmc.engine.replacement`). What
    killed writers left is removed.
    """
    check_folder(run, resume=resume, overwrite=overwrite)
    remove_temporaries(run, (*WRITTEN_FILES, *STAGES))
    finish_replacement(run, OF_A_RUN)
    if overwrite:
        discard(run / REPLACEMENT)
        if present_in(run):
            (run / REPLACEMENT).mkdir()
    work = work_folder(run)
    remove_temporaries(work, WRITTEN_FILES)
    open_store(work).remove_orphans()
    encoder_store(work).remove_orphans()
    open_negatives(work).remove_orphans()
    open_augmented(work).remove_orphans()
    return work


def holds_run(folder: Path) -> bool:
    """Whether a folder has the configuration of a run, whatever else it holds."""
    try:
        return read_toml(folder / FILE_NAME).keys() >= SECTIONS
    except ConfigError:
        return False


def remove_run(run: Path) -> None:
    """Remove a run folder that may be there, such as a killed command left.

    Raises: ConfigError, touching nothing, when it is no run or holds files that no run has.
    """
    if run.exists():
        check_folder(run, resume=False, overwrite=True)
        shutil.rmtree(run)


def present_in(run: Path) -> list[Path]:
    """What a folder holds beside the lock and what a killed writer left."""
    names = run.iterdir() if run.exists() else ()
    return [path for path in names if path.name != LOCK_NAME and not path.name.startswith(TEMPORARY_PREFIX)]
