"""Log loss and P@1 of a trained model on held-out queries, over all labels; alike whatever loss it was trained with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import softplus

from xmc.data.tables import LabelTable, QueryTable
from xmc.encode.encoder import embed_texts
from xmc.retrieve.trained_model import TrainedModel
from xmc.values import Positives

SCORE_BYTES = 128 << 20
TEMPERATURE_RANGE = (1e-3, 1e2)  # in standard deviations of the scores
TEMPERATURE_QUERIES = 256


@dataclass(frozen=True)
class HeldOutLoss:
    """Means over queries: the log loss at the temperature that makes it least, and P@1."""

    loss: float
    p1: float
    temperature: float
    queries: int


def held_out_loss(model: TrainedModel, labels: LabelTable, queries: QueryTable, *, device: str = "cpu") -> HeldOutLoss:
    """The log loss of a positive against all labels that are not relevant, and the share of best labels that are.

    Naive line, for a positive p: `-log(exp(s_p / t) / (exp(s_p / t) + sum(exp(s_n / t) for n in negatives)))`, the mean
    over the positives of a query, then over queries. Scores of one loss lie in [-1, 1], of another anywhere: the
    temperature t is fitted on some of the queries, so that the scale means nothing and models can be compared.
    """
    model.encoder.module.to(device)
    chunks, query_map = model.label_vectors(labels)
    labels_LD = torch.cat(list(chunks)).to(device)
    queries_QD = embed_texts(model.encoder, queries.texts, "query").to(device)
    if query_map is not None:
        queries_QD = query_map.queries(queries_QD)
    rows = max(1, SCORE_BYTES // (4 * len(labels_LD)))
    head = slice(0, min(rows, TEMPERATURE_QUERIES, len(queries)))
    temperature = _temperature(queries_QD[head] @ labels_LD.T, queries.positives.take(np.arange(head.stop)))
    losses, hits = [], 0
    for start in range(0, len(queries), rows):
        taken = np.arange(start, min(start + rows, len(queries)))
        scores_RL, positives = queries_QD[taken] @ labels_LD.T, queries.positives.take(taken)
        hits += _hits_at_1(scores_RL, positives)
        losses.append(log_losses(scores_RL, positives, temperature))
    return HeldOutLoss(float(torch.cat(losses).double().mean()), hits / len(queries), temperature, len(queries))


def log_losses(scores_QL: Tensor, positives: Positives, temperature: float) -> Tensor:
    """The log loss of each query, (Q,): the mean over its positives, each against the labels that are not relevant.

    >>> one = Positives(np.array([0, 1]), np.array([0], np.int32), np.ones(1, np.float32))
    >>> round(float(log_losses(torch.zeros(1, 2), one, 1.0)[0]), 4)
    0.6931
    """
    rows_P, columns_P = (
        torch.from_numpy(part.astype(np.int64)) for part in (positives.query_rows(), positives.label_rows)
    )
    rows_P, columns_P = rows_P.to(scores_QL.device), columns_P.to(scores_QL.device)
    scaled_QL = scores_QL / temperature
    positives_P = scaled_QL[rows_P, columns_P]
    scaled_QL[rows_P, columns_P] = -torch.inf
    losses_P = softplus(scaled_QL.logsumexp(dim=1)[rows_P] - positives_P)
    counts_Q = torch.bincount(rows_P, minlength=len(scores_QL))
    return torch.zeros(len(scores_QL), device=scores_QL.device).index_add_(0, rows_P, losses_P) / counts_Q


def _temperature(scores_QL: Tensor, positives: Positives) -> float:
    """The temperature of the least log loss."""
    spread = float(scores_QL.std()) or 1.0
    low, high = (float(np.log(spread * end)) for end in TEMPERATURE_RANGE)
    found = minimize_scalar(
        lambda log: float(log_losses(scores_QL, positives, float(np.exp(log))).mean()),
        bounds=(low, high), method="bounded", options={"xatol": 0.02},
    )  # fmt: skip
    return float(np.exp(found.x))


def _hits_at_1(scores_QL: Tensor, positives: Positives) -> int:
    best_Q = scores_QL.argmax(dim=1).cpu().numpy()
    labels = scores_QL.shape[1]
    return int(np.isin(np.arange(len(best_Q)) * labels + best_Q, positives.pair_keys(labels)).sum())
