"""Everything `xmc train` does: train, build the index, fit the second stage where there is one, write the card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from xmc.api import PlacedBackend
from xmc.data.dataset import Dataset
from xmc.engine.carried import Carried
from xmc.engine.devices import choose_device
from xmc.engine.indexing import run_indexing
from xmc.engine.model_card import write_card
from xmc.engine.reranking import run_reranking
from xmc.engine.run_config import RunConfig
from xmc.engine.training import run_training
from xmc.plugin_manager import Plugins
from xmc.retrieve.reranking import NONE
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
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Make the run and return the report of its training, with `index` and `rerank` in it.

    On several processes all but the first return after training. Raises: what the three steps raise; a device on which
    the index cannot lie is refused before training.
    """
    carried, device = Carried(), config.train.device
    choose_device(device)
    if isinstance(backend := config.index.options, PlacedBackend):
        backend.require_device(device)
    report = run_training(
        config,
        run,
        plugins=plugins,
        resume=resume,
        overwrite=overwrite,
        reporter=reporter,
        on_plan=on_plan,
        carried=carried,
    )
    if not is_first_process():
        return report
    say("building the index")
    index_report = run_indexing(config, run, plugins=plugins, device=device, carried=carried)
    report["index"] = asdict(index_report)
    write_card(run, plugins=plugins)
    if config.reranker.name != NONE:
        say(f"fitting the reranker {config.reranker.name}")
        report["rerank"] = run_reranking(
            config, run, plugins=plugins, device=device, progress=progress, carried=carried
        )
    return report
