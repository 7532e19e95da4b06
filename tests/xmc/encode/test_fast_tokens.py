"""Invariants: the numbers are those that sentence-transformers makes, or its own way is taken."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xmc.encode.fast_tokens import fast_tokens
from xmc.encode.sentence_transformer import SentenceTransformerOptions

pytestmark = pytest.mark.pretrained
WORDS = st.sampled_from(["heart", "Ünder", "don't", "漢字", " ", "\n", "🚋", "x" * 300, "[SEP]", "[PAD]", "##ing", ""])
TEXTS = st.lists(st.one_of(st.text(max_size=40), st.lists(WORDS, max_size=400).map(" ".join)), min_size=1, max_size=6)


@pytest.fixture(scope="module", params=[0, 12])
def model(minilm, request):
    return SentenceTransformerOptions(model=str(minilm), max_tokens=request.param).build([], [], seed=0).model


@given(texts=TEXTS)
def test_equal_to_sentence_transformers(model, texts):
    prepare = fast_tokens(model)
    assert prepare is not None
    for task in ("query", "document"):
        mine, theirs = prepare(texts), model.preprocess(texts, task=task)
        assert list(mine) == list(theirs)
        for name in ("input_ids", "attention_mask", "token_type_ids"):
            assert mine[name].dtype == theirs[name].dtype and torch.equal(mine[name], theirs[name])
        assert mine["modality"] == theirs["modality"]


@pytest.mark.parametrize("change", ["padding on the left", "lower case of its own", "a prompt for queries", "no limit"])
def test_a_model_that_does_otherwise_is_left_as_it_is(minilm, change):
    model = SentenceTransformerOptions(model=str(minilm)).build([], [], seed=0).model
    assert fast_tokens(model) is not None
    if change == "padding on the left":
        model.tokenizer.padding_side = "left"
    if change == "lower case of its own":
        preprocess = model.preprocess
        model.preprocess = lambda texts, **options: preprocess([text.upper() + "!" for text in texts], **options)
    if change == "a prompt for queries":
        model.prompts["query"] = "find: "
        preprocess = model.preprocess
        model.preprocess = lambda texts, task: preprocess([model.prompts.get(task, "") + text for text in texts])
    if change == "no limit":
        model.max_seq_length = None
    assert fast_tokens(model) is None
