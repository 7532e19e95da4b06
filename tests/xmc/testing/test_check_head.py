"""Invariants: every head that ships keeps the contract; one that breaks a promise is told which, with its name."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from xmc.encode.sparse_tfidf import SparseTfidfOptions
from xmc.testing import ConformanceError, check_head
from xmc.train.classifier import ClassifierOptions
from xmc.train.dual_encoder import DualEncoderOptions
from xmc_linear.head import Centroids, LinearHead
from xmc_zloss.factored_head import FactoredHead
from xmc_zloss.sparse_mse import SparseMse
from xmc_zloss.z_loss import ZLoss

WORDS = SparseTfidfOptions(minimum_count=1)


@pytest.mark.parametrize(
    ("head", "others"),
    [
        (DualEncoderOptions(), {}),
        (ClassifierOptions(), {}),
        (ClassifierOptions(text=False), {}),
        (FactoredHead(learning_rate=0.05), {"loss": SparseMse()}),
        (FactoredHead(), {"loss": ZLoss()}),
        (LinearHead(), {"encoder": WORDS}),
        (Centroids(), {"encoder": WORDS}),
    ],
    ids=["dual-encoder", "classifier", "classifier without text", "factored", "factored z-loss", "linear", "centroids"],
)
def test_the_heads_that_ship_keep_it(head, others):
    check_head(head, **others)


class Wrapped:
    """A sound classifier, which the heads below spoil."""

    def __init__(self, context):
        self.inner = ClassifierOptions(text=False).build(context)
        self.parameters = self.inner.parameters
        self.query_map = self.inner.query_map
        self.learn, self.update = self.inner.learn, self.inner.update
        self.state, self.load_state = self.inner.state, self.inner.load_state
        self.label_vectors = self.inner.label_vectors


class SumOfLosses(Wrapped):
    def learn(self, queries_QD, batch):
        learned = self.inner.learn(queries_QD, batch)
        return replace(learned, queries_gradient_QD=len(queries_QD) * learned.queries_gradient_QD)


class AscendingRows(Wrapped):
    def label_vectors(self, label_rows):
        return self.inner.label_vectors(np.sort(label_rows))


class Impatient(Wrapped):
    def learn(self, queries_QD, batch):
        learned = self.inner.learn(queries_QD, batch)
        self.inner.update(1.0)
        return learned


class BlindToWeights(Wrapped):
    def learn(self, queries_QD, batch):
        ones = np.ones_like(batch.positives.weights)
        return self.inner.learn(queries_QD, replace(batch, positives=replace(batch.positives, weights=ones)))


class AllOrNothing(Wrapped):
    def update(self, share):
        self.inner.update(float(share > 0))


class Uphill(Wrapped):
    def update(self, share):
        self.inner.update(-share)


class Forgetful(Wrapped):
    def state(self):
        return {"matrix": self.inner.state()["matrix"]}


class Halved(Wrapped):
    def label_vectors(self, label_rows):
        return (chunk / 2 for chunk in self.inner.label_vectors(label_rows))


class Clinging(Wrapped):
    def load_state(self, state):
        self.inner.load_state({**state, "matrix": state["matrix"] + state["optimiser.row_sum"].mean()})


class OneLoss(Wrapped):
    def learn(self, queries_QD, batch):
        learned = self.inner.learn(queries_QD, batch)
        return replace(learned, losses_Q=learned.losses_Q.mean())


class WritesIntoQueries(Wrapped):
    def learn(self, queries_QD, batch):
        return self.inner.learn(queries_QD.mul_(0.5), batch)


class Reseeds(Wrapped):
    def learn(self, queries_QD, batch):
        torch.manual_seed(0)
        return self.inner.learn(queries_QD, batch)


class GradientsOff(Wrapped):
    def update(self, share):
        self.inner.update(share)
        torch.set_grad_enabled(False)


class Restless(Wrapped):
    def label_vectors(self, label_rows):
        return (chunk + 1e-3 * torch.rand(()) for chunk in self.inner.label_vectors(label_rows))


@dataclass(frozen=True)
class Broken:
    kind: str

    def build(self, context):
        head = globals()[self.kind](context)
        spoilt = [name for name in vars(globals()[self.kind]) if not name.startswith("_")]
        for name in spoilt:
            vars(head).pop(name, None)  # what a class below says itself goes before what it was given
        return head


def test_the_one_that_is_not_spoilt_keeps_it():
    check_head(Broken("Wrapped"))


@pytest.mark.parametrize(
    ("kind", "promise"),
    [
        ("SumOfLosses", "the gradient is that of the mean loss"),
        ("AscendingRows", "answers the rows asked, in order"),
        ("Impatient", r"learn\(\) alone changes no vector"),
        ("BlindToWeights", "losses are those of the scores an index gives"),
        ("AllOrNothing", "a smaller learning rate share moves vectors less"),
        ("Uphill", "the loss falls in 40 steps"),
        ("Forgetful", "saved and loaded it goes on bit for bit|raised KeyError"),
        ("Halved", "losses are those of the scores an index gives"),
        ("Clinging", "saved and loaded it goes on bit for bit"),
        ("OneLoss", "a loss for each query"),
        ("WritesIntoQueries", "the embeddings are not written into"),
        ("Restless", "torch's random generator is left alone"),
        ("Reseeds", "torch's random generator is left alone"),
        ("GradientsOff", "whether torch keeps gradients is left alone"),
    ],
)
def test_a_broken_promise_is_named(kind, promise):
    with pytest.raises(ConformanceError, match=rf"Broken\(kind='{kind}'\): .*({promise})"):
        check_head(Broken(kind))


@dataclass(frozen=True)
class SpoiltFit:
    times: float = 1.0
    past_its_end: bool = False

    def build(self, context):
        return LinearHead().build(context)

    def fit(self, context, features, positives, *, progress):
        head = LinearHead().fit(context, features, positives, progress=progress)
        head.weights_LF = head.weights_LF * self.times
        if self.past_its_end:
            progress(2, 1)
        return head


@pytest.mark.parametrize(
    ("head", "promise"),
    [
        (SpoiltFit(times=-1.0), "relevant labels of training queries score above the others"),
        (SpoiltFit(past_its_end=True), "progress never falls, nor passes its end"),
    ],
)
def test_a_fitted_head_is_checked_too(head, promise):
    check_head(SpoiltFit(), encoder=WORDS)
    with pytest.raises(ConformanceError, match=promise):
        check_head(head, encoder=WORDS)
