"""The classifier: a trained vector for each label, over any encoder; by itself, or on top of the label's text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xmc.api import ConfigError, HeadContext, LabelOptimizerOptions, LabelPreconditioner, require_positive
from xmc.encode.encoder import chunks
from xmc.train.dual_encoder import TextLabels
from xmc.train.label_source import GradientVectors
from xmc.train.row_adagrad import RowAdagrad
from xmc.train.scored_head import ScoredHead
from xmc.unit_rows import unit_rows

ROWS_AT_ONCE = 65536
PRECONDITIONER = "optimiser.preconditioner."


@dataclass(frozen=True)
class ClassifierOptions:
    """The label matrix and how it learns.

    `text`: a label's vector is its row plus its embedded text (the row starts at 0); else the row alone, which starts
    at random with standard deviation `scale`. `learning_rate`: peak rate of the matrix, whose optimiser is row Adagrad
    whatever that of the encoder is: one number a label, and a step costs the rows it touches. An optimizer that knows
    of label matrices (`kfac`) turns the rows' gradient beforehand.
    """

    text: bool = True
    learning_rate: float = 0.02
    scale: float = 0.05

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        require_positive(self, "learning_rate", "scale")

    def build(self, context: HeadContext) -> ScoredHead:
        """A fresh label matrix, (labels, D). Raises: ConfigError for an optimizer that cannot work with it."""
        return ScoredHead(partial(MatrixLabels, self), context)


class MatrixLabels:
    """Rows of a trained matrix as a `LabelSource`, of length 1 when the similarity is cosine."""

    def __init__(self, options: ClassifierOptions, context: HeadContext) -> None:
        self._text = TextLabels.of(context) if options.text else None
        self._unit = context.similarity == "cosine"
        generator = torch.Generator().manual_seed(context.seed)
        start_LD = torch.zeros(context.labels, context.dimension)
        if self._text is None:
            start_LD.normal_(std=options.scale, generator=generator)
        self.matrix_LD = nn.Parameter(start_LD.to(context.device))
        self._peak_rate = options.learning_rate
        self._optimizer = RowAdagrad([self.matrix_LD], lr=options.learning_rate)
        self._optimizer.state[self.matrix_LD]["row_sum"] = torch.zeros(context.labels, device=context.device)
        self._preconditioner = _preconditioner(context)

    def parameters(self) -> list[nn.Parameter]:
        """The matrix."""
        return [self.matrix_LD]

    def vectors(self, label_rows: np.ndarray[Any, Any] | None) -> MatrixVectors:
        """Vectors of these labels (None = all), with gradient: sparse for some rows, dense for all."""
        text = self._text.vectors(label_rows) if self._text else None
        return MatrixVectors(self.matrix_LD, label_rows, text, unit=self._unit)

    def chunks(self, label_rows: np.ndarray[Any, Any]) -> Iterator[Tensor]:
        """Vectors of these labels, without gradient."""
        if self._text is None:
            for rows in chunks(len(label_rows), ROWS_AT_ONCE):
                yield self._without_gradient(label_rows[rows], None)
            return
        done = 0
        for text_ND in self._text.chunks(label_rows):
            yield self._without_gradient(label_rows[done : done + len(text_ND)], text_ND)
            done += len(text_ND)

    def _without_gradient(self, label_rows: np.ndarray[Any, Any], text_ND: Tensor | None) -> Tensor:
        with torch.no_grad():
            rows = torch.from_numpy(label_rows).to(self.matrix_LD.device)
            vectors_ND = self.matrix_LD[rows] if text_ND is None else self.matrix_LD[rows] + text_ND
            return unit_rows(vectors_ND) if self._unit else vectors_ND

    def observe(self, queries_QD: Tensor) -> None:
        """See the queries that the rows are multiplied by."""
        if self._preconditioner:
            self._preconditioner.observe(queries_QD)

    def update(self, learning_rate_share: float) -> None:
        """One step of row Adagrad, on the gradient as the preconditioner turns it."""
        if self._preconditioner and self.matrix_LD.grad is not None:
            self.matrix_LD.grad = _turned(self.matrix_LD.grad, self._preconditioner)
        self._optimizer.param_groups[0]["lr"] = self._peak_rate * learning_rate_share
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """The matrix, its optimiser's number for each row, and what the preconditioner keeps."""
        kept: dict[str, Tensor] = {"matrix": self.matrix_LD.detach()}
        for name, value in self._optimizer.state[self.matrix_LD].items():
            kept[f"optimiser.{name}"] = value
        if self._preconditioner:
            kept |= {f"{PRECONDITIONER}{name}": value for name, value in self._preconditioner.state().items()}
        return kept

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        with torch.no_grad():
            self.matrix_LD.copy_(state["matrix"])
        for name, value in state.items():
            kind, _, key = name.partition(".")
            if kind == "optimiser" and not name.startswith(PRECONDITIONER):
                self._optimizer.state[self.matrix_LD][key] = value.to(self.matrix_LD.device)
        if self._preconditioner:
            self._preconditioner.load_state(_named_under(state, PRECONDITIONER))


