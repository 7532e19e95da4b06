"""xmc's losses in the trainer of sentence-transformers: every positive of a query counts, none becomes a negative."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xmc.api import Loss, RowStateLoss, query_losses, validate_similarity
from xmc.config import build_options
from xmc.errors import ConfigError, DataError
from xmc.integrations.batch_labels import BatchLabels, LabelScope
from xmc.integrations.mini_batches import embed, slices
from xmc.plugin_manager import Offer, load_plugins


class MultiLabelLoss(nn.Module):
    """A loss of xmc for `SentenceTransformerTrainer(loss=...)`; its value is the mean over the queries of the batch.

    `loss` is the name of an installed loss, with `options` as its settings, or a loss itself. `similarity` is `cosine`
    or `dot`; scores are computed in float32, also under mixed precision.

    Without `label_texts` the data set has pairs (`pair_dataset`), and a query is scored against the labels of its
    batch. With `label_texts` it has queries (`query_dataset`), and the loss embeds the labels itself: those that are
    positive for a query of the batch (`label_scope="batch"`), these and `sampled_labels` drawn at random (`"sampled"`),
    or all of them (`"all"`). `label_prompt` is put before each label text. Either way a label is scored once however
    often it occurs, and it is a positive of every query that it is right for.

    `mini_batch_size` embeds so many texts at a time and does it once more on the way back, so that memory holds the
    activations of one such part only; the gradient is the same (0 = all texts at once).
    Raises: ConfigError or PluginError for arguments that are not allowed, and for a loss that learns from a teacher or
    keeps a number for each query; DataError for a batch without the right columns.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: str | Loss = "dexml.decoupled-softmax",
        *,
        options: Mapping[str, Any] | None = None,
        similarity: str = "cosine",
        label_texts: Sequence[str] | None = None,
        label_scope: LabelScope = "batch",
        sampled_labels: int = 4096,
        label_prompt: str = "",
        mini_batch_size: int = 0,
    ) -> None:
        super().__init__()
        validate_similarity(similarity)
        _validate(label_texts, label_scope, label_prompt, sampled_labels, mini_batch_size)
        self.model: Any = model  # the trainer puts the wrapped model in its place by this name
        self.loss, self._offer = _make_loss(loss, options)
        _require_scores_alone(self.loss, self._name())
        self.similarity = similarity
        self.label_texts = None if label_texts is None else list(label_texts)
        self.label_scope = label_scope
        self.sampled_labels = sampled_labels
        self.label_prompt = label_prompt
        self.mini_batch_size = mini_batch_size
        self._drawn_for: tuple[Tensor | None, int] | None = None

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: Tensor | None = None) -> Tensor:
        """The mean loss of the batch: the features of each text column, and the column `label`, (B, T + N)."""
        query_features, *text_features = sentence_features
        label_count = None if self.label_texts is None else len(self.label_texts)
        if bool(text_features) == (label_count is not None):
            raise DataError(
                f"the batch has {1 + len(text_features)} text columns, expected "
                + (
                    "at least 2: query and label." if label_count is None else "1, the query, since label_texts is set."
                ),
                hint="Use pair_dataset without label_texts, and query_dataset with them.",
            )
        batch = BatchLabels.from_column(labels, text_columns=len(text_features), label_count=label_count)
        queries_BD = self._embed(query_features)
        log_inclusion_C = None
        if label_count is None:
            scored_rows_C, first_C = batch.scored_texts()
            texts_ND = torch.cat([self._embed(features) for features in text_features])
            labels_CD = texts_ND[torch.from_numpy(first_C).to(texts_ND.device)]
        else:
            scored_rows_C, log_inclusion_C = batch.scored_rows(
                self.label_scope, label_count=label_count, sample=self.sampled_labels, generator=self._generator(labels)
            )
            labels_CD = self._embed_labels(scored_rows_C, device=queries_BD.device)
        return self._mean_loss(queries_BD, labels_CD, batch, scored_rows_C, log_inclusion_C)

    def get_config_dict(self) -> dict[str, Any]:
        """The settings, for the model card."""
        config = {"loss": self._name(), **dataclasses.asdict(self.loss)}  # type: ignore[call-overload]
        config |= {"similarity": self.similarity, "mini_batch_size": self.mini_batch_size}
        if self.label_texts is not None:
            config |= {"label_texts": len(self.label_texts), "label_scope": self.label_scope}
            config |= {"label_prompt": self.label_prompt}
        if self.label_scope == "sampled":
            config["sampled_labels"] = self.sampled_labels
        return config

    @property
    def citation(self) -> str:
        """A BibTeX entry of the paper behind the loss, for the model card."""
        reference = self._offer.spec.reference if self._offer else ""
        return f"@misc{{{self._name()},\n    note = {{{reference or 'a loss of xmc-engine'}}},\n}}"

    def _name(self) -> str:
        return self._offer.full_name if self._offer else type(self.loss).__name__

    def _embed(self, features: dict[str, Any]) -> Tensor:
        parts = slices(features, self.mini_batch_size) if self.mini_batch_size else [features]
        return embed(self.model, parts, recompute=bool(self.mini_batch_size))

    def _embed_labels(self, label_rows_C: np.ndarray[Any, Any], *, device: torch.device) -> Tensor:
        if len(label_rows_C) == 0:
            raise DataError("no query of the batch has a positive, so there is no label to score.")
        texts = [self.label_texts[row] for row in label_rows_C.tolist()]  # type: ignore[index]
        size = self.mini_batch_size or len(texts)
        parts = []
        for start in range(0, len(texts), size):
            features = self.model.preprocess(
                texts[start : start + size], prompt=self.label_prompt or None, task="document"
            )
            on_device = {
                key: value.to(device) if isinstance(value, Tensor) else value for key, value in features.items()
            }
            parts.append({**on_device, "task": "document"})  # for a model with a tower for each
        return embed(self.model, parts, recompute=bool(self.mini_batch_size))

    def _mean_loss(
        self,
        queries_BD: Tensor,
        labels_CD: Tensor,
        batch: BatchLabels,
        scored_rows_C: np.ndarray[Any, Any],
        log_inclusion_C: Tensor | None,
    ) -> Tensor:
        with torch.autocast(queries_BD.device.type, enabled=False):
            # a temperature of 0.05 leaves of bfloat16's three digits of a score not much
            queries_BD, labels_CD = (
                embeddings if embeddings.dtype == torch.float64 else embeddings.float()
                for embeddings in (queries_BD, labels_CD)
            )
            if self.similarity == "cosine":
                queries_BD, labels_CD = functional.normalize(queries_BD, dim=1), functional.normalize(labels_CD, dim=1)
            inputs = batch.loss_inputs(queries_BD @ labels_CD.T, scored_rows_C, log_inclusion_C)
            if self.similarity == "dot":  # those of cosine are 1
                norms = {"query_norms_Q": queries_BD.norm(dim=1), "label_norms_C": labels_CD.detach().norm(dim=1)}
                inputs = replace(inputs, **norms)
            learns = inputs.scores_QC.requires_grad  # not in an evaluation
            return query_losses(self.loss, inputs, queries=len(queries_BD), gradient=learns).mean()

    def _generator(self, labels: Tensor | None) -> np.random.Generator:
        """Draws that follow torch's seed, which the trainer sets and restores; in evaluation always the same."""
        if not self.model.training:
            return np.random.default_rng(0)
        if self._drawn_for is None or self._drawn_for[0] is not labels:
            # MatryoshkaLoss asks several times for one batch, and answers for the model from the first time on
            self._drawn_for = (labels, int(torch.randint(2**62, ())))
        return np.random.default_rng(self._drawn_for[1])


