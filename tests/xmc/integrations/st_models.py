"""Real sentence-transformers models that need no download, and the data set `tiny` for them."""

import torch
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.modules import Router, StaticEmbedding

from xmc.data.dataset import load_dataset
from xmc.encode.tokenizer import train_tokenizer

TINY = load_dataset("tiny")


def static_tower(dimension, texts=(*TINY.train.texts, *TINY.labels.texts)):
    return StaticEmbedding(train_tokenizer(texts, vocabulary_size=2000), embedding_dim=dimension)


def static_model(dimension=32, seed=0):
    """Random token vectors: it knows nothing."""
    torch.manual_seed(seed)
    return SentenceTransformer(modules=[static_tower(dimension)], device="cpu")


def two_towers(dimension=32):
    torch.manual_seed(0)
    router = Router.for_query_document([static_tower(dimension)], [static_tower(dimension)])
    return SentenceTransformer(modules=[router], device="cpu")


def right_at_1(model):
    """Share of test queries whose best label is right, by a loop."""
    queries_QD = model.encode_query(list(TINY.test.texts), convert_to_tensor=True, normalize_embeddings=True)
    labels_LD = model.encode_document(list(TINY.labels.texts), convert_to_tensor=True, normalize_embeddings=True)
    best = (queries_QD @ labels_LD.T).argmax(dim=1).tolist()
    return sum(row in TINY.test.positives.take([q]).label_rows for q, row in enumerate(best)) / len(best)


def train(model, loss, dataset, folder, *, resume=None, eval_dataset=None, **arguments):
    """Train in the stock trainer; the losses that it logged, one a step, and the trainer."""
    settings = {
        "output_dir": str(folder / "out"),
        "per_device_train_batch_size": 64,
        "num_train_epochs": 3,
        "learning_rate": 0.05,
        "logging_steps": 1,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
        "seed": 0,
    }
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(**(settings | arguments)),
        train_dataset=dataset,
        eval_dataset=eval_dataset,
        loss=loss,
    )
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    return [row["loss"] for row in trainer.state.log_history if "loss" in row], trainer
