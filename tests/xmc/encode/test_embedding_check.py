"""Invariants: the encoders that ship pass; what embed() answers in another form is said before anything is trained."""

import pytest

from xmc.encode.embedding_check import require_embeddings
from xmc.encode.lstm import LstmOptions
from xmc.encode.moe_static import MoeStaticOptions
from xmc.encode.static import StaticOptions
from xmc.encode.tfidf import TfidfOptions
from xmc.errors import PluginError

TEXTS = ["fog at sea", "rain", "...", "sea fog"]
SHIPPED = [
    StaticOptions(dimension=4, dropout=0.9),
    StaticOptions(dimension=4, shared=False, similarity="dot"),
    TfidfOptions(dimension=4, minimum_count=1),
    LstmOptions(dimension=4, hidden=3, token_dimension=3),
    MoeStaticOptions(dimension=4, experts=2, kept=1),
]


@pytest.mark.parametrize("options", SHIPPED, ids=lambda options: type(options).__name__)
def test_the_encoders_that_ship_pass_and_stay_in_their_mode(options):
    encoder = options.build(TEXTS, TEXTS, seed=0)
    encoder.module.train()
    for role in ("query", "label"):
        require_embeddings(encoder, encoder.prepare(TEXTS, role), role)
    assert encoder.module.training


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda vectors_ND: 3 * vectors_ND, "its similarity is 'cosine', and an embedding has the length 3"),
        (lambda vectors_ND: vectors_ND[:, :2], r"of shape \(4, 4\), got of shape \(4, 2\)"),
        (lambda vectors_ND: vectors_ND[1:], r"got of shape \(3, 4\)"),
        (lambda vectors_ND: vectors_ND.detach().numpy(), "got a ndarray"),
        (lambda vectors_ND: vectors_ND.detach(), "its answer has no gradient"),
    ],
)
def test_another_form_is_refused_by_name(change, message):
    encoder = StaticOptions(dimension=4).build(TEXTS, TEXTS, seed=0)
    embed = encoder.embed
    encoder.embed = lambda features, role: change(embed(features, role))
    with pytest.raises(PluginError, match=rf"encoder 'static': embed\(\) of the role 'query': .*{message}"):
        require_embeddings(encoder, encoder.prepare(TEXTS, "query"), "query")
