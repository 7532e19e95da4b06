"""Invariants: on a GPU losses, heads, encoders and optimizers train, the same bits each time; their runs answer."""

import pytest
import torch

import xmc
from xmc.retrieve.layout import encoder_store
from xmc.train.reproducible import reproducible

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]

SMALL = ("encoder.dimension=32", "train.batch_size=100", "train.patience=0")
LOSSES = (
    *("baselines.binary-cross-entropy", "baselines.info-nce", "dexml.decoupled-softmax", "dexml.soft-top-k"),
    *("distill.uskd", "ldr.aldr-kl", "ldr.ldr-kl", "mw.mann-whitney", "zloss.sparse-mse", "zloss.spherical-softmax"),
    *("zloss.taylor-softmax", "zloss.z-loss"),
)
OTHERS = {
    "plugin linear": ("linear", ()),
    "linear over tfidf": ("linear.fused", ()),
    "factored head": ("zloss.factored", ()),
    "label matrix": ("dexml", ("head.name=classifier", "train.label_text_share=0", *SMALL)),
    "mined negatives": ("dexml", ("train.label_scope=mined", "train.hard_negatives=4", *SMALL)),
    "sampled labels": ("dexml", ("train.label_scope=sampled", "train.sampled_labels=20", *SMALL)),
    "two towers": ("dexml", ("encoder.shared=false", *SMALL)),
    "lstm": ("dexml", ("encoder.name=lstm", "train.batch_size=100", "train.patience=0")),
    "mixture": ("dexml", ("encoder.name=moe-static", "encoder.capacity=1.25", *SMALL)),
    "muon": ("dexml", ("optimizer.name=muon", "encoder.name=lstm", "train.patience=0")),
    "row-adagrad": ("dexml", ("optimizer.name=row-adagrad", *SMALL)),
    "sgd": ("dexml", ("optimizer.name=sgd", *SMALL)),
    "worst-case substitutions": ("dexml", ("augmentation.name=robust.worst-case", *SMALL)),
}
CASES = {loss: ("dexml", (f"loss.name={loss}", *SMALL)) for loss in LOSSES} | OTHERS


@pytest.mark.parametrize("case", CASES)
def test_it_trains_the_same_twice_and_answers(case, tmp_path):
    plugin, settings = CASES[case]
    runs = [tmp_path / name for name in ("one", "other")]
    reports = [xmc.train_run("tiny", run, plugin=plugin, settings=settings) for run in runs]
    assert [report["device_used"] for report in reports] == ["cuda", "cuda"]
    weights = [sorted(path for path in encoder_store(run).current().folder.rglob("*.safetensors")) for run in runs]
    assert [path.read_bytes() for path in weights[0]] == [path.read_bytes() for path in weights[1]]
    found = xmc.Retriever.load(runs[0]).search(["tram"], k=3)[0]
    on_cpu = xmc.Retriever.load(runs[0], device="cpu").search(["tram"], k=3)[0]
    assert [hit.label_id for hit in found] == [hit.label_id for hit in on_cpu]


def test_the_settings_of_the_process_come_back():
    assert not torch.are_deterministic_algorithms_enabled()
    with reproducible("cuda"):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory
