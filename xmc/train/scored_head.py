"""The head that scores queries against label vectors: choose labels, make their vectors, score, send gradients back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from xmc.api import HeadBatch, HeadContext, Learned, QueryMap, RowStateLoss
from xmc.sent import sent
from xmc.train.distributed import ALONE, Ranks
from xmc.train.label_scope import Scope, all_labels, sampled_labels
from xmc.train.label_source import GradientVectors, IntArray, LabelSource
from xmc.train.positive_sampling import STREAM, draw_positives, keep_drawn, require_skips
from xmc.train.precision import score_products
from xmc.train.row_state import STATE_NAME, RowState
from xmc.train.schedule import step_generator
from xmc.train.scorer import ScoredBatch, rows_in_memory, score_batch
from xmc.train.sharded_labels import ShardedLabels


class ScoredHead:
    """A `Head` over any source of label vectors and any loss, exact in bounded memory (see `score_batch`).

    A step of `[train] accumulate` batches scores one after the other, each against its own labels; all of them against
    the same vectors when those are all labels'. On several ranks the labels are split (see `ShardedLabels`) and each
    rank scores its share of every batch, or the whole of it for a loss that pools the batch.
    """

    def __init__(self, make_source: Callable[[HeadContext], LabelSource], context: HeadContext) -> None:
        self._context = context
        self._ranks: Ranks = context.ranks or ALONE
        self.source = make_source(context) if self._ranks.size == 1 else ShardedLabels(make_source, context)
        self.parameters = self.source.parameters
        self.label_vectors = self.source.chunks
        loss = context.loss
        if context.train and context.train.sampled_positives:
            require_skips(loss)
        self._norms = context.similarity == "dot" and "norms" in getattr(loss, "needs", ())  # those of cosine are 1
        self._row_state = RowState(loss, device=context.device) if isinstance(loss, RowStateLoss) else None

    def learn(self, queries_QD: Tensor, batch: HeadBatch) -> Learned:
        """Score the step against the labels of `[train] label_scope`; `queries_QD` are this rank's.

        Raises: NonFiniteError naming the batch rows; ConfigError when a `batch` loss needs more memory than allowed.
        """
        rows_Q, device = batch.query_rows_Q, queries_QD.device
        before_Q = self._row_state.before(rows_Q) if self._row_state else None
        parts = self._parts(batch)
        scored: list[ScoredBatch] = []
        labels, gradient_CD, done = None, None, 0
        for number, (rows, part) in enumerate(parts):
            scope = self._scope(part).to(device)
            labels = labels or self.source.vectors(scope.label_rows)
            bags_Q = None if part.bags_Q is None else sent(torch.from_numpy(part.bags_Q), device)
            found = self._score(queries_QD[done:], rows, labels, scope, before_Q, bags_Q, mean_over=len(rows_Q))
            gradient_CD = found.labels_gradient_CD if gradient_CD is None else gradient_CD + found.labels_gradient_CD
            if scope.label_rows is not None or number == len(parts) - 1:
                labels.backward(gradient_CD)
                labels, gradient_CD = None, None
            scored.append(found)
            done += len(found.losses_Q)
        self._keep_row_states(rows_Q, scored)
        self.source.observe(queries_QD)
        return Learned(
            torch.cat([found.losses_Q for found in scored]),
            torch.cat([found.queries_gradient_QD for found in scored]),
        )

    def _parts(self, batch: HeadBatch) -> list[tuple[slice, HeadBatch]]:
        """The batches of a step, each with its place in it."""
        options, count = self._context.train, len(batch.query_rows_Q)
        parts = []
        for number, start in enumerate(range(0, count, options.batch_size)):
            rows = slice(start, min(start + options.batch_size, count))
            places = np.arange(rows.start, rows.stop)
            positives = batch.positives.take(places)
            teacher = None if batch.teacher is None else batch.teacher.take(places)
            step = batch.step * options.accumulate + number
            bags_Q = None if batch.bags_Q is None else batch.bags_Q[rows]
            mined_QH = None if batch.hard_negatives_QH is None else batch.hard_negatives_QH[rows]
            part = HeadBatch(step, batch.query_rows_Q[rows], positives, mined_QH, teacher, bags_Q)
            parts.append((rows, part))
        return parts

    def _score(
        self,
        queries_QD: Tensor,
        rows: slice,
        labels: GradientVectors,
        scope: Scope,
        before_Q: Tensor | None,
        bags_Q: Tensor | None,
        *,
        mean_over: int,
    ) -> ScoredBatch:
        """Score this rank's queries, the next of `queries_QD`, of the batch at `rows` of the step."""
        context, ranks, count = self._context, self._ranks, rows.stop - rows.start
        own = seen = ranks.share(count)
        queries_QD = queries_QD[: own.stop - own.start]
        if context.pool == "batch":
            queries_QD, seen = ranks.gather_places(queries_QD, ranks.places(count, count)), slice(0, count)
        first, last = rows.start + seen.start, rows.start + seen.stop
        columns = len(labels.embeddings_ND)
        with ranks.together():
            scored = score_batch(
                queries_QD,
                labels.embeddings_ND,
                scope.pairs.between(seen.start, seen.stop),
                context.loss,
                pool=context.pool,
                rows_at_once=rows_in_memory(
                    columns, context.train.score_memory_mb, pool=context.pool, device=queries_QD.device.type
                ),
                log_inclusion_C=scope.log_inclusion_C,
                row_state_Q=None if before_Q is None else before_Q[first:last],
                bags_Q=bags_Q if context.pool == "batch" else None,
                first_row=first,
                mean_over=mean_over,
                products=score_products(context.train.precision, encoder=context.encoder),
                norms=self._norms,
            )
        return scored if seen == own else scored.rows(own)

    def _keep_row_states(self, rows_Q: IntArray, scored: Sequence[ScoredBatch]) -> None:
        states = [found.row_state_Q for found in scored if found.row_state_Q is not None]
        if self._row_state and states:
            places = self._ranks.places(len(rows_Q), self._context.train.batch_size)
            self._row_state.keep(rows_Q, self._ranks.gather_places(torch.cat(states), places))

    def update(self, learning_rate_share: float) -> None:
        """Apply the labels' gradient, and what the loss keeps for each query."""
        self.source.update(learning_rate_share)
        if self._row_state:
            self._row_state.commit()

    def state(self) -> dict[str, Tensor]:
        """The labels' state, and what the loss keeps for each query."""
        return {**self.source.state(), **(self._row_state.state() if self._row_state else {})}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        if self._row_state:
            self._row_state.load_state(state)
        self.source.load_state({name: value for name, value in state.items() if name != STATE_NAME})

    def query_map(self) -> QueryMap | None:
        """None: the index is asked for the embeddings as they are."""
        return None

    def _scope(self, batch: HeadBatch) -> Scope:
        scope, sample = self._all_positives(batch), self._context.train.sampled_positives
        if not sample:
            return scope
        generator = step_generator(batch.step, self._context.train, stream=STREAM)
        drawn_P = draw_positives(batch.positives, sample=sample, generator=generator)
        return replace(scope, pairs=keep_drawn(scope.pairs, batch.positives, drawn_P, sample=sample))

    def _all_positives(self, batch: HeadBatch) -> Scope:
        options, positives = self._context.train, batch.positives
        if options.scores_all_labels:
            return all_labels(positives, batch.teacher)
        generator = step_generator(batch.step, options)
        return sampled_labels(
            positives,
            labels=self._context.labels,
            sample=options.sampled_labels,
            generator=generator,
            hard_negatives=batch.hard_negatives,
            teacher=batch.teacher,
        )
