"""Invariants: the three losses keep the contract; NKD with one positive and a whole shortlist is the formula of the
paper, ND that of a plain loop, USKD's soft labels are Zipf's; the identities that the papers rest on hold."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from xmc.api import ConfigError, LossInputs, TeacherScores
from xmc.testing import check_loss
from xmc_distill.norm_direction import NormDirection, norm_direction
from xmc_distill.normalised_distillation import NormalisedDistillation, log_sums
from xmc_distill.self_distillation import SelfDistillation, zipf

F64 = torch.float64
Q, C, D = 4, 10, 8
ALONE = {"base": 0.0}


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


TARGET = torch.tensor([3, 0, 9, 5])
ONE_HOT = functional.one_hot(TARGET, C).to(F64)


def taught(student_QC, teacher_QC, relevance_QC=ONE_HOT):
    inputs = LossInputs.from_dense(student_QC, relevance_QC)
    return replace(inputs, teacher=TeacherScores.from_dense(teacher_QC))


def paper_nkd(s, t, y, gamma, T):
    """Loops over the queries of: -t_y log s_y - gamma T^2 sum_{i != y} that_i log shat_i."""
    values = []
    for i in range(len(y)):
        rest = [j for j in range(s.shape[1]) if j != y[i]]
        that, shat = (t[i, rest] / T).softmax(0), (s[i, rest] / T).log_softmax(0)
        values.append(-t[i].softmax(0)[y[i]] * s[i].log_softmax(0)[y[i]] - gamma * T * T * (that * shat).sum())
    return torch.stack(values)


@pytest.mark.parametrize(
    "loss",
    [
        NormDirection(temperature=0.5),
        NormDirection(base=0.0, weight=2.0),
        NormalisedDistillation(temperature=0.5, teacher_temperature=2.0, softening=3.0, direction=0.5),
        NormalisedDistillation(base=0.0, gamma=0.7),
        NormalisedDistillation(base=0.0, weight=0.5, gamma=0.0),
    ],
    ids=repr,
)
def test_contract_of_the_losses_of_a_row(loss):
    """Without a base only the teacher says what is good, whatever is relevant."""
    check_loss(loss, teaches=loss.base > 0)


@pytest.mark.parametrize("loss", [SelfDistillation(), SelfDistillation(temperature=0.5, base=0.0, shortlist=3)])
def test_contract_of_self_distillation(loss):
    check_loss(loss, pool="batch")


@pytest.mark.parametrize(("gamma", "softening"), [(1.5, 1.0), (3.5, 3.0)])
def test_nkd_with_one_positive_and_all_labels_is_the_papers(gamma, softening):
    s, t = draw(Q, C), draw(Q, C, seed=1)
    value = NormalisedDistillation(**ALONE, gamma=gamma, softening=softening)(taught(s, t))
    torch.testing.assert_close(value, paper_nkd(s, t, TARGET, gamma, softening))


def test_nkd_takes_each_positive_in_turn_against_the_shortlist_without_positives():
    s, t, relevance = draw(1, 6), draw(1, 6, seed=1), torch.tensor([[1.0, 0, 3.0, 0, 0, 0]], dtype=F64)
    t[0, 5] = torch.nan  # not on the shortlist
    value = NormalisedDistillation(**ALONE, gamma=2.0)(taught(s, t, relevance))
    others, target = [1, 3, 4], 0.0
    for p, weight in ((0, 0.25), (2, 0.75)):
        of = [p, *others]
        target += weight * -t[0, of].softmax(0)[0] * s[0, of].log_softmax(0)[0]
    rest = -(t[0, others].softmax(0) * s[0, others].log_softmax(0)).sum()
    torch.testing.assert_close(value, (target + 2.0 * rest).reshape(1))


def test_plain_distillation_splits_into_a_target_and_a_rest_that_hang_together():
    s, t = draw(Q, C), draw(Q, C, seed=1)
    pt, ps, m = t.softmax(1), s.softmax(1), ONE_HOT.bool()
    plain = -(pt * ps.log()).sum(1)
    rest = -(pt[~m] * ps[~m].log()).view(Q, -1).sum(1)
    torch.testing.assert_close(plain, -pt[m] * ps[m].log() + rest, rtol=0, atol=1e-14)
    that, shat = t[~m].view(Q, -1).softmax(1), s[~m].view(Q, -1).log_softmax(1)
    normalised = -((1 - pt[m]) * ((that * shat).sum(1) + torch.log(1 - ps[m])))
    torch.testing.assert_close(rest, normalised, rtol=0, atol=1e-14)


def test_the_rest_teaches_nothing_where_it_matches_whatever_the_positive_has():
    t = draw(Q, C)
    s = (t + 5 * ONE_HOT + torch.arange(Q)[:, None]).requires_grad_()
    loss = NormalisedDistillation(**ALONE, gamma=1.5)
    without = replace(loss, gamma=0.0)
    (gradient,) = torch.autograd.grad((loss(taught(s, t)) - without(taught(s, t))).sum(), s)
    assert gradient.abs().max() < 1e-15


def test_nkd_gradients_of_a_query_sum_to_zero():
    s = draw(Q, C).requires_grad_()
    (gradient,) = torch.autograd.grad(NormalisedDistillation(**ALONE)(taught(s, draw(Q, C, seed=1))).sum(), s)
    assert gradient.abs().max() > 0.01 and gradient.sum(1).abs().max() < 1e-14


def test_a_sure_teacher_and_no_rest_is_the_cross_entropy():
    s = draw(Q, C)
    value = NormalisedDistillation(**ALONE, gamma=0.0)(taught(s, 1 + 1e3 * ONE_HOT))
    torch.testing.assert_close(value, functional.cross_entropy(s, TARGET, reduction="none"))


def test_the_base_is_added_and_a_query_without_shortlist_has_the_base_alone():
    s, t = draw(Q, C), draw(Q, C, seed=1)
    t[2] = torch.nan
    both, alone = NormalisedDistillation()(taught(s, t)), NormalisedDistillation(**ALONE)(taught(s, t))
    torch.testing.assert_close(both - alone, functional.cross_entropy(s, TARGET, reduction="none"))
    assert alone[2] == 0 and (alone[[0, 1, 3]] > 0).all()


def test_an_empty_shortlist_of_the_whole_batch_and_a_missing_teacher():
    s = draw(Q, C).requires_grad_()
    value = NormalisedDistillation()(taught(s, torch.full((Q, C), torch.nan, dtype=F64)))
    torch.testing.assert_close(value, functional.cross_entropy(s, TARGET, reduction="none"))
    (gradient,) = torch.autograd.grad(value.sum(), s)
    assert gradient.isfinite().all()
    with pytest.raises(ConfigError, match=r"learns from a teacher's scores.*xmc teach"):
        NormalisedDistillation()(LossInputs.from_dense(s, ONE_HOT))


def test_scores_far_apart_stay_finite():
    s, t = 1e4 * draw(Q, C).float(), 1e4 * draw(Q, C, seed=1).float()
    assert NormalisedDistillation(softening=0.1)(taught(s, t)).isfinite().all()
    assert log_sums(torch.tensor([1e4, 1e4]), torch.tensor([1, 1]), 2).tolist() == [
        -math.inf,
        pytest.approx(1e4 + 0.7, 1e-4),
    ]


def nd_of(queries_QD, labels_CD, relevance_QC):
    inputs = LossInputs.from_dense(queries_QD @ labels_CD.T, relevance_QC)
    inputs = replace(inputs, query_norms_Q=queries_QD.norm(dim=1), label_norms_C=labels_CD.norm(dim=1).detach())
    return NormDirection(**ALONE)(inputs)


@pytest.mark.parametrize(("factor", "value"), [(5.0, 0.0), (0.0, 1.0), (-5.0, 2.0), (0.5, 0.5)])
def test_nd_aligned_and_long_zero_opposed_half_as_long(factor, value):
    labels = draw(Q, D)
    torch.testing.assert_close(
        nd_of(factor * labels, labels, torch.eye(Q, dtype=F64)), torch.full((Q,), value, dtype=F64)
    )


def test_nd_is_the_weighted_mean_of_a_loop():
    queries, labels = draw(Q, D), 2 * draw(C, D, seed=1)
    relevance = (draw(Q, C, seed=2) > 0.5) * (1 + draw(Q, C, seed=3).abs())
    expected = []
    for s, weights in zip(queries, relevance, strict=True):
        terms = [
            float(w) * (1 - float(s @ c / c.norm()) / max(float(s.norm()), float(c.norm())))
            for w, c in zip(weights, labels, strict=True)
        ]
        expected.append(sum(terms) / float(weights.sum()))
    torch.testing.assert_close(nd_of(queries, labels, relevance), torch.tensor(expected, dtype=F64))


def test_a_short_query_grows_along_the_label_and_a_long_one_only_turns():
    label, one = draw(1, D), torch.ones(1, 1, dtype=F64)
    direction = functional.normalize(label, dim=1)
    short = (0.1 * functional.normalize(draw(1, D, seed=1), dim=1)).requires_grad_()
    (gradient,) = torch.autograd.grad(nd_of(short, label, one).sum(), short)
    torch.testing.assert_close(gradient, -direction / label.norm())
    long = (30 * functional.normalize(draw(1, D, seed=1), dim=1)).requires_grad_()
    (gradient,) = torch.autograd.grad(nd_of(long, label, one).sum(), long)
    assert gradient.abs().max() > 1e-3 and abs(float((gradient * long).sum().detach())) < 1e-14


def test_a_label_that_learns_is_drawn_along_the_query_whatever_its_length():
    query, label = draw(1, D, seed=1), draw(1, D).requires_grad_()
    (gradient,) = torch.autograd.grad(nd_of(query, label, torch.ones(1, 1, dtype=F64)).sum(), label)
    length = label.detach().norm()
    torch.testing.assert_close(gradient, -query / (length * torch.maximum(length, query.norm())))


def test_a_label_without_length_pulls_nowhere_and_without_norms_it_is_one_minus_the_score():
    assert nd_of(draw(1, D), torch.zeros(1, D, dtype=F64), torch.ones(1, 1, dtype=F64)).item() == 1.0
    scores = draw(Q, C)
    torch.testing.assert_close(norm_direction(LossInputs.from_dense(scores, ONE_HOT)), 1 - scores[ONE_HOT.bool()])


def test_nd_joins_nkd_by_a_weight():
    inputs = taught(draw(Q, C), draw(Q, C, seed=1))
    joined, plain = NormalisedDistillation(direction=2.0)(inputs), NormalisedDistillation()(inputs)
    torch.testing.assert_close(joined - plain, 2 * (1 - inputs.scores_QC[ONE_HOT.bool()]))


def test_zipf():
    shares = zipf(9)
    assert shares.sum().item() == pytest.approx(1)
    assert shares[:3].numpy().round(4).tolist() == [0.3535, 0.1767, 0.1178]


def test_uskd_is_that_of_a_loop():
    s, relevance = draw(Q, C), ONE_HOT.clone()
    relevance[1, 4] = 2.0
    loss = SelfDistillation(temperature=0.5, base=0.5, alpha=2.0, beta=0.3, shortlist=4)
    value = loss(LossInputs.from_dense(0.5 * s, relevance))
    shares = {}
    for q, p in relevance.nonzero().tolist():
        negatives = [c for c in range(C) if relevance[q, c] == 0]
        shares[q, p] = float(s[q, [p, *negatives]].softmax(0)[0])
    mean_square = sum(share**2 for share in shares.values()) / len(shares)
    for q in range(Q):
        own = {p: share for (row, p), share in shares.items() if row == q}
        total = sum(float(relevance[q, p]) for p in own)
        target = sum(
            float(relevance[q, p]) / total * (0.5 + 2 * (share**2 + 1 - mean_square)) * -math.log(share)
            for p, share in own.items()
        )
        best = sorted((float(s[q, c]) for c in range(C) if relevance[q, c] == 0), reverse=True)[:4]
        soft = -(zipf(4) * torch.tensor(best, dtype=F64).log_softmax(0)).sum()
        assert float(value[q]) == pytest.approx(target + 0.3 * float(soft))


@pytest.mark.parametrize(
    ("loss", "options", "said"),
    [
        (NormDirection, {"temperature": 0}, "temperature must be a finite number > 0, got 0"),
        (NormDirection, {"weight": -1.0}, "weight must be a finite number >= 0, got -1.0"),
        (NormalisedDistillation, {"softening": math.inf}, "softening must be"),
        (NormalisedDistillation, {"gamma": math.nan}, "gamma must be"),
        (SelfDistillation, {"shortlist": 0}, "shortlist must be >= 1, got 0"),
    ],
)
def test_options_that_cannot_work_are_refused(loss, options, said):
    with pytest.raises(ValueError, match=said):
        loss(**options)
