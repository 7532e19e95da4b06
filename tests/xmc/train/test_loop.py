"""Invariants: a run is the naive loop over batches with autograd; chunks, row gradients and memory limits change
nothing but speed; a bad step is named; the best encoder is the one that is kept."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from train_cases import LetterEncoder, dual_encoder, random_texts

from xmc.api import LossInputs, Positives
from xmc.encode.static import StaticOptions
from xmc.errors import NonFiniteError, PluginError, XmcWarning
from xmc.plugin_manager import load_plugins
from xmc.train.core_optimizers import AdamW, RowAdagradOptions
from xmc.train.loop import Trainer, TrainingSet
from xmc.train.options import TrainOptions
from xmc.train.schedule import Pool, batch_rows, learning_rate_share, step_generator
from xmc_kfac.options import KFacOptions

QUERIES, LABELS = 20, 9
OPTIONS = TrainOptions(epochs=3, batch_size=8, learning_rate=0.05, weight_decay=0.01, clip_norm=0.5, seed=4)
DEXML = load_plugins().find("loss", "dexml.decoupled-softmax").spec.load()(temperature=0.5)


def make_positives(queries=QUERIES, seed=0):
    generator = np.random.default_rng(seed)
    rows = [np.sort(generator.choice(LABELS, size=generator.integers(0, 4), replace=False)) for _ in range(queries)]
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in rows]))).astype(np.int64)
    flat = np.concatenate(rows).astype(np.int32)
    return Positives(offsets, flat, (1 + generator.random(len(flat))).astype(np.float32))


def make_data(encoder, *, validation=False):
    held_out = (encoder.prepare(random_texts(6, 7), "query"), make_positives(6, seed=7)) if validation else None
    queries = encoder.prepare(random_texts(QUERIES, 1), "query")
    return TrainingSet(queries, Pool(QUERIES), make_positives(), LABELS, held_out)


def make_trainer(encoder, folder, options=OPTIONS, *, loss=DEXML, pool="row", validation=False, on_best=None, **more):
    data = make_data(encoder, validation=validation)
    head = dual_encoder(encoder, options, loss=loss, pool=pool, labels=random_texts(LABELS, 2))
    return Trainer(encoder, head, data, options, folder, {}, on_best=on_best or (lambda _: None), **more)


def weights(encoder):
    return {name: tensor.clone() for name, tensor in encoder.module.state_dict().items()}


def naive_training(encoder, options, loss=DEXML):
    """Whole score matrix, dense relevance, autograd, plain AdamW."""
    data, labels = make_data(encoder), encoder.prepare(random_texts(LABELS, 2), "label")
    groups = [{"params": list(encoder.module.parameters())}]
    optimizer = torch.optim.AdamW(
        groups, betas=(0.9, options.second_moment_decay), weight_decay=options.weight_decay, fused=False, foreach=False
    )
    steps = math.ceil(QUERIES / options.batch_size)
    losses = []
    for step in range(options.epochs * steps):
        rows = batch_rows(step, data.pool, options)
        relevance_QL = torch.zeros(len(rows), LABELS, dtype=torch.float64)
        for position, row in enumerate(rows):
            for entry in range(data.positives.offsets[row], data.positives.offsets[row + 1]):
                relevance_QL[position, data.positives.label_rows[entry]] = float(data.positives.weights[entry])
        columns = list(range(LABELS))
        if options.label_scope == "sampled":
            drawn = step_generator(step, options).integers(0, LABELS, size=min(options.sampled_labels, LABELS))
            columns = sorted({*drawn.tolist(), *relevance_QL.sum(dim=0).nonzero().flatten().tolist()})
        scores_QC = encoder.embed(data.queries.take(rows), "query") @ encoder.embed(labels, "label")[columns].T
        losses_Q = loss(LossInputs.from_dense(scores_QC, relevance_QL[:, columns]))
        optimizer.zero_grad()
        losses_Q.mean().backward()
        if options.clip_norm:
            torch.nn.utils.clip_grad_norm_(encoder.module.parameters(), options.clip_norm)
        optimizer.param_groups[0]["lr"] = options.learning_rate * learning_rate_share(
            step, options.epochs * steps, options
        )
        optimizer.step()
        losses.append(losses_Q.mean().item())
    per_epoch = [sum(losses[i : i + steps]) / steps for i in range(0, len(losses), steps)]
    return weights(encoder), per_epoch


@pytest.mark.parametrize(
    "options",
    [
        OPTIONS,
        replace(OPTIONS, label_chunk=2),
        replace(OPTIONS, clip_norm=0.0, schedule="cosine", warmup_share=0.5, batch_size=100),
        replace(OPTIONS, label_scope="sampled", sampled_labels=3),
        replace(OPTIONS, label_scope="sampled", sampled_labels=3, label_chunk=2),
    ],
    ids=["all", "chunks", "one batch", "sampled", "sampled in chunks"],
)
def test_a_run_is_the_naive_loop(tmp_path, options):
    encoder = LetterEncoder()
    progress = make_trainer(encoder, tmp_path, options).run()
    expected, losses = naive_training(LetterEncoder(), options)
    for name, tensor in weights(encoder).items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-8, atol=1e-10)
    assert [row["loss"] for row in progress.curve] == pytest.approx(losses)
    assert [row["epoch"] for row in progress.curve] == [1, 2, 3]


@pytest.mark.parametrize("optimizer", [AdamW(), RowAdagradOptions(), KFacOptions(factor_steps=2)])
def test_label_chunks_and_memory_limits_change_nothing(tmp_path, optimizer):
    results = []
    for number, changes in enumerate(({}, {"label_chunk": 3, "score_memory_mb": 1})):
        encoder = LetterEncoder()
        options = replace(OPTIONS, weight_decay=0.0, **changes)
        make_trainer(encoder, tmp_path / str(number), options, optimizer_options=optimizer).run()
        results.append(weights(encoder))
    for name in results[0]:
        torch.testing.assert_close(results[0][name], results[1][name], rtol=1e-6, atol=1e-6)


def test_row_gradients_learn_what_dense_ones_do(tmp_path):
    """The static encoder with shared tables: both towers send sparse gradients into one."""
    texts, labels = random_texts(QUERIES, 1), random_texts(LABELS, 2)
    options = replace(OPTIONS, weight_decay=0.0)
    results = []
    for dense in (False, True):
        encoder = StaticOptions(dimension=4, vocabulary_size=200).build(texts, labels, seed=0)
        trainer = make_trainer(encoder, tmp_path / str(dense), options, optimizer_options=RowAdagradOptions())
        assert encoder.row_gradients
        encoder.row_gradients = not dense
        trainer.run()
        results.append(weights(encoder))
    for name in results[0]:
        torch.testing.assert_close(results[0][name], results[1][name], rtol=1e-4, atol=1e-5)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(tmp_path):
    results = []
    for number, seed in enumerate((4, 4, 5)):
        encoder = LetterEncoder(dropout=0.3)
        torch.rand(number)  # what happened before does not matter
        make_trainer(encoder, tmp_path / str(number), replace(OPTIONS, seed=seed)).run()
        results.append(weights(encoder))
    first, same, other = results
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_without_validation_every_epoch_is_kept_and_the_curve_says_so(tmp_path):
    kept = []
    progress = make_trainer(LetterEncoder(), tmp_path, on_best=kept.append).run()
    assert len(kept) == 3 and progress.best_epoch == 3
    assert [row["validation_p1"] for row in progress.curve] == [-1.0] * 3


def test_with_validation_the_best_epoch_is_kept_and_patience_stops(tmp_path):
    kept, reported = [], []

    class Reporter:
        def step_finished(self, step, total_steps, loss, queries):
            reported.append((step, total_steps, queries))

        def epoch_finished(self, row):
            reported.append(row["validation_p1"])

    options = replace(OPTIONS, epochs=50, learning_rate=1e-12, patience=2)  # learns nothing: the first epoch is best
    trainer = make_trainer(
        LetterEncoder(), tmp_path, options, validation=True, on_best=kept.append, reporter=Reporter()
    )
    progress = trainer.run()
    assert len(kept) == 1 and progress.best_epoch == 1 and progress.finished
    assert len(progress.curve) == 3, "two epochs without a better figure"
    assert [entry for entry in reported if isinstance(entry, tuple)] == [
        (step, 150, 4 if step % 3 == 0 else 8) for step in range(1, 10)
    ]


def test_without_patience_it_goes_to_the_end(tmp_path):
    options = replace(OPTIONS, epochs=6, learning_rate=1e-12, patience=0)
    assert len(make_trainer(LetterEncoder(), tmp_path, options, validation=True).run().curve) == 6


class Broken:
    """Sound for the first steps, then a NaN in the value or in the gradient."""

    def __init__(self, where, after):
        self.where, self.left = where, after

    def __call__(self, inputs):
        self.left -= 1
        losses_Q = DEXML(inputs)
        if self.left >= 0:
            return losses_Q
        return losses_Q * float("nan") if self.where == "value" else losses_Q + (inputs.scores_QC.sum(dim=1) * 0).sqrt()


@pytest.mark.parametrize(
    ("where", "after", "message"),
    [
        (
            "value",
            4,
            r"step 4: the loss is not finite for batch rows \[0, 1, 2, 3, 4\] \(8 in all\)\. .*smaller learning_rate",
        ),
        ("gradient", 4, "step 4: the gradient is not finite"),
        ("value", 0, r"step 0: the loss is not finite.*learning rate is not to blame but the loss"),
    ],
)
def test_a_step_that_is_not_finite_stops_the_run_naming_it(tmp_path, where, after, message):
    encoder = LetterEncoder()
    trainer = make_trainer(encoder, tmp_path, loss=Broken(where, after=after))
    with pytest.raises(NonFiniteError, match=message):
        trainer.run()
    assert all(torch.isfinite(tensor).all() for tensor in weights(encoder).values())


class Spoiling(torch.optim.SGD):
    """A step that leaves no weight finite."""

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.fill_(math.inf)


@pytest.mark.parametrize("batch_size", [QUERIES, 8])
def test_weights_that_a_step_has_spoilt_become_neither_model_nor_checkpoint(tmp_path, batch_size):
    kept = []
    options = replace(OPTIONS, batch_size=batch_size, checkpoint_s=0.0)
    spoiling = SimpleNamespace(build=lambda context: Spoiling(context.groups))
    trainer = make_trainer(LetterEncoder(), tmp_path, options, on_best=kept.append, optimizer_options=spoiling)
    with pytest.raises(NonFiniteError, match=r"step 0 has made weights that are not finite: a learning rate is likely"):
        trainer.run()
    assert not kept and not (tmp_path / "checkpoint").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda learned: replace(learned, losses_Q=learned.losses_Q.mean()),
            r"losses_Q of shape \(\), wanted is \(8,\)",
        ),
        (lambda learned: replace(learned, queries_gradient_QD=None), "queries_gradient_QD as NoneType"),
        (lambda learned: (learned.losses_Q, learned.queries_gradient_QD), r"answers a tuple\. It answers Learned"),
    ],
)
def test_what_a_head_answers_in_another_form_is_refused(tmp_path, change, message):
    trainer = make_trainer(LetterEncoder(), tmp_path)
    learn = trainer.head.learn
    trainer.head.learn = lambda queries_QD, batch: change(learn(queries_QD, batch))
    with pytest.raises(PluginError, match=rf"head ScoredHead: learn\(\) .*{message}"):
        trainer.run()


def test_a_loss_of_a_head_that_is_not_finite_is_said_though_its_gradient_is(tmp_path):
    trainer = make_trainer(LetterEncoder(), tmp_path)
    learn = trainer.head.learn
    trainer.head.learn = lambda queries_QD, batch: replace(
        learn(queries_QD, batch), losses_Q=torch.full((8,), math.nan)
    )
    with pytest.raises(NonFiniteError, match="step 0: the loss is not finite"):
        trainer.run()


def test_a_loss_that_asks_nothing_of_the_labels_is_told_once(tmp_path):
    loss = load_plugins().find("loss", "dexml.soft-top-k").spec.load()(k=LABELS)
    encoder = LetterEncoder()
    before = weights(encoder)
    with pytest.warns(XmcWarning, match="no gradient for any query so far, so nothing was learned") as told:
        make_trainer(encoder, tmp_path, replace(OPTIONS, weight_decay=0.0), loss=loss).run()
    assert len(told) == 1
    assert all(torch.equal(value, before[name]) for name, value in weights(encoder).items())


def test_a_batch_without_any_positive_teaches_nothing(tmp_path):
    encoder = LetterEncoder()
    trainer = make_trainer(encoder, tmp_path, replace(OPTIONS, weight_decay=0.0))
    nothing = Positives(np.zeros(QUERIES + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    trainer.data = replace(trainer.data, positives=nothing)
    before = weights(encoder)
    with pytest.warns(XmcWarning, match="nothing was learned"):
        progress = trainer.run()
    assert [row["loss"] for row in progress.curve] == [0.0, 0.0, 0.0]
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(encoder).items())
