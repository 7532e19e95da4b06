"""A transformer of one layer with dropout, made from nothing, for tests that need one and no download."""

from pathlib import Path

import torch

from xmc.data.dataset import load_dataset

MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def save_transformer(folder: Path) -> Path:
    """Write a sentence-transformers folder whose words are those of `tiny`."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    data = load_dataset("tiny")
    words = sorted({word for text in (*data.labels.texts, *data.train.texts) for word in text.lower().split()})
    parts = folder / "parts"
    parts.mkdir(parents=True)
    (parts / "vocab.txt").write_text("\n".join((*MARKS, *words)) + "\n", encoding="utf-8")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(MARKS) + len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, hidden_dropout_prob=0.3, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(parts)
    BertTokenizerFast(vocab=str(parts / "vocab.txt")).save_pretrained(parts)
    words_model = Transformer(str(parts), max_seq_length=32)
    model = SentenceTransformer(modules=[words_model, Pooling(words_model.get_embedding_dimension())], device="cpu")
    model.save(str(folder / "model"))
    return folder / "model"
