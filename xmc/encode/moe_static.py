"""The `moe-static` encoder: the mean of trained token vectors, mapped by a mixture of experts.

Queries and labels share the mixture where they share the table, else each side has its own. The mixture makes the
embedding more than a sum over words, so the exact certificates of `static` do not hold for it and are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from xmc.encode.bags import Bags
from xmc.encode.description import read_description, save_modules
from xmc.encode.encoder import ROLES, Role, Similarity
from xmc.encode.mixture import MixtureOfExperts, MixtureOptions
from xmc.encode.static import StaticEncoder, StaticOptions
from xmc.encode.text_graph import TextGraph
from xmc.encode.tower import Tower
from xmc.unit_rows import unit_rows


@dataclass(frozen=True)
class MoeStaticOptions(MixtureOptions, StaticOptions):
    """Options of the `static` encoder, and of the mixture of experts on top of it.

    `experts`: linear maps there are. `kept`: those of them that a text goes through; with one its gate is always 1, so
    that who goes where is never learned. `balance`: weight of the term that asks for equal shares of the texts.
    `capacity`: in training, an expert takes at most so many times its equal share of a batch (0 = all).
    `rate`: the mixture learns at so many times the rate of the encoder below, whose rows or layers want other steps.
    The others are those of `static`.
    """

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        MixtureOptions.__post_init__(self)
        StaticOptions.__post_init__(self)

    def build(self, query_texts: Sequence[str], label_texts: Sequence[str], *, seed: int) -> MoeStaticEncoder:  # type: ignore[override]
        """A fresh `static` encoder under experts that are nearly the identity."""
        towers = StaticOptions.build(self, query_texts, label_texts, seed=seed).towers
        layers = {
            id(tower): MixtureOfExperts(self.dimension, self.mixture, seed=seed) for tower in set(towers.values())
        }
        return self._encoder(towers, {role: layers[id(tower)] for role, tower in towers.items()})

    def load(self, folder: Path) -> MoeStaticEncoder:  # type: ignore[override]
        """The encoder that `MoeStaticEncoder.save` wrote; needs no sentence-transformers import.

        Raises: ArtifactError when the folder holds another kind of encoder.
        """
        description = read_description(folder, MoeStaticEncoder.name)
        towers = {path: Tower.load_folded(folder / path) for path in set(description["towers"].values())}
        layers = {path: MixtureOfExperts.load(folder / path) for path in set(description["mixtures"].values())}
        encoder = self._encoder(
            {role: towers[description["towers"][role]] for role in ROLES},
            {role: layers[description["mixtures"][role]] for role in ROLES},
        )
        encoder.similarity = description["similarity"]
        return encoder

    def load_training(self, folder: Path) -> MoeStaticEncoder:  # type: ignore[override]
        """The encoder that `MoeStaticEncoder.save_training` wrote."""
        towers = StaticOptions.load_training(self, folder).towers
        layers = {role: MixtureOfExperts.load(path) for role in ROLES if (path := folder / f"{role}-mixture").is_dir()}
        return self._encoder(towers, {role: layers.get(role, layers["query"]) for role in ROLES})

    def _encoder(self, towers: dict[Role, Tower], layers: dict[Role, MixtureOfExperts]) -> MoeStaticEncoder:
        base = StaticEncoder(towers, similarity="dot", dropout=self.dropout)
        return MoeStaticEncoder(base, layers, similarity=self.similarity)


class MoeStaticEncoder:
    """See the module's docstring. Safe to use from several threads once trained."""

    name = "moe-static"
    whole_label_graph = True
    row_gradients = False

    def __init__(self, base: StaticEncoder, layers: dict[Role, MixtureOfExperts], *, similarity: Similarity) -> None:
        self.layers = layers
        self.similarity: Similarity = similarity
        self.dimension = base.dimension
        self._base = base
        distinct = dict.fromkeys(layers[role] for role in ROLES)
        self.module = nn.ModuleList([base.module, *distinct])

    def label_parameters(self) -> list[nn.Parameter]:
        """The label side's own table and mixture, if it has them."""
        own = self._base.label_parameters()
        return [*own, *self.layers["label"].parameters()] if own else []

    def prepare(self, texts: Sequence[str], role: Role) -> Bags:
        """Tokenise texts into bags."""
        return self._base.prepare(texts, role)

    def embed(self, features: Bags, role: Role) -> Tensor:
        """Embeddings (N, D)."""
        self._base.row_gradients = self.row_gradients
        embeddings_ND: Tensor = self.layers[role](self._base.embed(features, role))
        return unit_rows(embeddings_ND) if self.similarity == "cosine" else embeddings_ND

    def text_graphs(self) -> tuple[TextGraph, ...]:
        """See `xmc.encode.text_graph.GraphEncoder`."""
        return tuple(
            replace(graph, module=_Mapped(graph.module, self.layers[role], normalise=self.similarity == "cosine"))
            for graph in self._base.text_graphs()
            for role in ROLES
            if role == next(iter(graph.prompts))
        )

    def save(self, folder: Path) -> None:
        """Write a sentence-transformers folder; the mixture is xmc's own module, so opening it there needs xmc.

        `SentenceTransformer(folder, trust_remote_code=True)` is how sentence-transformers allows such a module.
        """
        from sentence_transformers.sentence_transformer.modules import Router, StaticEmbedding

        from xmc.encode.mixture_module import MixtureModule

        sides: dict[Role, list[Any]] = {
            role: [
                StaticEmbedding(tower.tokenizer, embedding_weights=tower.token_vectors()),
                MixtureModule(deepcopy(self.layers[role])),  # a copy, for the model below moves to the CPU
            ]
            for role, tower in self._base.towers.items()
        }
        if len(self.module) == 2:
            modules, paths = sides["query"], dict.fromkeys(ROLES, (".", "1_MixtureModule"))
        else:
            modules = [Router.for_query_document(sides["query"], sides["label"])]
            names: dict[Role, str] = {"query": "query", "label": "document"}
            paths = {role: (f"{names[role]}_0_StaticEmbedding", f"{names[role]}_1_MixtureModule") for role in ROLES}
        towers, mixtures = ({role: paths[role][part] for role in ROLES} for part in (0, 1))
        description = {"encoder": self.name, "similarity": self.similarity, "towers": towers, "mixtures": mixtures}
        save_modules(folder, modules, similarity=self.similarity, description=description)

    def save_training(self, folder: Path) -> None:
        """Write each tower with its feature table, not folded, and each mixture."""
        self._base.save_training(folder)
        for role in ROLES[: len(self.module) - 1]:
            self.layers[role].save(folder / f"{role}-mixture")


class _Mapped(nn.Module):
    """A text graph with the mixture behind it."""

    def __init__(self, graph: nn.Module, layer: MixtureOfExperts, *, normalise: bool) -> None:
        super().__init__()
        self.graph, self.layer, self.normalise = graph, layer, normalise

    def forward(self, *tensors: Tensor) -> Tensor:
        embeddings_ND: Tensor = self.layer(self.graph(*tensors))
        return functional.normalize(embeddings_ND, dim=1) if self.normalise else embeddings_ND
