"""Invariants: in the stock trainer the loss falls and the right label comes first more often; accumulated batches are
one batch where every label is scored; checkpoints, evaluation, mixed precision and two towers work there."""

import pytest
import torch
from repetitions import only_in_full
from sentence_transformers import SentenceTransformer
from st_models import TINY, right_at_1, static_model, train, two_towers

from xmc.integrations.datasets import pair_dataset, query_dataset
from xmc.integrations.sentence_transformers import MultiLabelLoss

pytestmark = pytest.mark.slow
LABELS = TINY.labels.texts
PAIRS = pair_dataset(TINY.train.texts, TINY.train.positives, LABELS)
QUERIES = query_dataset(TINY.train.texts, TINY.train.positives)


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("dexml.decoupled-softmax", "pairs"),
        pytest.param("dexml.decoupled-softmax", "batch", marks=only_in_full),
        ("dexml.decoupled-softmax", "sampled"),
        ("zloss.z-loss", "all"),
        pytest.param("mw.mann-whitney", "pairs", marks=only_in_full),
    ],
)
def test_the_loss_falls_and_the_answers_get_better(name, scope, tmp_path):
    """Towers of their own, so that a query and its label have nothing in common before they are trained."""
    model = two_towers()
    before = right_at_1(model)
    settings = {} if scope == "pairs" else {"label_texts": LABELS, "label_scope": scope, "sampled_labels": 16}
    losses, _ = train(
        model,
        MultiLabelLoss(model, name, **settings),
        PAIRS if scope == "pairs" else QUERIES,
        tmp_path,
        router_mapping={"query": "query", "positive": "document"},
        dataloader_drop_last=True,
        num_train_epochs=4,
    )
    assert sum(losses[-4:]) < 0.95 * sum(losses[:4])
    assert before < 0.1 and right_at_1(model) > before + 0.4


def test_accumulated_batches_are_one_batch_where_every_label_is_scored(tmp_path):
    """Two steps of 4 x 16 queries and of 64; with SGD, since Adam would hide a wrong factor."""
    tables = []
    for size, steps in ((64, 1), (16, 4)):
        model = static_model()
        loss = MultiLabelLoss(model, label_texts=LABELS, label_scope="all")
        settings = {"max_steps": 2, "optim": "sgd", "learning_rate": 5.0, "lr_scheduler_type": "constant"}
        train(
            model,
            loss,
            QUERIES,
            tmp_path,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=steps,
            max_grad_norm=0,
            **settings,
        )
        tables.append(model[0].embedding.weight.detach().clone())
    start = static_model()[0].embedding.weight.detach()
    assert (tables[0] - start).abs().max() > 0.01
    torch.testing.assert_close(tables[0], tables[1], rtol=1e-4, atol=1e-6)


def test_two_towers_evaluation_no_duplicates_and_bfloat16(tmp_path):
    model = two_towers()
    dev = pair_dataset(TINY.dev.texts, TINY.dev.positives, LABELS)
    losses, trainer = train(
        model,
        MultiLabelLoss(model, "ldr.ldr-kl"),
        PAIRS,
        tmp_path,
        router_mapping={"query": "query", "positive": "document"},
        batch_sampler="no_duplicates",
        per_device_train_batch_size=16,
        num_train_epochs=2,
        bf16=True,
        eval_strategy="epoch",
        eval_dataset=dev,
    )
    assert sum(losses[-5:]) < sum(losses[:5])
    evaluations = [row["eval_loss"] for row in trainer.state.log_history if "eval_loss" in row]
    assert len(evaluations) == 2 and evaluations[1] < evaluations[0]


def test_a_resumed_training_draws_the_same_labels(tmp_path):
    def run(resume, **settings):
        model = static_model()
        loss = MultiLabelLoss(model, label_texts=LABELS, label_scope="sampled", sampled_labels=8)
        return train(model, loss, QUERIES, tmp_path, max_steps=6, resume=resume, **settings)[0]

    expected = run(None, save_strategy="steps", save_steps=3)
    assert run(tmp_path / "out" / "checkpoint-3") == expected


@only_in_full  # test_gradient_cache.py does it to a transformer without the trainer
@pytest.mark.pretrained
def test_minilm_in_mini_batches(tmp_path, minilm):
    """A real transformer, with the activations of four texts in memory at a time, learns eight queries."""
    model = SentenceTransformer(str(minilm), device="cpu")
    loss = MultiLabelLoss(model, label_texts=LABELS, mini_batch_size=4)
    losses, _ = train(
        model, loss, QUERIES.select(range(8)), tmp_path, per_device_train_batch_size=8, max_steps=4, learning_rate=2e-4
    )
    assert losses[-1] < losses[0] - 0.05
