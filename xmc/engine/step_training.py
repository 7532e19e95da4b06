"""Train encoder and head step by step, with checkpoints, validation and a curve."""

from __future__ import annotations

from typing import Any

import numpy as np

from xmc.api import Augmentation, AugmentationContext, PluginError
from xmc.encode.encoder import Encoder
from xmc.engine.job import Job, fingerprint
from xmc.engine.mining import hard_negatives
from xmc.engine.teacher import needs_of
from xmc.engine.train_start import TrainStart, train_start
from xmc.engine.training_set import query_texts, training_set
from xmc.train.augmented_queries import AugmentedQueries, open_augmented
from xmc.train.checkpoint import Checkpoint, Progress
from xmc.train.curve import write_curve_picture, write_curve_table
from xmc.train.loop import Trainer
from xmc.train.reproducible import reproducible
from xmc.train.schedule import Pool


def train_in_steps(job: Job, checkpoint: Checkpoint | None) -> dict[str, Any]:
    """Train from the start or from a checkpoint; the training report."""
    with reproducible(job.device):  # from the first product on a GPU: what cuBLAS and torch are told is read once
        trainer, start = _trainer(job, checkpoint)
        progress = trainer.run()
    if job.ranks.writes:
        write_curve_table(job.run / "curve.csv", progress.curve)
        write_curve_picture(job.run / "curve.png", progress.curve)
    return job.write_report(
        plan=start.plan.to_dict(),
        epochs_run=len(progress.curve),
        stopped_early=progress.finished and len(progress.curve) < start.options.epochs,
        best_epoch=progress.best_epoch,
        best_validation_p1=progress.best_validation,
        train_s=round(progress.seconds, 3),
        **augmentation_facts(job, progress, start.pool),
    )


def _trainer(job: Job, checkpoint: Checkpoint | None) -> tuple[Trainer, TrainStart]:
    """What trains, with all that it needs, at its first step or at that of the checkpoint."""
    config, data, ranks = job.config, job.data, job.ranks
    start = train_start(job, checkpoint)
    encoder, head, pool, teacher = start.encoder, start.head, start.pool, start.teacher
    augmented = augmented_queries(job, encoder, pool)
    if job.on_plan and ranks.writes:
        job.on_plan(start.plan, data)
    taught = teacher.scores(data, pool) if teacher and "teacher" in needs_of(config) else None
    prepared = training_set(encoder, data, config, pool, taught)
    job.carried.train_features = prepared.queries.take(np.arange(len(data.train))) if pool.drawn else prepared.queries
    trainer = Trainer(
        encoder,
        head,
        prepared,
        start.options,
        job.run,
        fingerprint(config, data, ranks),
        on_best=lambda best: job.commit(best, head),
        optimizer_options=config.optimizer.options,
        reporter=job.observer(),
        negatives=hard_negatives(
            config,
            job.run,
            positives=prepared.positives,
            label_texts=data.labels.texts,
            similarity=encoder.similarity,
            device=job.index_device,
            ranks=ranks,
        ),
        augmented=augmented,
        ranks=ranks,
    )
    if checkpoint:
        trainer.resume(checkpoint)
    return trainer, start


def augmented_queries(job: Job, encoder: Encoder, pool: Pool) -> AugmentedQueries | None:
    """The training queries under the configured augmentation; None for `none`."""
    if job.config.augmentation.name == "none":
        return None
    texts, positives = query_texts(job.data, pool)
    context = AugmentationContext(texts, positives, job.config.train.seed, encoder)
    augmentation = job.config.augmentation.options.build(context)
    if augmentation is None:
        return None
    if not isinstance(augmentation, Augmentation):
        raise PluginError(
            f"augmentation '{job.config.augmentation.name}' builds a {type(augmentation).__name__}, which lacks "
            "needs_model or rewrite().",
            hint="docs/plugins.md has an example.",
        )
    return AugmentedQueries(augmentation, texts, open_augmented(job.run), job.ranks)


def augmentation_facts(job: Job, progress: Progress, pool: Pool) -> dict[str, Any]:
    """What the augmentation did and cost, for the report; nothing without one. Counts are those of the whole run."""
    if job.config.augmentation.name == "none":
        return {}
    visits = len(progress.curve) * pool.queries_per_epoch / job.ranks.size  # of this process
    facts = {
        "name": job.config.augmentation.name,
        "rewritten_share": round(progress.rewritten / visits, 4) if visits else 0.0,
        "seconds": round(progress.augmentation_s, 3),
    }
    return {"augmentation": facts}
