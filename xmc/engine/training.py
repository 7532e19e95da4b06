"""Train a run from a configuration: data -> encoder and head -> trained model in the run folder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from xmc.api import WholeHeadOptions
from xmc.data.dataset import Dataset
from xmc.engine.carried import Carried
from xmc.engine.devices import choose_device
from xmc.engine.job import Job, fingerprint
from xmc.engine.run_config import RunConfig
from xmc.engine.run_folder import check_folder, prepare_folder
from xmc.engine.step_training import train_in_steps
from xmc.engine.whole_fit import fit_whole
from xmc.errors import ConfigError
from xmc.plugin_manager import Plugins
from xmc.store import locked
from xmc.store.lock import LOCK_NAME
from xmc.train.checkpoint import Checkpoint, load_checkpoint, open_store
from xmc.train.plan import Plan
from xmc.train.process_group import process_group
from xmc.train.reporter import Reporter, SilentReporter
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
    carried: Carried | None = None,
) -> dict[str, Any]:
    """Train into the folder `run` and return the training report (also in `run/train.json`).

    `carried` receives the data set and the prepared training queries, for what comes next in this process.
    Under `torchrun` or `accelerate launch` all processes call it alike and train together; rank 0 writes and reports.
    Raises: ConfigError when `run` holds something and neither `resume` nor `overwrite` is set; PeerError when another
    process ends; what data, encoder and loop raise.
    """
    with process_group(choose_device(config.train.device)) as ranks, ExitStack() as held:
        with ranks.together():
            if ranks.writes and not (run / LOCK_NAME).exists():  # where no run ever was, not even a lock is left
                check_folder(run, resume=resume, overwrite=overwrite)
        carried = carried or Carried()
        data = carried.load(config)
        with ranks.together():
            made_of = fingerprint(config, data, ranks)  # reads what settings name, before anything is overwritten
        with ranks.together():
            if ranks.writes:
                held.enter_context(locked(run))
                prepare_folder(run, resume=resume, overwrite=overwrite)
        checkpoint, store = None, open_store(run)
        with ranks.together():
            if resume and store.exists():
                checkpoint = load_checkpoint(store, fingerprint=made_of)
        if ranks.writes:
            config.write(run, plugins=plugins)  # only now: a refused resume leaves the run's own configuration in place
        info = RunInfo(str(run), config.to_dict(), len(data.train), len(data.labels))
        job = Job(config, run, data, plugins, info, reporter or SilentReporter(), on_plan, ranks, carried)
        return _observed(job, checkpoint) if ranks.writes else _train(job, checkpoint)


def _observed(job: Job, checkpoint: Checkpoint | None) -> dict[str, Any]:
    """Train, and tell the plugins' observers when it begins and how it ends."""
    error: BaseException | None = None
    try:
        job.plugins.run_started(job.info)
        return _train(job, checkpoint)
    except BaseException as raised:
        error = raised
        raise
    finally:
        job.plugins.run_finished(job.info, error)


def _train(job: Job, checkpoint: Checkpoint | None) -> dict[str, Any]:
    if not isinstance(job.config.head.options, WholeHeadOptions):
        return train_in_steps(job, checkpoint)
    if job.config.augmentation.name != "none":
        raise ConfigError(
            f"head '{job.config.head.name}' is fitted in one go, without epochs in which "
            f"'{job.config.augmentation.name}' could rewrite queries.",
            hint="Set augmentation.name=none, or train another head.",
        )
    if job.ranks.size > 1:
        raise ConfigError(
            f"head '{job.config.head.name}' is fitted in one go, by one process, got {job.ranks.size} processes.",
            hint="Start xmc without torchrun.",
        )
    return fit_whole(job)