def _make_loss(loss: str | Loss, options: Mapping[str, Any] | None) -> tuple[Loss, Offer | None]:
    plugins = load_plugins()
    if isinstance(loss, str):
        offer = plugins.find("loss", loss)
        made: Loss = build_options(offer.load(), options or {}, section="loss", source=f"loss '{loss}'")
        return made, offer
    if isinstance(loss, type) or not (callable(loss) and dataclasses.is_dataclass(loss)):
        raise ConfigError(
            f"loss must be the name of a loss or a loss (a dataclass instance), got {loss!r}.",
            hint="Names: xmc plugins --kind loss",
        )
    if options:
        raise ConfigError("options belong to a loss that is given by name.", hint="Set them in the loss itself.")
    target = f"{type(loss).__module__}:{type(loss).__qualname__}"
    offers = [offer for offer in plugins.offers["loss"] if offer.spec.target == target]
    return loss, offers[0] if offers else None


def _require_scores_alone(loss: Loss, name: str) -> None:
    """Raise the ConfigError of a loss that learns from more of a query than there is in this trainer."""
    if isinstance(loss, RowStateLoss):
        raise ConfigError(
            f"the loss {name} keeps a number for each training query from one visit to the next, for which this "
            "trainer has no place: it would learn with the start value for ever.",
            hint="Train with `xmc train`, or take a loss without a memory, such as ldr.ldr-kl for ldr.aldr-kl.",
        )
    if "teacher" in getattr(loss, "needs", ()):
        raise ConfigError(
            f"the loss {name} learns from a teacher's scores, which the batches of this trainer do not have.",
            hint="Train with `xmc train`, or take distill.nd or distill.uskd, which need none.",
        )


def _validate(
    label_texts: Sequence[str] | None, label_scope: str, label_prompt: str, sampled_labels: int, mini_batch_size: int
) -> None:
    if label_scope not in ("batch", "sampled", "all"):
        raise ConfigError(f"label_scope must be 'batch', 'sampled' or 'all', got {label_scope!r}.")
    if label_texts is None and (label_scope != "batch" or label_prompt):
        raise ConfigError("label_scope and label_prompt are for labels that the loss embeds.", hint="Set label_texts.")
    if label_texts is not None and (isinstance(label_texts, str) or len(label_texts) == 0):
        raise ConfigError(f"label_texts must be a list of at least one text, got {label_texts!r}.")
    if sampled_labels < 1 or mini_batch_size < 0:
        raise ConfigError(
            f"sampled_labels must be >= 1 and mini_batch_size >= 0, got {sampled_labels} and {mini_batch_size}."
        )
