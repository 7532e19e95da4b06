"""Train a run from a configuration: data -> encoder and head -> trained model in the run folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from xmc.api import WholeHeadOptions
from xmc.data.dataset import Dataset
from xmc.engine.job import Job, fingerprint
from xmc.engine.run_config import RunConfig
from xmc.engine.run_folder import check_folder, prepare_folder
from xmc.engine.step_training import train_in_steps
from xmc.engine.training_set import load_for_training
from xmc.engine.whole_fit import fit_whole
from xmc.plugin_manager import Plugins
from xmc.store import locked
from xmc.store.lock import LOCK_NAME
from xmc.train.checkpoint import load_checkpoint, open_store
from xmc.train.loop import Reporter, SilentReporter
from xmc.train.plan import Plan
from xmc.values import RunInfo


def run_training(
    config: RunConfig,
    run: Path,
    *,
    plugins: Plugins,
    resume: bool = False,
    overwrite: bool = False,
    reporter: Reporter | None = None,
    on_plan: Callable[[Plan, Dataset], None] | None = None,
) -> dict[str, Any]:
    """Train into the folder `run` and return the training report (also in `run/train.json`).

    Raises: ConfigError when `run` holds something and neither `resume` nor `overwrite` is set; what data, encoder and
    loop raise.
    """
    if not (run / LOCK_NAME).exists():  # no run was ever here, so not even a lock is left in it
        check_folder(run, resume=resume, overwrite=overwrite)
    data = load_for_training(config)
    with locked(run):
        prepare_folder(run, resume=resume, overwrite=overwrite)
        store = open_store(run)
        checkpoint = None
        if resume and store.exists():
            checkpoint = load_checkpoint(store, fingerprint=fingerprint(config, data))
        config.write(run)  # only now: a refused resume leaves the run's own configuration in place
        info = RunInfo(str(run), config.to_dict(), len(data.train), len(data.labels))
        error: BaseException | None = None
        try:
            plugins.run_started(info)
            job = Job(config, run, data, plugins, info, reporter or SilentReporter(), on_plan)
            if isinstance(config.head.options, WholeHeadOptions):
                return fit_whole(job)
            return train_in_steps(job, checkpoint)
        except BaseException as raised:
            error = raised
            raise
        finally:
            plugins.run_finished(info, error)
