"""Everything `xmc train` does: train, build the index, fit the second stage where there is one, write the card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from xmc.api import PlacedBackend
from xmc.counted import counted
from xmc.data.dataset import Dataset
from xmc.engine.carried import Carried
from xmc.engine.devices import choose_device
from xmc.engine.indexing import run_indexing
from xmc.engine.model_card import write_card
from xmc.engine.progress import Progress, say_nothing
from xmc.engine.replacement import put_in_place, telling_what_stays
from xmc.engine.reranking import run_reranking
from xmc.engine.run_config import RunConfig
from xmc.engine.run_folder import OF_A_RUN
from xmc.engine.training import run_training
from xmc.plugin_manager import Plugins
from xmc.retrieve.layout import work_folder
from xmc.retrieve.reranking import NONE
from xmc.store import locked
from xmc.train.plan import Plan
from xmc.train.process_group import is_first_process
from xmc.train.reporter import Reporter


def make_run(
    config: RunConfig,
    run: Path,
    *,
    plugins: Plugins,
    resume: bool = False,
    overwrite: bool = False,
    reporter: Reporter | None = None,
    on_plan: Callable[[Plan, Dataset], None] | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: Progress = say_nothing,
) -> dict[str, Any]:
    """Make the run and return the report of its training, with `index` and `rerank` in it.

    With `overwrite` a run that is there stays until the new one is whole, whatever becomes of that. On several
    processes all but the first return after training. Raises: what the three steps raise; a device on which the index
    cannot lie, labels that are too few for it, and a second stage without data are refused before training.
    """
    carried = Carried()
    require_devices(config)
    with telling_what_stays(run, overwrite=overwrite):
        report = run_training(
            config,
            run,
            plugins=plugins,
            resume=resume,
            overwrite=overwrite,
            reporter=reporter,
            on_plan=on_plan,
            say=say,
            carried=carried,
        )
        if not is_first_process():
            return report
        if report.get("stopped_early"):
            say(early_stop_words(report, config.train.patience))
        work = work_folder(run)
        with locked(run) if work != run else nullcontext():
            report |= _finish(config, work, plugins=plugins, carried=carried, say=say, progress=progress)
            if work != run:
                put_in_place(run, OF_A_RUN)
    if work != run:
        write_card(run, plugins=plugins)  # again, for it names the folder
    return report


def require_devices(config: RunConfig) -> None:
    """Refuse a device that is not there, or on which the index cannot lie. Raises: ConfigError, DeviceError."""
    choose_device(config.train.device)
    if isinstance(backend := config.index.options, PlacedBackend):
        backend.require_device(config.train.device)


def early_stop_words(report: Mapping[str, Any], patience: int) -> str:
    """What is said of a training that ended before its last epoch.

    >>> early_stop_words({"epochs_run": 4}, 3)
    'stopped early after epoch 4: validation P@1 had not improved for 3 epochs (train.patience)'
    """
    epochs = counted(patience, "epoch")
    return (
        f"stopped early after epoch {report['epochs_run']}: validation P@1 had not improved for {epochs} "
        "(train.patience)"
    )


def _finish(
    config: RunConfig,
    folder: Path,
    *,
    plugins: Plugins,
    carried: Carried,
    say: Callable[[str], None],
    progress: Progress,
) -> dict[str, Any]:
    """Build the index of a trained model, write the card, fit the second stage; their reports by name."""
    device = config.train.device
    say("building the index")
    index = run_indexing(config, folder, plugins=plugins, device=device, carried=carried)
    if index.query_weight:
        say(f"labels moved towards their training queries: each counts {index.query_weight:.3g} of a label's text")
    reports = {"index": asdict(index)}
    write_card(folder, plugins=plugins)
    if config.second_stage != NONE:
        say(f"fitting the second stage {config.second_stage}")
        reports["rerank"] = run_reranking(
            config, folder, plugins=plugins, device=device, progress=progress, carried=carried
        )
    return reports
