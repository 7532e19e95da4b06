"""Train a run from a configuration: data -> encoder and head -> trained model in the run folder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from xmc.api import CountedBackend, WholeHeadOptions
from xmc.counted import counted
from xmc.data.dataset import Dataset
from xmc.engine.carried import Carried
from xmc.engine.devices import choose_device
from xmc.engine.job import Job, fingerprint
from xmc.engine.moved_labels import require_movable, require_movable_head
from xmc.engine.reranking import require_second_stage
from xmc.engine.run_config import RunConfig, how_data_differs
from xmc.engine.run_folder import check_folder
from xmc.engine.step_training import train_in_steps
from xmc.engine.train_start import train_start
from xmc.engine.training_folder import training_folder
from xmc.engine.training_set import load_for_training, with_label_scope
from xmc.engine.whole_fit import fit_whole, refuse_what_a_whole_fit_lacks
from xmc.plugin_manager import Plugins
from xmc.retrieve.layout import work_folder
from xmc.retrieve.run_plugins import PLUGINS_FILE, TRAINING, warn_of_other_files
from xmc.store import locked
from xmc.store.lock import LOCK_NAME
from xmc.train.checkpoint import Checkpoint, load_checkpoint, open_store
from xmc.train.distributed import ALONE
from xmc.train.plan import Plan
from xmc.train.process_group import process_group
from xmc.train.reporter import Reporter, SilentReporter
from xmc.values import RunInfo

MANY_TEXTS = 200_000  # so many take seconds before the first step, in which nothing would be seen


def run_training(
    config: RunConfig,
    run: Path,
    *,
    plugins: Plugins,
    resume: bool = False,
    overwrite: bool = False,
    reporter: Reporter | None = None,
    on_plan: Callable[[Plan, Dataset], None] | None = None,
    say: Callable[[str], None] = lambda line: None,
    carried: Carried | None = None,
) -> dict[str, Any]:
    """Train into the folder `run` and return the training report (also in `run/train.json`).

    With `overwrite`, where there is a run, the new one is in `work_folder(run)`, for the caller to put it in its place
    when it is whole. When nothing was trained the folder is left as it was.
    `carried` receives the data set and the prepared training queries, for what comes next in this process.
    Under `torchrun` or `accelerate launch` all processes call it alike and train together; rank 0 writes and reports.
    Raises: ConfigError when `run` holds something and neither `resume` nor `overwrite` is set; PeerError when another
    process ends; what data, encoder and loop raise.
    """
    with process_group(choose_device(config.train.device)) as ranks, ExitStack() as held:
        with ranks.together():
            if ranks.writes:
                with locked(run) if (run / LOCK_NAME).exists() else nullcontext():  # a new folder is not made for it
                    check_folder(run, resume=resume, overwrite=overwrite)
            refuse_what_a_whole_fit_lacks(config, ranks)
            require_movable_head(config)
        carried = carried or Carried()
        data = carried.load(config)
        given, config = config, with_label_scope(config, data)
        require_fitting(config, data)
        with ranks.together():
            made_of = fingerprint(config, data, ranks)  # reads what settings name, before anything is overwritten
        with ranks.together():
            if ranks.writes:
                held.enter_context(training_folder(run, resume=resume, overwrite=overwrite))
        work = work_folder(run)
        checkpoint, store = None, open_store(work)
        with ranks.together():
            if resume and store.exists():
                about_data = partial(how_data_differs, config, work)
                checkpoint = load_checkpoint(store, fingerprint=made_of, about_data=about_data)
        if ranks.writes:
            given.write(work)  # only now: a refused resume leaves the run's own in place
            if checkpoint and (work / PLUGINS_FILE).is_file():  # what it was begun with is what is remembered
                warn_of_other_files(work, plugins, TRAINING, stacklevel=2)
            else:
                given.write_plugins(work, plugins=plugins)
        if ranks.writes and (texts := len(data.train) + len(data.labels)) >= MANY_TEXTS:
            say(f"reading {counted(texts, 'text')} of training queries and labels; then the plan")
        info = RunInfo(str(work), config.to_dict(), len(data.train), len(data.labels))
        job = Job(config, work, data, plugins, info, reporter or SilentReporter(), on_plan, ranks, carried)
        return _observed(job, checkpoint) if ranks.writes else _train(job, checkpoint)


def plan_training(config: RunConfig, *, plugins: Plugins) -> tuple[Dataset, Plan | None]:
    """The data set and the plan of a training that is not begun; no plan for a head that is fitted in one go.

    The data is read, encoder and head are built, and nothing is written. Raises: as `run_training` before its first
    step.
    """
    refuse_what_a_whole_fit_lacks(config, ALONE)
    require_movable_head(config)
    data = load_for_training(config)
    config = with_label_scope(config, data)
    require_fitting(config, data)
    if isinstance(config.head.options, WholeHeadOptions):
        return data, None
    info = RunInfo("", config.to_dict(), len(data.train), len(data.labels))
    return data, train_start(Job(config, Path(), data, plugins, info, SilentReporter())).plan


def require_fitting(config: RunConfig, data: Dataset) -> None:
    """Refuse data that do not go with index, moved labels or second stage. Raises: ConfigError, DataError."""
    if isinstance(backend := config.index.options, CountedBackend):
        backend.require_labels(len(data.labels))
    require_movable(config, data)
    require_second_stage(config, data)


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
    if isinstance(job.config.head.options, WholeHeadOptions):
        return fit_whole(job)
    return train_in_steps(job, checkpoint)