def _named_under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _preconditioner(context: HeadContext) -> LabelPreconditioner | None:
    """That of the run's optimiser, if it has one for a label matrix; a trained head that is read needs none.

    Raises: ConfigError with several processes, each of which has a part of the matrix and of the queries.
    """
    if not isinstance(context.optimizer, LabelOptimizerOptions):
        return None
    made = context.optimizer.label_preconditioner(dimension=context.dimension, device=context.device)
    if made is not None and context.ranks is not None and context.ranks.size > 1:
        raise ConfigError(
            f"an optimizer that turns the gradient of the label matrix ({type(context.optimizer).__name__}) works in "
            f"one process, got {context.ranks.size}: each would turn that of its own labels by its own queries.",
            hint="Start xmc without torchrun, or set optimizer.name=adamw.",
        )
    return made


def _turned(gradient_LD: Tensor, preconditioner: LabelPreconditioner) -> Tensor:
    """The gradient with its rows turned, those of a sparse one alone."""
    if not gradient_LD.is_sparse:
        return preconditioner.apply(gradient_LD)
    gradient_LD = gradient_LD.coalesce()
    values_RD = preconditioner.apply(gradient_LD.values())
    return torch.sparse_coo_tensor(
        gradient_LD.indices(), values_RD, gradient_LD.shape, is_coalesced=True, check_invariants=False
    )


class MatrixVectors:
    """row, or unit(row + text): vectors whose gradient goes to the matrix and to the text's encoder."""

    def __init__(
        self,
        matrix_LD: nn.Parameter,
        label_rows: np.ndarray[Any, Any] | None,
        text: GradientVectors | None,
        *,
        unit: bool,
    ) -> None:
        self._matrix_LD, self._text = matrix_LD, text
        self._rows = None if label_rows is None else torch.from_numpy(label_rows).to(matrix_LD.device)
        rows_ND = matrix_LD.detach() if self._rows is None else matrix_LD.detach()[self._rows]
        self._rows_ND = rows_ND.requires_grad_()
        self._text_ND = None if text is None else text.embeddings_ND.detach().requires_grad_()
        with torch.enable_grad():
            graph_ND = self._rows_ND if self._text_ND is None else self._rows_ND + self._text_ND
            self._graph_ND = unit_rows(graph_ND) if unit else graph_ND
        self.embeddings_ND = self._graph_ND.detach()

    def backward(self, gradient_ND: Tensor) -> None:
        """Leave the gradient on the matrix (sparse when only some rows were asked for) and send the text's on."""
        leaves = [leaf for leaf in (self._rows_ND, self._text_ND) if leaf is not None]
        gradients = torch.autograd.grad(self._graph_ND, leaves, gradient_ND)
        rows_gradient_ND = gradients[0]
        if self._rows is not None:
            shape = self._matrix_LD.shape
            rows_gradient_ND = torch.sparse_coo_tensor(
                self._rows.unsqueeze(0), rows_gradient_ND, shape, is_coalesced=False, check_invariants=False
            )
        before = self._matrix_LD.grad
        self._matrix_LD.grad = rows_gradient_ND if before is None else before + rows_gradient_ND
        if self._text is not None:
            self._text.backward(gradients[1])
