"""Invariants: a run with the factored head learns and is read back; what a search finds is what the label matrix,
multiplied out, scores best, also over an encoder of unit length."""

import pytest
import torch
from safetensors.torch import load_file

from xmc import Retriever, train_run
from xmc.errors import ConfigError

QUICK = ["encoder.dimension=32", "train.batch_size=100", "train.epochs=4", "train.learning_rate=0.02"]


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_search_is_that_of_the_multiplied_out_matrix(tmp_path, similarity):
    settings = [*QUICK, f"encoder.similarity={similarity}", "encoder.dropout=0.0"]
    report = train_run("tiny", tmp_path / "run", plugin="zloss.factored", settings=settings)
    assert report["best_validation_p1"] > 0.8
    retriever = Retriever.load(tmp_path / "run")
    assert retriever.report.similarity == "dot"
    state = load_file(retriever.model.folder / "head" / "state.safetensors")
    matrix_LD = state["table_LD"].double() @ state["mixing_DD"] + state["shift_D"]
    assert not torch.allclose(matrix_LD, state["table_LD"].double(), atol=1e-4)
    texts = ["rain and hail", "frost"]
    queries_QD = retriever.encode(texts).double()
    for query, hits in enumerate(retriever.search(texts, k=5)):
        best = (matrix_LD @ queries_QD[query]).topk(5)
        assert [hit.score for hit in hits] == pytest.approx(best.values.tolist(), rel=1e-4, abs=1e-4)


def test_a_loss_that_needs_the_scores_is_refused_before_training(tmp_path):
    settings = [*QUICK, "loss.name=dexml.decoupled-softmax"]
    with pytest.raises(ConfigError, match=r"It works with zloss\.z-loss"):
        train_run("tiny", tmp_path / "run", plugin="zloss.factored", settings=settings)
