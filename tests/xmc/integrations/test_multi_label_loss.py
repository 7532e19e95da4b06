"""Invariants: the value is that of the same loss on scores made by hand; false negatives and duplicates are none; a
label is embedded once; two towers get a text each; what cannot work says so."""

import dataclasses
import json

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss
from st_models import TINY, static_model, two_towers
from torch import nn

from xmc.api import LossInputs
from xmc.errors import ConfigError, DataError, PluginError
from xmc.integrations.sentence_transformers import MultiLabelLoss
from xmc_baselines.info_nce import InfoNce
from xmc_dexml.decoupled_softmax import DecoupledSoftmax
from xmc_distill.norm_direction import NormDirection
from xmc_ldr.aldr_kl import AldrKl
from xmc_mw.mann_whitney import MannWhitney


class Vectors(nn.Module):
    """The embeddings are in the features."""

    def forward(self, features):
        return {"sentence_embedding": features["vectors"]}


def pair_batch(seed=0):
    """Four rows; rows 0 and 2 bring the same label, whose vectors differ; row 3 knows three positives."""
    torch.manual_seed(seed)
    queries_BD, texts_BD = torch.randn(4, 5).requires_grad_(), torch.randn(4, 5).requires_grad_()
    label = torch.tensor([[7, 7, 2, -1], [3, 3, -1, -1], [7, 9, 7, -1], [2, 2, 3, 7]])
    relevance_QC = torch.tensor([[1.0, 0, 1], [0, 1, 0], [0, 0, 1], [1, 1, 1]])  # columns: labels 2, 3, 7
    return queries_BD, texts_BD, label, relevance_QC


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize(
    "loss",
    [
        DecoupledSoftmax(temperature=0.3),
        InfoNce(temperature=0.3),
        MannWhitney(temperature=0.3),
        NormDirection(temperature=0.3),
    ],
    ids=repr,
)
def test_value_and_gradient_are_those_of_scores_made_by_hand(loss, similarity):
    queries_BD, texts_BD, label, relevance_QC = pair_batch()
    adapter = MultiLabelLoss(Vectors(), loss, similarity=similarity)
    value = adapter([{"vectors": queries_BD}, {"vectors": texts_BD}], label)
    got = torch.autograd.grad(value, [queries_BD, texts_BD])
    scores_QC = torch.stack([torch.stack([query @ texts_BD[row] for row in (3, 1, 0)]) for query in queries_BD])
    if similarity == "cosine":
        norms_C = torch.stack([texts_BD[row].norm() for row in (3, 1, 0)])
        scores_QC = scores_QC / (queries_BD.norm(dim=1)[:, None] * norms_C)
    inputs = LossInputs.from_dense(scores_QC, relevance_QC)
    if similarity == "dot":
        norms_C = torch.stack([texts_BD[row].detach().norm() for row in (3, 1, 0)])
        inputs = dataclasses.replace(inputs, query_norms_Q=queries_BD.norm(dim=1), label_norms_C=norms_C)
    expected = loss(inputs).mean()
    torch.testing.assert_close(value, expected)
    for one, other in zip(got, torch.autograd.grad(expected, [queries_BD, texts_BD]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert not got[1][2].any() and got[1][0].any()  # label 7 came twice and was scored once


def test_a_label_that_another_query_brought_is_not_a_negative():
    """With its other positives unknown, row 3 would push labels 3 and 7 away."""
    queries_BD, texts_BD, label, _ = pair_batch()
    adapter = MultiLabelLoss(Vectors(), DecoupledSoftmax())

    def pull(column):
        value = adapter([{"vectors": queries_BD}, {"vectors": texts_BD}], column)
        return torch.autograd.grad(value, queries_BD)[0][3]

    assert not pull(label).any()  # no negative is left for it, so nothing to learn
    unknown = label.clone()
    unknown[3, 2:] = -1
    assert pull(unknown).any()


def test_hard_negatives_are_columns_with_a_label_row():
    torch.manual_seed(0)
    queries_BD, positives_BD, negatives_BD = torch.randn(3, 2, 5)
    label = torch.tensor([[4, 6, 4, -1], [6, 8, 6, 4]])  # of the second query, 4 is right and 8 is not
    loss = InfoNce(temperature=0.5)
    value = MultiLabelLoss(Vectors(), loss, similarity="dot")(
        [{"vectors": part} for part in (queries_BD, positives_BD, negatives_BD)], label
    )
    labels_CD = torch.stack([positives_BD[0], positives_BD[1], negatives_BD[1]])
    relevance_QC = torch.tensor([[1.0, 0, 0], [1, 1, 0]])
    torch.testing.assert_close(value, loss(LossInputs.from_dense(queries_BD @ labels_CD.T, relevance_QC)).mean())


TEXTS = ["vast dumpling", "tender tram", "vivid mango", "dense jacket", "fierce dish"]
QUERIES = ["tram", "mango jacket"]
LABEL = torch.tensor([[1, -1], [2, 3]])


def by_hand(model, loss, rows):
    labels_CD = model.encode_document([TEXTS[row] for row in rows], convert_to_tensor=True, normalize_embeddings=True)
    queries_QD = model.encode_query(QUERIES, convert_to_tensor=True, normalize_embeddings=True)
    relevance_QC = torch.tensor([[float(row in positives) for row in rows] for positives in LABEL.tolist()])
    return loss(LossInputs.from_dense(queries_QD @ labels_CD.T, relevance_QC)).mean()


@pytest.mark.parametrize(("scope", "rows"), [("batch", [1, 2, 3]), ("all", [0, 1, 2, 3, 4])])
@pytest.mark.parametrize("make", [static_model, two_towers])
def test_labels_that_the_loss_embeds(make, scope, rows):
    model, loss = make(), DecoupledSoftmax(temperature=0.2)
    adapter = MultiLabelLoss(model, loss, label_texts=TEXTS, label_scope=scope)
    features = {**model.preprocess(QUERIES, task="query"), "task": "query"}
    torch.testing.assert_close(adapter([features], LABEL), by_hand(model, loss, rows))


def test_prompt_and_embedding_each_label_once():
    model = static_model()
    adapter = MultiLabelLoss(model, label_texts=TEXTS, label_prompt="code: ")
    asked = []
    preprocess = model.preprocess
    model.preprocess = lambda texts, **options: asked.append((texts, options)) or preprocess(texts, **options)
    adapter([preprocess(QUERIES)], torch.tensor([[1, 3], [3, -1]]))
    assert asked == [(["tender tram", "dense jacket"], {"prompt": "code: ", "task": "document"})]


def test_sampled_labels_follow_the_seed_and_stand_still_in_evaluation():
    texts = TINY.train.texts[:300]
    model = static_model().train()
    adapter = MultiLabelLoss(model, label_texts=texts, label_scope="sampled", sampled_labels=5)
    features = model.preprocess(QUERIES)

    def values(times):
        return [adapter([dict(features)], LABEL.clone()).item() for _ in range(times)]

    torch.manual_seed(4)
    first = values(3)
    torch.manual_seed(4)
    assert values(3) == first and len(set(first)) == 3
    model.eval()
    assert len(set(values(3))) == 1


@pytest.mark.parametrize("scope", ["batch", "sampled"])
def test_inside_matryoshka(scope):
    """The sum over the dimensions of the loss on embeddings cut there, of the same labels each time."""
    texts = [*TEXTS, *TINY.train.texts]
    model, dims = static_model(dimension=16), (16, 8)
    adapter = MultiLabelLoss(model, label_texts=texts, label_scope=scope, sampled_labels=5)
    torch.manual_seed(0)
    value = MatryoshkaLoss(model, adapter, matryoshka_dims=list(dims))([model.preprocess(QUERIES)], LABEL)
    torch.manual_seed(0)
    rows, log_inclusion_C = torch.tensor([1, 2, 3]), None
    if scope == "sampled":
        from xmc.integrations.batch_labels import BatchLabels

        batch = BatchLabels.from_column(LABEL, text_columns=0)
        rows, log_inclusion_C = batch.scored_rows(
            scope, label_count=len(texts), sample=5, generator=adapter._generator(LABEL)
        )
    queries_QD, labels_CD = (
        model.encode(part, convert_to_tensor=True) for part in (QUERIES, [texts[row] for row in rows])
    )
    relevance_QC = torch.tensor([[float(row in positives) for row in rows] for positives in LABEL.tolist()])
    expected = 0.0
    for dim in dims:
        scores_QC = nn.functional.normalize(queries_QD[:, :dim]) @ nn.functional.normalize(labels_CD[:, :dim]).T
        inputs = dataclasses.replace(LossInputs.from_dense(scores_QC, relevance_QC), log_inclusion_C=log_inclusion_C)
        expected += adapter.loss(inputs).mean()
    torch.testing.assert_close(value, expected)


def test_scores_are_float32_under_mixed_precision():
    seen = []

    @dataclasses.dataclass(frozen=True)
    class Spy:
        def __call__(self, inputs):
            seen.append(inputs.scores_QC)
            return inputs.scores_QC.sum(dim=1)

    queries_BD, texts_BD, label, _ = pair_batch()
    adapter = MultiLabelLoss(Vectors(), Spy())
    batch = [{"vectors": queries_BD.bfloat16()}, {"vectors": texts_BD.bfloat16()}]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        adapter(batch, label)
    assert seen[0].dtype == torch.float32
    adapter([{"vectors": part["vectors"].double()} for part in batch], label)
    torch.testing.assert_close(seen[0].double(), seen[1], rtol=1e-6, atol=1e-6)


def test_what_the_model_card_says():
    adapter = MultiLabelLoss(Vectors(), "mw.mann-whitney", options={"temperature": 0.5}, similarity="dot")
    config = json.loads(json.dumps(adapter.get_config_dict()))
    assert config["loss"] == "mw.mann-whitney" and config["temperature"] == 0.5 and config["similarity"] == "dot"
    assert "label_texts" not in config
    assert "2510.00137" in adapter.citation and adapter.citation.startswith("@misc{mw.mann-whitney,")
    assert MultiLabelLoss(Vectors(), MannWhitney()).citation == adapter.citation
    sampled = MultiLabelLoss(Vectors(), label_texts=TEXTS, label_scope="sampled", sampled_labels=7).get_config_dict()
    assert (sampled["label_texts"], sampled["label_scope"], sampled["sampled_labels"]) == (5, "sampled", 7)

    @dataclasses.dataclass(frozen=True)
    class Mine:
        def __call__(self, inputs):
            return inputs.scores_QC.sum(dim=1)

    assert MultiLabelLoss(Vectors(), Mine()).get_config_dict()["loss"] == "Mine"
    assert "xmc-engine" in MultiLabelLoss(Vectors(), Mine()).citation


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"loss": "dexml.decoupled-softmx"}, PluginError, "Did you mean 'dexml.decoupled-softmax'"),
        ({"loss": "mann-whitney", "options": {"temprature": 1}}, ConfigError, "Did you mean 'temperature'"),
        ({"loss": DecoupledSoftmax}, ConfigError, "name of a loss or a loss"),
        ({"loss": 3}, ConfigError, "got 3"),
        ({"loss": torch.nn.functional.mse_loss}, ConfigError, "name of a loss or a loss"),
        ({"loss": DecoupledSoftmax(), "options": {"temperature": 1.0}}, ConfigError, "given by name"),
        ({"loss": "ldr.aldr-kl"}, ConfigError, "ldr.aldr-kl keeps a number for each training query"),
        ({"loss": AldrKl(alpha=3.0)}, ConfigError, "would learn with the start value for ever"),
        ({"loss": "distill.nkd"}, ConfigError, "distill.nkd learns from a teacher's scores"),
        ({"similarity": "euclidean"}, ConfigError, "'dot' or 'cosine'"),
        ({"label_scope": "all"}, ConfigError, "Set label_texts"),
        ({"label_prompt": "code: "}, ConfigError, "Set label_texts"),
        ({"label_texts": TEXTS, "label_scope": "some"}, ConfigError, "'batch', 'sampled' or 'all'"),
        ({"label_texts": []}, ConfigError, "at least one text"),
        ({"label_texts": "text"}, ConfigError, "must be a list"),
        ({"sampled_labels": 0}, ConfigError, "sampled_labels must be >= 1"),
        ({"mini_batch_size": -1}, ConfigError, "got 4096 and -1"),
    ],
)
def test_arguments_that_are_not_allowed(arguments, error, said):
    with pytest.raises(error, match=said):
        MultiLabelLoss(Vectors(), **arguments)


def test_batches_that_do_not_fit():
    features = {"vectors": torch.ones(1, 2)}
    with pytest.raises(DataError, match=r"1 text columns, expected at least 2.*pair_dataset"):
        MultiLabelLoss(Vectors())([features], torch.tensor([[0, 0]]))
    with pytest.raises(DataError, match="2 text columns, expected 1"):
        MultiLabelLoss(Vectors(), label_texts=TEXTS)([features, features], torch.tensor([[0, 0]]))
    with pytest.raises(DataError, match="no column 'label'"):
        MultiLabelLoss(Vectors())([features, features], None)
    with pytest.raises(DataError, match=r"label rows are 0\.\.4"):
        MultiLabelLoss(Vectors(), label_texts=TEXTS)([features], torch.tensor([[5]]))
    with pytest.raises(DataError, match="no label to score"):
        MultiLabelLoss(Vectors(), label_texts=TEXTS)([features], torch.tensor([[-1]]))
