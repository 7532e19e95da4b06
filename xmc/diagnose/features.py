"""Features and answers of a linear head in the modes of the features, and its held-out error along the flow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from xmc.diagnose.dynamics import Array

RANK = 1e-8  # eigenvalues below this share of the largest count as 0


@dataclass(frozen=True)
class Data:
    """P queries with N features and L answers, and held-out ones; answers are sparse, and 0 where nothing stands."""

    features_PN: Array
    answers_PL: csr_array
    held_features_HN: Array
    held_answers_HL: csr_array

    def with_queries(self, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Data:
        """With some of the training queries."""
        return Data(self.features_PN[rows], self.answers_PL[rows], self.held_features_HN, self.held_answers_HL)

    def along(self, directions_NM: Array) -> Data:
        """With the features along some directions alone."""
        features_PM, held_HM = self.features_PN @ directions_NM, self.held_features_HN @ directions_NM
        return Data(features_PM, self.answers_PL, held_HM, self.held_answers_HL)


@dataclass(frozen=True)
class Modes:
    """The modes that the queries reach, largest eigenvalue of X^T X first, and what answers say of each.

    `answers_M`: the sum over answers of (u . y)^2, which is s times the squared weight, plus noise. `weights_ML`: the
    weights of the end of the flow. `inputs_HM`: held-out features along each mode; `outside`: their mean squared length
    beyond all of them.
    """

    eigenvalues_M: Array
    vectors_NM: Array
    answers_M: Array
    weights_ML: Array
    inputs_HM: Array
    outside: float

    @property
    def inputs_M(self) -> Array:
        """Mean square of held-out features along each mode."""
        return np.asarray((self.inputs_HM**2).mean(axis=0))

    def learned(self, times_T: Array) -> Array:
        """The share of each mode's weight that the flow from 0 has learned at each time, 1 - exp(-s t), (T, M)."""
        return np.asarray(1.0 - np.exp(-times_T[:, None] * self.eigenvalues_M))


def modes_of(data: Data) -> Modes:
    """The modes, by the eigenvectors of X^T X (N x N)."""
    eigenvalues_N, vectors_NN = np.linalg.eigh(data.features_PN.T @ data.features_PN)
    kept = np.flatnonzero(eigenvalues_N > RANK * eigenvalues_N[-1])[::-1]
    eigenvalues_M, vectors_NM = eigenvalues_N[kept], vectors_NN[:, kept]
    products_ML = (data.answers_PL.T @ (data.features_PN @ vectors_NM)).T
    inputs_HM = data.held_features_HN @ vectors_NM
    outside = float((data.held_features_HN**2).sum(axis=1).mean() - (inputs_HM**2).sum(axis=1).mean())
    return Modes(
        eigenvalues_M,
        vectors_NM,
        (products_ML**2).sum(axis=1) / eigenvalues_M,
        products_ML / eigenvalues_M[:, None],
        inputs_HM,
        max(0.0, outside),
    )


def held_out_errors(modes: Modes, data: Data, times_T: Array) -> Array:
    """Squared error of held-out queries at each time of the flow from weights of 0, summed over answers, (H, T).

    |y|^2 - 2 p . y + |p|^2 with p = sum over modes of h (1 - exp(-s t)) w: over answers only M x M products are needed.
    """
    learned_TM = modes.learned(times_T)
    gram_MM = modes.weights_ML @ modes.weights_ML.T
    answers = data.held_answers_HL
    with_answers_HM = modes.inputs_HM * (answers @ modes.weights_ML.T)
    squares_H = np.asarray(answers.multiply(answers).sum(axis=1)).ravel()
    errors_HT = squares_H[:, None] - 2.0 * with_answers_HM @ learned_TM.T
    for column, learned_M in enumerate(learned_TM):
        scaled_HM = modes.inputs_HM * learned_M
        errors_HT[:, column] += ((scaled_HM @ gram_MM) * scaled_HM).sum(axis=1)
    return errors_HT
