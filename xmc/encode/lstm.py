"""The `lstm` encoder: token vectors read in order by an LSTM, pooled and projected; made without a download.

It is a sentence-transformers model of `WordEmbeddings`, `LSTM`, `Pooling` and `Dense`, so `SentenceTransformer(folder)`
opens what it saves, and all that the encoder `sentence-transformers` does with such a folder it does too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from xmc.encode.bags import TEXTS_AT_ONCE
from xmc.encode.encoder import IntArray, Role, Similarity
from xmc.encode.sentence_transformer import SentenceTransformerEncoder, SentenceTransformerOptions
from xmc.encode.tokenizer import UNKNOWN, train_tokenizer
from xmc.encode.word_tokens import WordTokens
from xmc.option_ranges import WIDEST, require_at_least, require_at_most, require_share


@dataclass(frozen=True)
class LstmOptions:
    """Options of the lstm encoder.

    `dimension`: width of an embedding. `token_dimension`: of a token's vector. `hidden`: of the LSTM's state in each
    direction. `layers`: LSTMs on top of each other. `both_directions`: read backwards as well. `pooling`: of the
    states, `mean`, `max` or the last (`lasttoken`). `max_tokens`: texts are cut there.
    `dropout`: share of tokens left out of each text while training.
    """

    dimension: int = 256
    vocabulary_size: int = 20_000
    token_dimension: int = 128
    hidden: int = 128
    layers: int = 1
    both_directions: bool = True
    pooling: Literal["mean", "max", "lasttoken"] = "mean"
    max_tokens: int = 64
    dropout: float = 0.0
    similarity: Similarity = "cosine"

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        require_at_least(1, self, "dimension", "token_dimension", "hidden", "layers", "max_tokens")
        require_at_least(100, self, "vocabulary_size")
        require_at_most(WIDEST, self, "dimension", "token_dimension", "hidden")
        require_at_most(100, self, "layers")
        require_share(self, "dropout", whole=False)

    def build(self, query_texts: Sequence[str], label_texts: Sequence[str], *, seed: int) -> LstmEncoder:
        """A fresh encoder whose tokenizer comes from the corpus; all weights start at random."""
        from sentence_transformers import SentenceTransformer

        tokenizer = train_tokenizer([*query_texts, *label_texts], vocabulary_size=self.vocabulary_size)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            modules = self._modules(tokenizer)
        return self._encoder(SentenceTransformer(modules=modules, device="cpu"))

    def load(self, folder: Path) -> LstmEncoder:
        """The encoder that `LstmEncoder.save` wrote."""
        return self._encoder(self._opened_as().load(folder).model)

    def load_training(self, folder: Path) -> LstmEncoder:
        """The encoder that `LstmEncoder.save_training` wrote."""
        return self.load(folder)

    def _encoder(self, model: Any) -> LstmEncoder:
        return LstmEncoder(model, self._opened_as(), dropout=self.dropout)

    def _opened_as(self) -> SentenceTransformerOptions:
        return SentenceTransformerOptions(similarity=self.similarity)

    def _modules(self, tokenizer: Any) -> list[Any]:
        from sentence_transformers.base.modules import Dense
        from sentence_transformers.sentence_transformer.modules import LSTM, Pooling, WordEmbeddings
        from transformers import PreTrainedTokenizerFast

        table_TD = torch.randn(tokenizer.get_vocab_size(), self.token_dimension) / self.token_dimension**0.5
        words = WordEmbeddings(
            PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=UNKNOWN),
            table_TD,
            update_embeddings=True,
            max_seq_length=self.max_tokens,
        )
        reader = LSTM(self.token_dimension, self.hidden, num_layers=self.layers, bidirectional=self.both_directions)
        width = reader.get_embedding_dimension()
        return [words, reader, Pooling(width, self.pooling), Dense(width, self.dimension, activation_function=None)]


@dataclass(frozen=True)
class TokenRows:
    """The token ids of each text, cut to what is read of it."""

    ids: list[IntArray]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: IntArray) -> TokenRows:
        """The given texts, in the given order."""
        return TokenRows([self.ids[row] for row in rows])


class LstmEncoder(SentenceTransformerEncoder):
    """A small recurrent network over trained token vectors; queries and labels are read alike, and tokenised once."""

    name = "lstm"

    def __init__(self, model: Any, options: SentenceTransformerOptions, *, dropout: float) -> None:
        super().__init__(model, options)
        self._dropout = dropout

    def prepare(self, texts: Sequence[str], role: Role) -> TokenRows:  # type: ignore[override]
        """Token ids, as `WordEmbeddings` makes them of a text."""
        del role
        words = self.model[0]
        encode = WordTokens(words.tokenizer.tokenizer.backend_tokenizer)
        parts = (list(texts[start : start + TEXTS_AT_ONCE]) for start in range(0, len(texts), TEXTS_AT_ONCE))
        return TokenRows([ids[: words.max_seq_length] for part in parts for ids in encode(part)])

    def embed(self, features: TokenRows, role: Role) -> Tensor:  # type: ignore[override]
        """Embeddings (N, D)."""
        del role
        rows = features.ids
        if self._dropout and self.module.training:
            rows = [ids[torch.rand(len(ids)).numpy() >= self._dropout] for ids in rows]
        lengths_N = torch.tensor([len(ids) for ids in rows])
        ids_NT = torch.zeros(len(rows), max(1, int(lengths_N.max())), dtype=torch.int64)
        for row, ids in enumerate(rows):
            ids_NT[row, : len(ids)] = torch.from_numpy(ids)
        mask_NT = (torch.arange(ids_NT.shape[1]) < lengths_N[:, None]).long()
        inputs = {"input_ids": ids_NT, "attention_mask": mask_NT, "sentence_lengths": lengths_N}
        inputs = {name: value.to(self.model.device) for name, value in inputs.items()}
        embeddings_ND: Tensor = self.model(inputs)["sentence_embedding"]
        return functional.normalize(embeddings_ND, dim=1) if self.similarity == "cosine" else embeddings_ND
