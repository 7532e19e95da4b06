"""Invariants: a run that was stopped after any step and resumed ends with the bits of one that was not."""

import random

import pytest
import torch
from repetitions import only_in_full
from resume_cases import (
    BASE,
    CASES,
    STEPS,
    STEPS_PER_EPOCH,
    FailAt,
    StopAt,
    UnforeseenError,
    final_bits,
    stop_after,
    train,
)
from small_transformer import save_transformer

import xmc
from xmc.errors import InterruptedRunError, NonFiniteError
from xmc.plugin_manager import load_plugins
from xmc.train.checkpoint import open_store


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The final bits of an uninterrupted run of each case."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    made: dict[str, dict[str, object]] = {}

    def bits(case: str) -> dict[str, object]:
        if case not in made:
            train(folder / case, CASES[case])
            made[case] = final_bits(folder / case)
        return made[case]

    return bits


TELLING_STEPS = (1, STEPS_PER_EPOCH, STEPS_PER_EPOCH + 1, STEPS - 1, STEPS)


@pytest.mark.parametrize(
    "step",
    [step if step in TELLING_STEPS else pytest.param(step, marks=only_in_full) for step in range(1, STEPS + 1)],
)
def test_stopped_after_any_step(tmp_path, uninterrupted, step):
    """Every step there is: among them the first, the ends of epochs, the one before the last and the last."""
    stop_after(tmp_path, step, CASES["all labels"])
    train(tmp_path, CASES["all labels"], resume=True)
    assert final_bits(tmp_path) == uninterrupted("all labels")


NEEDS_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NEEDS_A_GPU])])
def test_a_transformer_whose_dropout_is_drawn_where_it_lies(tmp_path, device):
    """Queries and labels are embedded twice, under the same random numbers; on a GPU these are the GPU's own."""
    encoder = ("encoder.name=sentence-transformers", f"encoder.model={save_transformer(tmp_path)}")
    settings = (*encoder, "train.batch_size=100", "train.epochs=1", "train.patience=0", f"train.device={device}")
    train(tmp_path / "whole", settings, base=())
    stop_after(tmp_path / "stopped", 2, settings, base=())
    train(tmp_path / "stopped", settings, base=(), resume=True)
    assert final_bits(tmp_path / "stopped") == final_bits(tmp_path / "whole")


@pytest.mark.parametrize("case", [case for case in CASES if case != "all labels"])
def test_stopped_three_times(tmp_path, uninterrupted, case):
    """At random steps, at the end of an epoch, and by an error between two checkpoints."""
    generator = random.Random(case)
    first = generator.randrange(1, STEPS_PER_EPOCH)
    stop_after(tmp_path, first, CASES[case])
    with pytest.raises(InterruptedRunError):
        train(tmp_path, CASES[case], resume=True, reporter=StopAt(STEPS_PER_EPOCH))
    with pytest.raises(UnforeseenError):
        train(tmp_path, CASES[case], resume=True, reporter=FailAt(STEPS_PER_EPOCH + 2))
    train(tmp_path, CASES[case], resume=True)
    assert final_bits(tmp_path) == uninterrupted(case)


def test_an_error_costs_at_most_the_steps_since_the_last_checkpoint(tmp_path, uninterrupted):
    with pytest.raises(UnforeseenError):
        train(tmp_path, ("train.checkpoint_s=0",), reporter=FailAt(7))
    assert open_store(tmp_path).current().manifest.facts["step"] == 6
    train(tmp_path, resume=True)
    assert final_bits(tmp_path) == uninterrupted("all labels")


def test_without_the_random_state_a_resumed_run_differs(tmp_path, uninterrupted, monkeypatch):
    """The protection removed: or the tests above prove nothing about dropout."""
    stop_after(tmp_path, 5, ())
    monkeypatch.setattr(torch, "set_rng_state", lambda state: None)
    train(tmp_path, resume=True)
    assert final_bits(tmp_path) != uninterrupted("all labels")


