"""Newton's method for the linear classifiers of several labels at once: one product serves all of them.

Each label has a problem of its own, with its own steps and its own end; what they share is the time of every operation,
which for a small problem is spent around the arithmetic, not in it. A label's answer does not depend on its neighbours.

Shapes: B labels, N rows of all of them, U features of all of them.
References: Lin, Weng and Keerthi 2008, Trust Region Newton Method for Logistic Regression, sections 2 and 3 (gradient,
Hessian products, conjugate gradients, when to stop); Galli and Lin 2021, A Study on Truncated Newton Methods for Linear
Classification (a line search in place of the trust region).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from xmc_linear.blocks import Blocks
from xmc_linear.matrices import FloatArray

_INNER_TOLERANCE = 0.1  # of a step's equation, relative: a better step costs more products than it saves
_MOST_INNER = 100
_MOST_HALVINGS = 30
_LEAST_GAIN = 0.01  # of what the slope promises, for a step to be taken (Armijo)


class Loss(NamedTuple):
    """A loss of margins with its first two derivatives."""

    value: FloatArray
    slope: FloatArray
    curvature: FloatArray


def logistic(margins: FloatArray) -> Loss:
    """ln(1 + exp(-m)).

    >>> logistic(np.zeros(1)).slope.tolist()
    [-0.5]
    """
    small = np.exp(-np.abs(margins))
    larger = 1.0 / (1.0 + small)
    wrong = np.where(margins > 0, 1.0 - larger, larger)
    return Loss(np.log1p(small) + np.maximum(-margins, 0.0), -wrong, larger * (1.0 - larger))


def squared_hinge(margins: FloatArray) -> Loss:
    """max(0, 1 - m)^2; its second derivative is taken as 0 where it has none.

    >>> [part.tolist() for part in squared_hinge(np.array([0.5, 2.0]))]
    [[0.25, 0.0], [-1.0, -0.0], [2.0, 0.0]]
    """
    gaps = np.maximum(1.0 - margins, 0.0)
    return Loss(gaps * gaps, -2.0 * gaps, np.where(gaps > 0, 2.0, 0.0))


class Solution(NamedTuple):
    """Weights of all features (U,) and scores w · x of all rows (N,)."""

    weights_U: FloatArray
    scores_N: FloatArray


def minimise(
    blocks: Blocks, costs_N: FloatArray, loss: Callable[[FloatArray], Loss], *, tolerances_B: FloatArray, most: int
) -> Solution:
    """For each label the w that minimises 1/2 |w|^2 + sum of costs · loss(signs · w·x).

    A label is done when the norm of its gradient is its tolerance times that at w = 0, when no step makes its objective
    smaller, or after `most` steps.
    """
    state = _State.at(blocks, costs_N, loss, np.zeros(len(blocks.labels_U)), np.zeros(len(blocks.labels_N)))
    limits_B = tolerances_B * state.norms_B
    is_open_B = np.ones(len(limits_B), bool)
    for _ in range(most):
        is_open_B &= state.norms_B > limits_B
        if not is_open_B.any():
            break
        direction_U, direction_N = _direction(blocks, costs_N * state.curvature_N, state.gradient_U, is_open_B)
        steps_B = _steps(blocks, costs_N, loss, state, direction_U, direction_N, is_open_B)
        is_open_B &= steps_B > 0
        weights_U = state.weights_U + steps_B[blocks.labels_U] * direction_U
        state = _State.at(blocks, costs_N, loss, weights_U, state.scores_N + steps_B[blocks.labels_N] * direction_N)
    return Solution(state.weights_U, state.scores_N)


class _State(NamedTuple):
    """Where the labels are: their weights and scores, and the objectives there with their derivatives."""

    weights_U: FloatArray
    scores_N: FloatArray
    objectives_B: FloatArray
    gradient_U: FloatArray
    norms_B: FloatArray
    curvature_N: FloatArray

    @classmethod
    def at(cls, blocks: Blocks, costs_N: FloatArray, loss: Any, weights_U: FloatArray, scores_N: FloatArray) -> _State:
        value_N, slope_N, curvature_N = loss(blocks.signs_N * scores_N)
        gradient_U = weights_U + blocks.rows_NU.T @ (costs_N * blocks.signs_N * slope_N)
        objectives_B = blocks.sum_rows(costs_N * value_N) + 0.5 * blocks.sum_features(weights_U * weights_U)
        norms_B = np.sqrt(blocks.sum_features(gradient_U * gradient_U))
        return cls(weights_U, scores_N, objectives_B, gradient_U, norms_B, curvature_N)


def _direction(
    blocks: Blocks, curvature_N: FloatArray, gradient_U: FloatArray, is_open_B: np.ndarray[Any, Any]
) -> tuple[FloatArray, FloatArray]:
    """About d = -H^-1 g of each open label by conjugate gradients, 0 for the others, and X d.

    H = I + X' diag(curvature) X; X d is summed up on the way, which spares a product.
    """
    left_U = np.where(is_open_B[blocks.labels_U], -gradient_U, 0.0)
    found_U, found_N, towards_U = np.zeros_like(left_U), np.zeros_like(curvature_N), left_U.copy()
    squares_B = blocks.sum_features(left_U * left_U)
    limits_B = _INNER_TOLERANCE**2 * squares_B
    is_going_B = is_open_B
    for _ in range(_MOST_INNER):
        towards_N = blocks.rows_NU @ towards_U
        product_U = towards_U + blocks.rows_NU.T @ (curvature_N * towards_N)
        lengths_B = _ratio(squares_B, blocks.sum_features(towards_U * product_U), is_going_B)
        found_U += lengths_B[blocks.labels_U] * towards_U
        found_N += lengths_B[blocks.labels_N] * towards_N
        left_U -= lengths_B[blocks.labels_U] * product_U
        before_B, squares_B = squares_B, blocks.sum_features(left_U * left_U)
        is_going_B = is_going_B & (squares_B > limits_B)
        if not is_going_B.any():
            break
        towards_U = left_U + _ratio(squares_B, before_B, is_going_B)[blocks.labels_U] * towards_U
    return found_U, found_N


def _steps(
    blocks: Blocks,
    costs_N: FloatArray,
    loss: Callable[[FloatArray], Loss],
    state: _State,
    direction_U: FloatArray,
    direction_N: FloatArray,
    is_open_B: np.ndarray[Any, Any],
) -> FloatArray:
    """The first of 1, 1/2, 1/4, ... that makes each open label's objective small enough; 0 where none does."""
    slopes_B = blocks.sum_features(state.gradient_U * direction_U)
    weights_B, crossed_B, squares_B = (
        blocks.sum_features(product_U)
        for product_U in (state.weights_U**2, state.weights_U * direction_U, direction_U**2)
    )
    steps_B = is_open_B.astype(np.float64)
    for _ in range(_MOST_HALVINGS):
        value_N = loss(blocks.signs_N * (state.scores_N + steps_B[blocks.labels_N] * direction_N)).value
        penalties_B = 0.5 * (weights_B + steps_B * (2.0 * crossed_B + steps_B * squares_B))
        enough_B = state.objectives_B + _LEAST_GAIN * steps_B * slopes_B
        is_bad_B = (steps_B > 0) & ~(blocks.sum_rows(costs_N * value_N) + penalties_B <= enough_B)  # NaN is bad, too
        if not is_bad_B.any():
            return steps_B
        steps_B[is_bad_B] *= 0.5
    steps_B[is_bad_B] = 0.0
    return steps_B


def _ratio(over_B: FloatArray, under_B: FloatArray, where_B: np.ndarray[Any, Any]) -> FloatArray:
    """The quotients where they are asked for and defined, else 0."""
    return np.divide(over_B, under_B, out=np.zeros_like(over_B), where=where_B & (under_B > 0))
