"""Invariants: bfloat16 changes a little and only while learning; all that is stored or summed stays float32; the second
pass of a cached gradient multiplies as the first did."""

import pytest
import torch
from distributed_cases import DEXML, LABELS, OPTIONS, QUERIES, make_positives
from train_cases import LetterEncoder, dual_encoder, random_texts

from xmc.encode.encoder import embed_chunks
from xmc.encode.static import StaticOptions
from xmc.errors import DeviceError
from xmc.train import precision as module
from xmc.train.gradient_cache import CachedEmbeddings, WholeGraphEmbeddings
from xmc.train.loop import Trainer, TrainingSet
from xmc.train.options import TrainOptions
from xmc.train.precision import choose_precision, has_bfloat16, score_products
from xmc.train.schedule import Pool

needs_bfloat16 = pytest.mark.skipif(not has_bfloat16("cpu"), reason="this processor has no bfloat16")


def float32_letters(**options):
    return LetterEncoder(dtype=torch.float32, **options)


def static():
    return StaticOptions(dimension=4).build(["fog"], ["rain"], seed=0)


def run(folder, precision, *, dropout=0.0):
    encoder, options = float32_letters(dropout=dropout), TrainOptions(**{**vars(OPTIONS), "precision": precision})
    head = dual_encoder(encoder, options, loss=DEXML, labels=random_texts(LABELS, 2))
    queries = encoder.prepare(random_texts(QUERIES, 1), "query")
    data = TrainingSet(queries, Pool(QUERIES), make_positives(), LABELS, None)
    progress = Trainer(encoder, head, data, options, folder, {}, on_best=lambda _: None).run()
    return [row["loss"] for row in progress.curve], encoder.module.state_dict()


@needs_bfloat16
def test_training_in_bfloat16_is_close_to_float32_and_not_the_same(tmp_path):
    exact, _ = run(tmp_path / "float32", "float32")
    mixed, weights = run(tmp_path / "bfloat16", "bfloat16")
    assert mixed == pytest.approx(exact, rel=0.02) and mixed != exact
    assert all(tensor.dtype == torch.float32 for tensor in weights.values())


@needs_bfloat16
def test_the_same_seed_gives_the_same_bits(tmp_path):
    one, other = (run(tmp_path / name, "bfloat16", dropout=0.3) for name in ("one", "other"))
    assert one[0] == other[0] and all(torch.equal(one[1][name], other[1][name]) for name in one[1])


@needs_bfloat16
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_cached_gradient_is_that_of_the_whole_graph(dropout):
    encoder = float32_letters(dropout=dropout)
    features, upstream_ND = encoder.prepare(random_texts(6, 0), "label"), torch.randn(6, 4)
    gradients = []
    for make in (
        lambda: CachedEmbeddings(encoder, features, "label", chunk_size=6, precision="bfloat16"),
        lambda: WholeGraphEmbeddings(encoder, features, "label", precision="bfloat16"),
    ):
        torch.manual_seed(5)
        embedded = make()
        assert embedded.embeddings_ND.dtype == torch.float32
        assert torch.equal(embedded.embeddings_ND.bfloat16().float(), embedded.embeddings_ND), "made in bfloat16"
        embedded.backward(upstream_ND)
        gradients.append([p.grad.clone() for p in encoder.module["label"].parameters()])
        assert all(gradient.dtype == torch.float32 for gradient in gradients[-1])
        encoder.module.zero_grad()
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


@needs_bfloat16
def test_what_is_validated_and_indexed_is_made_in_float32():
    encoder = float32_letters()
    (embeddings_ND,) = embed_chunks(encoder, encoder.prepare(random_texts(6, 0), "query"), "query")
    assert not torch.equal(embeddings_ND.bfloat16().float(), embeddings_ND)


def test_which_precision_a_run_gets(monkeypatch):
    choose = lambda wanted, encoder, device="cpu": choose_precision(wanted, encoder=encoder, device=device)  # noqa: E731
    monkeypatch.setattr(module, "has_bfloat16", lambda device: True)
    assert choose("auto", float32_letters()) == choose("float32", static()) == "float32"
    assert choose("bfloat16", float32_letters()) == choose("bfloat16", static()) == "bfloat16"
    monkeypatch.setattr(module, "has_bfloat16", lambda device: device == "cuda")
    with pytest.raises(DeviceError, match="'cpu' has no bfloat16"):
        choose("bfloat16", float32_letters())
    assert choose("auto", float32_letters(), "cuda") == "bfloat16"
    assert choose("auto", static(), "cuda") == "float32"


def test_scores_are_made_in_bfloat16_where_no_layer_is():
    assert score_products("bfloat16", encoder=static()) == torch.bfloat16
    assert score_products("bfloat16", encoder=float32_letters()) is None
    assert score_products("float32", encoder=static()) is None


@needs_bfloat16
def test_training_a_table_in_bfloat16_is_close_to_float32_and_not_the_same(tmp_path):
    labels = [f"label {word} {row}" for row, word in enumerate(["fog", "rain", "sun"] * (LABELS // 3 + 1))][:LABELS]
    losses = {}
    for precision in ("float32", "bfloat16"):
        encoder = StaticOptions(dimension=8).build(labels, labels, seed=0)
        options = TrainOptions(**{**vars(OPTIONS), "precision": precision})
        head = dual_encoder(encoder, options, loss=DEXML, labels=labels)
        queries = encoder.prepare([f"{labels[row % LABELS]} more" for row in range(QUERIES)], "query")
        data = TrainingSet(queries, Pool(QUERIES), make_positives(), LABELS, None)
        trainer = Trainer(encoder, head, data, options, tmp_path / precision, {}, on_best=lambda _: None)
        losses[precision] = [row["loss"] for row in trainer.run().curve]
        assert all(p.dtype == torch.float32 for p in encoder.module.parameters())
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)
    assert losses["bfloat16"] != losses["float32"]
