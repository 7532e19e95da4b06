"""The `static` encoder: the mean of trained token vectors, fast on a CPU and made without a download.

A text's embedding is (1/n) sum_i E[token_i], optionally normalised. Saved as a sentence-transformers `StaticEmbedding`
(behind a `Router` when queries and labels have a table each), so `SentenceTransformer(folder)` gives the same vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xmc.encode.bags import Bags, tokenise
from xmc.encode.description import read_description, save_modules
from xmc.encode.encoder import ROLES, Role, Similarity
from xmc.encode.text_graph import TextGraph
from xmc.encode.tokenizer import UNKNOWN, character_ngrams, package_vectors, train_tokenizer
from xmc.encode.tower import Tower, tower_graphs
from xmc.encode.word_tokens import WordTokens
from xmc.errors import ConfigError
from xmc.option_ranges import WIDEST, require_at_least, require_at_most, require_share
from xmc.ragged import offsets_of
from xmc.unit_rows import unit_rows


@dataclass(frozen=True)
class StaticOptions:
    """Options of the static encoder.

    `shared`: one token table for queries and labels (a label never seen in training still has a vector), or one each.
    `similarity`: `cosine` normalises the embeddings, `dot` leaves their length free to mean something.
    `ngrams_shortest`, `ngrams_longest`: lengths of the character n-grams whose vectors the words share (0 = none).
    `dropout`: share of tokens left out of each text while training.
    `pretrained`: an installed package whose token vectors to start from (such as `wordllama`), or empty.
    """

    dimension: int = 256
    vocabulary_size: int = 60_000
    shared: bool = True
    similarity: Similarity = "cosine"
    ngrams_shortest: int = 3
    ngrams_longest: int = 5
    dropout: float = 0.0
    pretrained: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        require_at_least(1, self, "dimension")
        require_at_most(WIDEST, self, "dimension")
        require_at_most(100, self, "ngrams_longest")
        require_at_least(100, self, "vocabulary_size")
        require_share(self, "dropout", whole=False)
        if self.ngrams_longest and not 1 <= self.ngrams_shortest <= self.ngrams_longest:
            raise ValueError(f"ngrams_shortest must lie in [1, ngrams_longest], got {self.ngrams_shortest}")

    def build(self, query_texts: Sequence[str], label_texts: Sequence[str], *, seed: int) -> StaticEncoder:
        """A fresh encoder whose tokenizer and token weights come from the corpus.

        An untrained one already matches words: a row is a random direction whose length is the token's inverse
        document frequency, so scores are a random projection of TF-IDF matching.
        """
        if self.shared:
            tower = self._tower([*query_texts, *label_texts], seed)
            towers: dict[Role, Tower] = {"query": tower, "label": tower}
        else:
            towers = {"query": self._tower(query_texts, seed), "label": self._tower(label_texts, seed + 1)}
        return StaticEncoder(towers, similarity=self.similarity, dropout=self.dropout)

    def load(self, folder: Path) -> StaticEncoder:
        """The encoder that `StaticEncoder.save` wrote; needs no sentence-transformers import.

        Raises: ArtifactError when the folder holds another kind of encoder.
        """
        description = read_description(folder, StaticEncoder.name)
        opened = {path: Tower.load_folded(folder / path) for path in set(description["towers"].values())}
        towers = {role: opened[path] for role, path in description["towers"].items()}
        return StaticEncoder(towers, similarity=description["similarity"], dropout=self.dropout)

    def load_training(self, folder: Path) -> StaticEncoder:
        """The encoder that `StaticEncoder.save_training` wrote."""
        opened = {role: Tower.load(folder / role) for role in ROLES if (folder / role).is_dir()}
        towers = {role: opened.get(role, opened["query"]) for role in ROLES}
        return StaticEncoder(towers, similarity=self.similarity, dropout=self.dropout)

    def _tower(self, texts: Sequence[str], seed: int) -> Tower:
        generator = torch.Generator().manual_seed(seed)
        if self.pretrained:
            tokenizer, table_TD = package_vectors(self.pretrained)
            if table_TD.shape[1] != self.dimension:
                raise ConfigError(
                    f"[encoder] dimension is {self.dimension}, but the vectors of '{self.pretrained}' have "
                    f"{table_TD.shape[1]}.",
                    hint=f"Set encoder.dimension={table_TD.shape[1]}.",
                )
            return Tower(tokenizer, None, torch.from_numpy(table_TD))
        tokenizer = train_tokenizer(texts, vocabulary_size=self.vocabulary_size)
        frequency_V, unknown = _document_frequency(texts, tokenizer), tokenizer.token_to_id(UNKNOWN)
        if not self.ngrams_longest:
            table_VD = _random_directions(len(frequency_V), self.dimension, generator)
            idf_V = _idf(frequency_V, len(texts))
            idf_V[unknown] = 0  # a word of letters never seen, such as another script, says nothing
            return Tower(tokenizer, None, table_VD * torch.from_numpy(idf_V)[:, None])
        tokens = [tokenizer.id_to_token(row) for row in range(tokenizer.get_vocab_size())]
        expansion, features = character_ngrams(tokens, shortest=self.ngrams_shortest, longest=self.ngrams_longest)
        # an n-gram occurs in about as many texts as its words together do; a text with two of them counts twice
        frequency_F = np.bincount(
            expansion.ids, weights=np.repeat(frequency_V, np.diff(expansion.offsets)), minlength=features
        )
        weights = _idf(frequency_F, len(texts))[expansion.ids]
        weights[expansion.offsets[unknown] : expansion.offsets[unknown + 1]] = 0
        return Tower(
            tokenizer, replace(expansion, weights=weights), _random_directions(features, self.dimension, generator)
        )


class StaticEncoder:
    """Mean of token vectors; see the module's docstring. Safe to use from several threads once trained."""

    name = "static"
    whole_label_graph = True
    row_gradients = False

    def __init__(self, towers: dict[Role, Tower], *, similarity: Similarity, dropout: float) -> None:
        self.towers = towers
        self.similarity: Similarity = similarity
        self.dropout = dropout
        self.dimension = towers["query"].table_FD.shape[1]
        self.module = nn.ModuleList(
            [towers["query"]] if towers["query"] is towers["label"] else [towers["query"], towers["label"]]
        )

    def label_parameters(self) -> list[nn.Parameter]:
        """The label tower's own table, if it has one."""
        return [] if self.towers["query"] is self.towers["label"] else [self.towers["label"].table_FD]

    def prepare(self, texts: Sequence[str], role: Role) -> Bags:
        """Tokenise texts into bags."""
        return tokenise(texts, self.towers[role].token_ids)

    def embed(self, features: Bags, role: Role) -> Tensor:
        """Embeddings (N, D); the empty text has the zero vector."""
        dropout = self.dropout if self.module.training else 0.0
        embeddings_ND = self.towers[role](features, dropout=dropout, row_gradient=self.row_gradients)
        return unit_rows(embeddings_ND) if self.similarity == "cosine" else embeddings_ND

    def word_sums(self, words: Sequence[str], role: Role) -> Tensor:
        """The sum of each word's token vectors, (N, D): see `xmc.api.AdditiveEncoder`.

        Raises: ConfigError when the tokenizer does not split a text into words first.
        """
        tower = self.towers[role]
        if tower.tokenizer.pre_tokenizer is None:
            raise ConfigError(
                "the encoder's tokenizer does not split a text into words first, so that its embedding is no sum over "
                "words.",
                hint="Train the encoder 'static' without `pretrained`.",
            )
        ids_of_words = tower.token_ids(list(words))
        offsets = offsets_of([len(ids) for ids in ids_of_words])
        ids = np.concatenate([np.zeros(0, np.int64), *ids_of_words]).astype(np.int32)
        with torch.no_grad():
            return tower(Bags(offsets, ids, np.ones(len(ids), np.float32)))

    def text_graphs(self) -> tuple[TextGraph, ...]:
        """See `xmc.encode.text_graph.GraphEncoder`: a graph for each tower."""
        return tower_graphs(self.towers, normalise=self.similarity == "cosine")

    def save(self, folder: Path) -> None:
        """Write the sentence-transformers folder, plus a small file that lets xmc open it without that import."""
        from sentence_transformers.sentence_transformer.modules import Router, StaticEmbedding

        query, label = (self.towers[role] for role in ("query", "label"))
        parts = {
            tower: StaticEmbedding(tower.tokenizer, embedding_weights=tower.token_vectors())
            for tower in dict.fromkeys((query, label))
        }
        if query is label:
            first, paths = parts[query], {"query": ".", "label": "."}
        else:
            first = Router.for_query_document([parts[query]], [parts[label]])
            paths = {"query": "query_0_StaticEmbedding", "label": "document_0_StaticEmbedding"}
        description = {"encoder": self.name, "similarity": self.similarity, "towers": paths}
        save_modules(folder, [first], similarity=self.similarity, description=description)

    def save_training(self, folder: Path) -> None:
        """Write each tower with its feature table, not folded."""
        for role in ("query", "label") if len(self.module) > 1 else ("query",):
            self.towers[role].save(folder / role)


def _document_frequency(texts: Sequence[str], tokenizer: Any) -> np.ndarray[Any, Any]:
    """Number of texts that hold each token, (V,)."""
    return np.bincount(tokenise(texts, WordTokens(tokenizer)).ids, minlength=tokenizer.get_vocab_size())


def _idf(frequency: np.ndarray[Any, Any], texts: int) -> np.ndarray[Any, Any]:
    """log((1 + N) / (1 + document frequency)) + 1, the smooth form of scikit-learn; float32."""
    return (np.log((1 + texts) / (1 + np.minimum(frequency, texts))) + 1).astype(np.float32)


def _random_directions(rows: int, dimension: int, generator: torch.Generator) -> Tensor:
    """Independent directions of expected length 1: scalar products of sums of them estimate the overlap of the sums."""
    return torch.randn(rows, dimension, generator=generator) / dimension**0.5
