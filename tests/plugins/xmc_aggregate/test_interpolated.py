"""Invariants: the contract; the definition by loops; L_ins = L_bag + R for the square loss; bags of one; Jensen.

Shapes: Q queries in A bags, C labels.
"""

from dataclasses import dataclass, replace

import pytest
import torch

from xmc.api import LossInputs
from xmc.config import build_options
from xmc.engine.run_config import resolve
from xmc.errors import ConfigError, PluginError
from xmc.plugin_manager import load_plugins
from xmc.testing import check_loss
from xmc_aggregate.interpolated import Interpolated
from xmc_baselines.info_nce import InfoNce
from xmc_zloss.z_loss import ZLoss

BCE = {"average": "scores", "base": "baselines.binary-cross-entropy", "base_options": {}}
BAGS_Q = torch.tensor([7, 2, 7, 7, 2, 9])


def problem(bags_Q=BAGS_Q, labels=5, dtype=torch.float64):
    """Scores of each query, and a label of each bag that stands in the rows of its queries."""
    generator = torch.Generator().manual_seed(3)
    scores_QC = torch.randn(len(bags_Q), labels, generator=generator, dtype=dtype)
    label_AC = torch.rand(10, labels, generator=generator, dtype=dtype).clamp(min=0.5) - 0.5
    label_AC[:, 1] += 0.1
    return replace(LossInputs.from_dense(scores_QC, label_AC[bags_Q]), bags_Q=bags_Q)


def bag_level_by_loops(inputs, temperature=1.0):
    """Cross entropy of each bag's label with the mean of its queries' softmax, for each query."""
    values = []
    for bag in inputs.bags_Q.tolist():
        members = (inputs.bags_Q == bag).nonzero().flatten()
        mean_C = (inputs.scores_QC[members] / temperature).softmax(dim=1).mean(dim=0)
        label_C = inputs.relevance_QC[members[0]]
        values.append(-(label_C * mean_C.log()).sum() / label_C.sum())
    return torch.stack(values)


@pytest.mark.parametrize(
    "loss", [Interpolated(), Interpolated(rho=0), Interpolated(rho=1), Interpolated(rho=0.3, **BCE)]
)
def test_contract(loss):
    check_loss(loss, pool="batch")


@pytest.mark.parametrize("rho", [0.0, 0.25, 1.0])
def test_value_is_the_definition(rho):
    inputs = problem()
    expected = (1 - rho) * bag_level_by_loops(inputs, 0.5) + rho * InfoNce(0.5)(inputs)
    found = Interpolated(rho=rho, base_options={"temperature": 0.5})(inputs)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "options", [{"rho": 0.4}, {"rho": 0.0, "base_options": {"temperature": 1.0}}, {"rho": 0.0, **BCE}]
)
def test_gradient_in_bags_is_the_slope(options):
    inputs = problem()

    def total(scores_QC):
        return Interpolated(**options)(replace(inputs, scores_QC=scores_QC)).sum()

    scores_QC = inputs.scores_QC.clone().requires_grad_()
    (gradient_QC,) = torch.autograd.grad(total(scores_QC), scores_QC)
    for query in range(len(BAGS_Q)):
        for label in range(inputs.scores_QC.shape[1]):
            nudge_QC = torch.zeros_like(inputs.scores_QC)
            nudge_QC[query, label] = 1e-6
            slope = (total(inputs.scores_QC + nudge_QC) - total(inputs.scores_QC - nudge_QC)) / 2e-6
            assert gradient_QC[query, label].item() == pytest.approx(slope.item(), rel=1e-5, abs=1e-7)


@dataclass(frozen=True)
class Square:
    """Σ over the labels of (score − label)²: not a loss of xmc, for it has no temperature nor negatives."""

    def __call__(self, inputs):
        return (inputs.scores_QC - inputs.relevance_QC).square().sum(dim=1)


def with_base(loss, base):
    loss.__dict__["_loss"] = base
    return loss


def test_square_loss_instance_level_is_bag_level_plus_the_variance_within_bags():
    inputs = problem()
    bag_level, instance_level, between = (
        with_base(Interpolated(rho=rho, **BCE), Square())(inputs).mean() for rho in (0.0, 1.0, 0.3)
    )
    within, pairs = 0.0, 0.0
    for bag in BAGS_Q.unique():
        own_KC = inputs.scores_QC[bag == BAGS_Q]
        within += len(own_KC) * own_KC.var(dim=0, unbiased=False).sum() / len(BAGS_Q)
        pairs += (own_KC[:, None] - own_KC[None]).square().sum() / (2 * len(own_KC)) / len(BAGS_Q)
    assert within > 0.1
    torch.testing.assert_close(within, pairs)
    torch.testing.assert_close(instance_level, bag_level + within)
    torch.testing.assert_close(between, bag_level + 0.3 * within)