def test_without_a_checkpoint_resume_starts_anew(tmp_path, uninterrupted):
    with pytest.raises(UnforeseenError):
        train(tmp_path, reporter=FailAt(3))
    assert not open_store(tmp_path).exists()
    train(tmp_path, resume=True)
    assert final_bits(tmp_path) == uninterrupted("all labels")


def test_resuming_a_finished_run_changes_nothing_and_builds_the_index_again(tmp_path):
    xmc.train_run("tiny", tmp_path, settings=BASE)
    before, built = final_bits(tmp_path), (tmp_path / "index" / "CURRENT").read_bytes()
    report = xmc.train_run("tiny", tmp_path, settings=BASE, resume=True)
    assert report["epochs_run"] == 3
    assert final_bits(tmp_path) == before
    assert (tmp_path / "index" / "CURRENT").read_bytes() != built
    assert len(xmc.Retriever.load(tmp_path).search(["fog"], k=3)[0]) == 3


NOTHING_LEARNED = ("train.learning_rate=1e-12", "train.label_text_share=0", "train.validation_share=0.2")


def test_a_larger_patience_goes_on_after_an_early_stop_and_a_smaller_one_ends(tmp_path):
    """With the bits of a run that had that patience from the start."""
    ends = {}
    for patience in (1, 2, 0):
        run = tmp_path / f"{patience} from the start"
        ends[patience] = train(run, (*NOTHING_LEARNED, f"train.patience={patience}"))
    assert [end["epochs_run"] for end in ends.values()] == [2, 3, 3]
    train(tmp_path / "run", (*NOTHING_LEARNED, "train.patience=1"))
    goes_on = train(tmp_path / "run", (*NOTHING_LEARNED, "train.patience=2"), resume=True)
    assert (goes_on["epochs_run"], goes_on["stopped_early"]) == (3, False)
    assert final_bits(tmp_path / "run") == final_bits(tmp_path / "2 from the start")
    stop_after(tmp_path / "ends", 2 * STEPS_PER_EPOCH + 1, (*NOTHING_LEARNED, "train.patience=0"))
    ends_now = train(tmp_path / "ends", (*NOTHING_LEARNED, "train.patience=1"), resume=True)
    assert (ends_now["epochs_run"], ends_now["stopped_early"]) == (2, True)


LOSS = """
from dataclasses import dataclass
from xmc.api import LossSpec, hookimpl
from xmc_dexml.decoupled_softmax import DecoupledSoftmax

@hookimpl
def xmc_losses():
    return [LossSpec("sometimes-nan", "sometimes_nan:SometimesNan")]

@dataclass(frozen=True)
class SometimesNan(DecoupledSoftmax):
    calls = []
    bad_call = 3

    def __call__(self, inputs):
        self.calls.append(1)
        losses_Q = super().__call__(inputs)
        return losses_Q * float("nan") if len(self.calls) - 1 == self.bad_call else losses_Q
"""


def test_a_loss_that_is_not_finite_leaves_the_last_checkpoint_intact(tmp_path, uninterrupted, monkeypatch):
    (tmp_path / "sometimes_nan.py").write_text(LOSS)
    monkeypatch.syspath_prepend(tmp_path)
    plugins = load_plugins(plugin_file=tmp_path / "sometimes_nan.py")
    settings = ("loss.name=sometimes_nan.sometimes-nan", "loss.temperature=0.07", "train.checkpoint_s=0")
    with pytest.raises(NonFiniteError, match=r"step 3: the loss is not finite.*last checkpoint is intact"):
        train(tmp_path / "run", settings, plugins=plugins)
    assert open_store(tmp_path / "run").current().manifest.facts["step"] == 3
    train(tmp_path / "run", settings, plugins=plugins, resume=True)  # it was a passing fault
    assert final_bits(tmp_path / "run") == uninterrupted("all labels")
