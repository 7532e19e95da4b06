"""The training loop: batches in, checkpoints out, the same bits whether it was interrupted or not."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xmc.api import EpochModel, Head, HeadBatch, Hits, NonFiniteError, OptimizerOptions, Positives
from xmc.encode.encoder import Encoder, Features, embed_chunks
from xmc.errors import InterruptedRunError, XmcWarning
from xmc.store import VersionedFolder
from xmc.train.augmented_queries import AugmentedQueries
from xmc.train.checkpoint import Checkpoint, Progress, open_store, save_checkpoint
from xmc.train.core_optimizers import AdamW
from xmc.train.distributed import ALONE, Ranks
from xmc.train.epoch_model import epoch_model
from xmc.train.gradient_cache import embed_with_gradient
from xmc.train.gradient_sum import sum_gradients
from xmc.train.hard_negatives import HardNegatives
from xmc.train.learned import checked
from xmc.train.optimizers import clip_gradients, make_optimizer
from xmc.train.options import TrainOptions
from xmc.train.random_state import random_state
from xmc.train.replicated_head import ReplicatedHead
from xmc.train.reporter import Reporter, SilentReporter
from xmc.train.schedule import Pool, batch_rows, epoch_rows, learning_rate_share, step_queries
from xmc.train.signals import StopRequest, stop_on_signals
from xmc.train.validation import precision_at_1

SEED_STRIDE = 0x9E3779B97F4A7C15  # ranks draw their dropout from streams of their own


@dataclass(frozen=True)
class TrainingSet:
    """Prepared training queries with their positives, and validation queries (None without any).

    `pool` says which rows of `queries` an epoch has, `labels` how many there are, `teacher` what one says of them.
    """

    queries: Features
    pool: Pool
    positives: Positives
    labels: int
    validation: tuple[Features, Positives] | None
    teacher: Hits | None = None


@dataclass
class Trainer:
    """Trains an encoder and a head; make it, then `run()` once.

    `fingerprint` names what a checkpoint depends on; `on_best` is called when validation P@1 is the best so far, and
    once at the end when there is no validation set. `negatives` are there when `[train] label_scope` is `mined`,
    `augmented` when an augmentation rewrites queries. On several `ranks` each has a trainer over the same data; the
    head divides its work itself (see `head_for_ranks`).
    """

    encoder: Encoder
    head: Head
    data: TrainingSet
    options: TrainOptions
    run_folder: Path
    fingerprint: dict[str, Any]
    on_best: Callable[[Encoder], None]
    optimizer_options: OptimizerOptions = field(default_factory=AdamW)
    reporter: Reporter = field(default_factory=SilentReporter)
    progress: Progress = field(default_factory=Progress)
    negatives: HardNegatives | None = None
    augmented: AugmentedQueries | None = None
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        """Set up the optimiser."""
        self.optimizer = make_optimizer(self.encoder, self.options, self.optimizer_options, processes=self.ranks.size)
        self.steps_per_epoch = self.data.pool.steps(step_queries(self.options))
        self.total_steps = self.options.epochs * self.steps_per_epoch
        self._store: VersionedFolder = open_store(self.run_folder)
        self._saw_gradient = False

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint (whose encoder this trainer was made with)."""
        checkpoint.restore(self.optimizer, self.head, rank=self.ranks.rank)
        self.progress = checkpoint.progress
        self.progress.finished = self._is_over()  # by the patience of today

    def run(self) -> Progress:
        """Train to the end, or until validation stops improving.

        Raises: NonFiniteError naming the step; InterruptedRunError after a signal, the checkpoint being committed.
        """
        if self.progress.step == 0 and not self.progress.curve:
            torch.manual_seed((self.options.seed + self.ranks.rank * SEED_STRIDE) % 2**63)
        if not self.total_steps and not self.progress.finished:  # no epochs: the model is wanted as it was made
            self.on_best(self.encoder)
            self.progress.finished = True
            self._commit()
        with stop_on_signals() as stop:
            while self.progress.step < self.total_steps and not self.progress.finished:
                self._run_until_checkpoint(stop)
                self._commit()
                if stop.signal_number:
                    raise InterruptedRunError(
                        f"stopped by signal {stop.signal_number} after step {self.progress.step} of "
                        f"{self.total_steps}; the checkpoint is safe.",
                        hint="Go on with --resume.",
                        signal_number=stop.signal_number,
                    )
        return self.progress

    def _run_until_checkpoint(self, stop: StopRequest) -> None:
        started = time.monotonic()
        self.encoder.module.train()
        while self.progress.step < self.total_steps and not self.progress.finished:
            step_started = time.monotonic()
            self._prepare_epoch()
            loss, queries = self._step()
            self.progress.step += 1
            self.progress.epoch_loss_sum += loss
            self.progress.epoch_loss_steps += 1
            self.progress.seconds += time.monotonic() - step_started
            self.reporter.step_finished(self.progress.step, self.total_steps, loss, queries)
            if self.progress.step % self.steps_per_epoch == 0:
                self._finish_epoch()
            late = self.ranks.writes and time.monotonic() - started >= self.options.checkpoint_s
            signal_number, due = self.ranks.largest([stop.signal_number or 0, late])
            if signal_number:
                stop.signal_number = signal_number  # that of any rank stops all
            if signal_number or due:
                return

    def _prepare_epoch(self) -> None:
        epoch, position = divmod(self.progress.step, self.steps_per_epoch)
        mines = self.negatives is not None and self.negatives.is_due(epoch)
        rewrites = self.augmented is not None and self.augmented.is_due(epoch)
        if (mines or rewrites) and position == 0:
            self._commit()  # so that a run that is killed while it trains with them never has to make them in mid-epoch
        if self.negatives is not None and mines:
            self.negatives.prepare(epoch, self.head, self._query_embeddings, at_start=position == 0)
        if self.augmented is not None and rewrites:
            started = time.monotonic()
            rows = epoch_rows(epoch, self.data.pool, self.options)
            self.augmented.prepare(epoch, rows, self._epoch_model, at_start=position == 0)
            self.progress.augmentation_s += time.monotonic() - started

    def _epoch_model(self) -> EpochModel:
        memory_mb = self.options.score_memory_mb
        return epoch_model(
            self.encoder, self.head, self.data.queries, labels=self.data.labels, score_memory_mb=memory_mb
        )

    def _features(self, query_rows: np.ndarray[Any, Any]) -> Features:
        """The prepared queries as this epoch has them."""
        if self.augmented is None:
            return self.data.queries.take(query_rows)
        started, epoch = time.monotonic(), self.progress.step // self.steps_per_epoch
        features, changed = self.augmented.features(self.encoder, self.data.queries, query_rows, epoch)
        self.progress.rewritten += changed
        self.progress.augmentation_s += time.monotonic() - started
        return features

    def _query_embeddings(self) -> Iterator[torch.Tensor]:
        """This rank's share of all training queries."""
        own = np.arange(len(self.data.queries))[self.ranks.share(len(self.data.queries))]
        return embed_chunks(self.encoder, self.data.queries.take(own), "query", chunk_size=1024)

    def _step(self) -> tuple[float, int]:
        step, options = self.progress.step, self.options
        rows = batch_rows(step, self.data.pool, options)
        mined = self.negatives.draw(step, rows) if self.negatives else None
        taught = None if self.data.teacher is None else self.data.teacher.take(rows)
        bags = None if self.data.pool.bags is None else self.data.pool.bags.numbers_Q[rows]
        batch = HeadBatch(step, rows, self.data.positives.take(rows), mined, taught, bags)
        places = self.ranks.places(len(rows), options.batch_size)[self.ranks.rank]
        queries = embed_with_gradient(
            self.encoder,
            self._features(rows[places]),
            "query",
            chunk_size=options.label_chunk,
            precision=options.precision,
            passes=self.ranks.size,
        )
        try:
            learned = checked(self.head.learn(queries.embeddings_ND, batch), queries.embeddings_ND, self.head)
        except NonFiniteError as error:
            raise NonFiniteError(f"step {step}: {error.message}", hint=_non_finite_hint(step)) from None
        self._saw_gradient = self._saw_gradient or bool(learned.queries_gradient_QD.any())
        queries.backward(learned.queries_gradient_QD)
        sum_gradients(self.encoder.module.parameters(), ranks=self.ranks)
        self._update(step)
        if self.ranks.size == 1:
            loss = float(learned.losses_Q.mean())
        else:
            loss = float(self.ranks.sum(learned.losses_Q.sum().cpu())) / len(rows)
        if not math.isfinite(loss):
            raise NonFiniteError(f"step {step}: the loss is not finite.", hint=_non_finite_hint(step))
        return loss, len(rows)

    def _update(self, step: int) -> None:
        share = learning_rate_share(step, self.total_steps, self.options)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak_lr"] * share
        shared, own = list(self.encoder.module.parameters()), self.head.parameters()
        if isinstance(self.head, ReplicatedHead):
            shared, own = [*shared, *own], []
        if not clip_gradients(shared, self.options.clip_norm, own=own, ranks=self.ranks):
            raise NonFiniteError(f"step {step}: the gradient is not finite.", hint=_non_finite_hint(step))
        self.optimizer.step()
        self.head.update(share)
        self.optimizer.zero_grad(set_to_none=True)

    def _require_finite_weights(self) -> None:
        """Refuse weights that the last step has spoilt, before they become a checkpoint or the run's model."""
        parameters = [*self.encoder.module.parameters(), *self.head.parameters()]
        if self.progress.step and self.ranks.largest([not all(map(_is_finite, parameters))])[0]:
            raise NonFiniteError(
                f"step {self.progress.step - 1} has made weights that are not finite: a learning rate is likely too "
                f"large (train.learning_rate = {self.options.learning_rate:g}).",
                hint="An earlier checkpoint is intact. Try a smaller rate: that of [train], or those that [optimizer] "
                "and [head] may have.",
            )

    def _warn_of_no_gradient(self) -> None:
        if self.ranks.largest([self._saw_gradient])[0] or not self.ranks.writes:
            return
        warnings.warn(
            "the loss has had no gradient for any query so far, so nothing was learned: with these options it asks "
            "nothing of these labels, as a soft top k does of no more than k.",
            XmcWarning,
            stacklevel=2,
        )
        self._saw_gradient = True  # once is enough

    def _finish_epoch(self) -> None:
        self._require_finite_weights()
        self._warn_of_no_gradient()
        progress, started = self.progress, time.monotonic()
        epoch = progress.step // self.steps_per_epoch
        validation = self._validate()
        if validation > progress.best_validation or self.data.validation is None:
            progress.best_validation, progress.best_epoch = validation, epoch
            self.on_best(self.encoder)
        progress.seconds += time.monotonic() - started
        row = {
            "epoch": epoch,
            "step": progress.step,
            "loss": progress.epoch_loss_sum / progress.epoch_loss_steps,
            "validation_p1": validation,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "seconds": round(progress.seconds, 3),
        }
        progress.curve.append(row)
        progress.finished = self._is_over()
        progress.epoch_loss_sum, progress.epoch_loss_steps = 0.0, 0
        self.reporter.epoch_finished(row)

    def _is_over(self) -> bool:
        """Whether no step is left, or validation has not improved for `[train] patience` epochs."""
        progress, patience = self.progress, self.options.patience
        if progress.step >= self.total_steps:
            return True
        return self.data.validation is not None and 0 < patience <= len(progress.curve) - progress.best_epoch

    def _validate(self) -> float:
        if self.data.validation is None:
            return -1.0
        return precision_at_1(
            self.encoder,
            self.head,
            *self.data.validation,
            labels=self.data.labels,
            score_memory_mb=self.options.score_memory_mb,
            ranks=self.ranks,
        )

    def _commit(self) -> None:
        self._require_finite_weights()
        self.ranks.require_same(self.encoder.module.parameters(), what="encoders")
        head_state, random_states = self.head.state(), self.ranks.gather(random_state())
        if self.ranks.writes:
            save_checkpoint(
                self._store,
                self.encoder,
                head_state,
                self.optimizer,
                self.progress,
                fingerprint=self.fingerprint,
                random_states=random_states,
            )


def _is_finite(parameter: torch.Tensor) -> bool:
    """Whether all numbers are; their extremes tell, and take no memory."""
    return not parameter.numel() or bool(torch.stack(torch.aminmax(parameter.detach())).isfinite().all())


def _non_finite_hint(step: int) -> str:
    if step == 0:
        return (
            "Nothing has been learned yet, so the learning rate is not to blame but the loss, its options, or what the "
            "encoder starts from. A loss of your own is tested by xmc.testing.check_loss."
        )
    return "The last checkpoint is intact; try a smaller learning_rate, or clip_norm = 1."
