"""Train a run from a configuration: data -> encoder -> loop -> trained encoder in the run folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from xmc.api import HeadContext
from xmc.data.dataset import Dataset
from xmc.engine.devices import choose_device
from xmc.engine.environment import versions
from xmc.engine.mining import hard_negatives
from xmc.engine.run_config import RunConfig
from xmc.engine.run_folder import check_folder, prepare_folder
from xmc.engine.training_set import epoch_pool, load_for_training, training_set, validation_queries
from xmc.plugin_manager import Plugins
from xmc.retrieve.trained_model import commit_model
from xmc.store import locked, write_json
from xmc.store.lock import LOCK_NAME
from xmc.train.checkpoint import Checkpoint, load_checkpoint, open_store
from xmc.train.curve import write_curve_picture, write_curve_table
from xmc.train.loop import Reporter, SilentReporter, Trainer
from xmc.train.plan import Plan, make_plan
from xmc.values import RunInfo

FREE_TO_CHANGE = ("train.checkpoint_s", "train.patience", "train.device")


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
            checkpoint = load_checkpoint(store, fingerprint=_fingerprint(config, data))
        config.write(run)  # only now: a refused resume leaves the run's own configuration in place
        info = RunInfo(str(run), config.to_dict(), len(data.train), len(data.labels))
        error: BaseException | None = None
        try:
            plugins.run_started(info)
            return _train(config, run, data, plugins, info, checkpoint, reporter or SilentReporter(), on_plan)
        except BaseException as raised:
            error = raised
            raise
        finally:
            plugins.run_finished(info, error)


def _train(
    config: RunConfig,
    run: Path,
    data: Dataset,
    plugins: Plugins,
    info: RunInfo,
    checkpoint: Checkpoint | None,
    reporter: Reporter,
    on_plan: Callable[[Plan, Dataset], None] | None,
) -> dict[str, Any]:
    options = config.train
    device = choose_device(options.device)
    encoder = (
        checkpoint.encoder(config.encoder.options)
        if checkpoint
        else config.encoder.options.build(data.train.texts, data.labels.texts, seed=options.seed)
    )
    encoder.module.to(device)
    labels = encoder.prepare(data.labels.texts, "label")
    loss_pool = plugins.find("loss", config.loss.name).spec.pool  # type: ignore[attr-defined]
    head = config.head.options.build(
        HeadContext(
            labels=len(data.labels),
            dimension=encoder.dimension,
            similarity=encoder.similarity,
            device=device,
            seed=options.seed,
            loss=config.loss.options,
            pool=loss_pool,
            encoder=encoder,
            label_features=labels,
            train=options,
        )
    )
    pool = epoch_pool(config, data)
    plan = make_plan(
        encoder,
        head,
        options,
        train=len(data.train),
        label_text=pool.drawn,
        validation=len(validation_queries(data, config) or ()),
        labels=len(data.labels),
        device=device,
        pool=loss_pool,
    )
    if on_plan:
        on_plan(plan, data)
    prepared = training_set(encoder, data, config, pool)
    trainer = Trainer(
        encoder,
        head,
        prepared,
        options,
        run,
        _fingerprint(config, data),
        on_best=lambda best: commit_model(
            run,
            best,
            head,
            data.labels,
            encoder_section=config.encoder.to_dict(),
            head_section=config.head.to_dict(),
        ),
        reporter=_Observed(reporter, plugins, info),
        negatives=hard_negatives(
            config,
            run,
            positives=prepared.positives,
            label_texts=data.labels.texts,
            similarity=encoder.similarity,
            device=device,
        ),
    )
    if checkpoint:
        trainer.resume(checkpoint)
    progress = trainer.run()
    report = {
        "data": {"name": data.name, "fingerprint": data.fingerprint, "notes": list(data.notes)},
        "plan": plan.to_dict(),
        "label_scope": options.label_scope,
        "device_used": device,
        "epochs_run": len(progress.curve),
        "best_epoch": progress.best_epoch,
        "best_validation_p1": progress.best_validation,
        "train_s": round(progress.seconds, 3),
        "versions": versions(),
    }
    write_curve_table(run / "curve.csv", progress.curve)
    write_curve_picture(run / "curve.png", progress.curve)
    write_json(run / "train.json", report)
    return report


def _fingerprint(config: RunConfig, data: Dataset) -> dict[str, Any]:
    """What must be the same for a checkpoint to be continued bit for bit; a setting is named `section.key`."""
    sections = {kind: getattr(config, kind).to_dict() for kind in ("encoder", "head", "loss")}
    sections["train"] = asdict(config.train)
    settings = {
        f"{section}.{key}": value
        for section, values in sections.items()
        for key, value in values.items()
        if f"{section}.{key}" not in FREE_TO_CHANGE
    }
    fingerprint = {
        **settings,
        "data": data.fingerprint,
        "device": choose_device(config.train.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__.partition("+")[0],
    }
    as_read_back: dict[str, Any] = json.loads(json.dumps(fingerprint, default=list))
    return as_read_back


class _Observed:
    """A reporter that also tells the plugins' observers about epochs."""

    def __init__(self, reporter: Reporter, plugins: Plugins, info: RunInfo) -> None:
        self._reporter, self._plugins, self._info = reporter, plugins, info
        self.step_finished = reporter.step_finished

    def epoch_finished(self, row: Any) -> None:
        self._reporter.epoch_finished(row)
        self._plugins.epoch_finished(self._info, int(row["epoch"]), row)