@pytest.mark.parametrize("options", [{"base_options": {}}, BCE])
def test_convex_loss_instance_level_is_not_below_bag_level(options):
    for seed in range(20):
        scores_QC = 3 * torch.randn(6, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        inputs = replace(problem(), scores_QC=scores_QC)
        bag_level, instance_level = (Interpolated(rho=rho, **options)(inputs).mean() for rho in (0.0, 1.0))
        assert instance_level >= bag_level - 1e-12


def test_cross_entropy_gradients_are_mean_probability_less_label():
    """At the instance level p_i − ȳ; at the bag level of scores with p of the mean score."""
    inputs = problem(torch.zeros(4, dtype=torch.int64))
    mean_QC = inputs.scores_QC.mean(dim=0, keepdim=True).expand(4, -1)
    label_QC = inputs.relevance_QC / inputs.relevance_QC.sum(dim=1, keepdim=True)
    for rho, answers_QC in ((1.0, inputs.scores_QC), (0.0, mean_QC)):
        leaf_QC = inputs.scores_QC.clone().requires_grad_()
        loss = Interpolated(rho=rho, average="scores", base_options={})
        (gradient_QC,) = torch.autograd.grad(loss(replace(inputs, scores_QC=leaf_QC)).mean(), leaf_QC)
        torch.testing.assert_close(gradient_QC, (answers_QC.softmax(dim=1) - label_QC) / 4)


@pytest.mark.parametrize("bags_Q", [torch.arange(6), torch.tensor([5, 3, 1, 0, 2, 4])])
def test_bags_of_one_are_the_base_loss(bags_Q):
    inputs = problem(bags_Q)
    for rho in (0.0, 0.5, 1.0):
        for average in ("scores", "probabilities"):
            loss = Interpolated(rho=rho, average=average, base_options={"temperature": 0.1})
            torch.testing.assert_close(loss(inputs), InfoNce(0.1)(inputs), rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(loss(replace(inputs, bags_Q=None)), loss(inputs), rtol=1e-12, atol=1e-12)


def test_order_of_the_queries_does_not_matter():
    inputs, order = problem(), torch.tensor([4, 0, 5, 2, 1, 3])
    other = LossInputs.from_dense(inputs.scores_QC[order], inputs.relevance_QC[order])
    other = replace(other, bags_Q=BAGS_Q[order])
    torch.testing.assert_close(Interpolated()(other), Interpolated()(inputs)[order])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_scores_in_a_bag_are_finite(dtype):
    inputs = problem(dtype=torch.float32)
    leaf_QC = (1e4 * inputs.scores_QC.sign()).to(dtype).requires_grad_()
    value_Q = Interpolated(base_options={})(replace(inputs, scores_QC=leaf_QC))
    (gradient_QC,) = torch.autograd.grad(value_Q.sum(), leaf_QC)
    assert value_Q.isfinite().all() and gradient_QC.isfinite().all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rho": 1.5}, "rho must lie in [0, 1], got 1.5"),
        ({"average": "median"}, "'probabilities' or 'scores'"),
        ({"base": "baselines.hinge"}, "full name of a loss, of an installed plugin or of the file"),
        ({"base": "nothing"}, "full name of a loss"),
        ({"base": "json.loads"}, "full name of a loss"),
        ({"base": "mw.mann-whitney"}, "pools the whole batch"),
        ({"base": "distill.nd", "base_options": {}, "average": "scores"}, "'distill.nd' needs norms too"),
        ({"base": "distill.nkd", "base_options": {}, "average": "scores"}, "needs norms and teacher too"),
        ({"base": "ldr.aldr-kl", "base_options": {}}, "'ldr.aldr-kl' keeps a number for each query"),
        ({"base_options": {"heat": 1}}, "has no key 'heat' (it has: temperature, correct_sampling)"),
        ({"base_options": {"temperature": -1.0}}, "base_options of 'baselines.info-nce': temperature must be"),
        ({"base_options": {"temperature": "x"}}, "of 'baselines.info-nce': temperature must be a number, got 'x'"),
        ({**BCE, "average": "probabilities"}, "use 'scores'"),
    ],
)
def test_refusals(options, said):
    with pytest.raises(ConfigError) as caught:
        build_options(Interpolated, options, section="loss")
    assert said in str(caught.value)


@dataclass(frozen=True)
class Learned(Square):
    def __post_init__(self):
        object.__setattr__(self, "scale", torch.nn.Parameter(torch.ones(())))


@dataclass(frozen=True)
class Reduced(Square):
    def __call__(self, inputs):
        return super().__call__(inputs).mean()


@pytest.mark.parametrize("rho", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    ("base", "said"),
    [(Learned(), "loss Learned: 'scale' wants a gradient"), (Reduced(), "loss Reduced: one value per query is wanted")],
)
def test_a_base_is_held_to_what_a_loss_is(base, said, rho):
    with pytest.raises(PluginError, match=said):
        with_base(Interpolated(rho=rho, **BCE), base)(problem())


def test_a_base_that_can_do_with_less_than_scores_is_given_scores():
    inputs = problem()
    loss = Interpolated(rho=1.0, average="scores", base="zloss.z-loss", base_options={})
    torch.testing.assert_close(loss(inputs), ZLoss()(inputs))


def test_recipe_resolves_and_survives_its_file():
    plugins = load_plugins()
    config = resolve(plugins, plugin="aggregate", settings=["loss.base_options={temperature=0.2}"])
    assert config.loss.options == Interpolated(rho=0.0, base_options={"temperature": 0.2})
    assert config.train.validation_share == 0
