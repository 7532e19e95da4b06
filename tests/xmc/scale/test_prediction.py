"""Invariants, on runs of planted laws: without noise the constants are recovered; with noise predictions are near and
their 95 % intervals hold the truth; fewer than five runs, or runs of one size, are refused; a target too far away, a
width never seen and an outlier are told; the order of runs does not matter; equal seeds, equal figures."""

from dataclasses import replace

import numpy as np
import pytest
from planted import ERROR, LOSS, SIZES, TARGET, error_of, loss_of, points, seconds_of, size

from xmc.errors import DataError
from xmc.scale.fit import fit_error
from xmc.scale.laws import SizeLaw
from xmc.scale.picture import draw_scale
from xmc.scale.points import columns
from xmc.scale.prediction import predict
from xmc.scale.routes import BY_LOSS, fit_losses

TRUE_LOSS = loss_of(*TARGET)
TRUE_P1 = 1 - error_of(TRUE_LOSS)


def test_the_law_is_that_of_n_and_d():
    law, n, d = SizeLaw(1.1, 3.0, 5.0, 0.2), np.array([2e5, 7e6]), np.array([3e4, 1e6])
    wanted = 1.1 + 3.0 * 6**-0.2 * n**-0.4 + 5.0 * 6**-0.2 * d**-0.4
    assert law(n, d) == pytest.approx(wanted)


def test_planted_constants_are_recovered_without_noise():
    of = columns(points(noise=0.0))
    law = fit_losses(of).law
    assert law.eta == pytest.approx(LOSS.eta, rel=0.03)
    assert law.irreducible == pytest.approx(LOSS.irreducible, rel=0.05)
    assert law(of.parameters_R, of.pairs_R) == pytest.approx(of.losses_R, rel=5e-4)
    error = fit_error(of.losses_R, of.errors_R, of.held_out_R).law
    assert (error.eps, error.gamma) == pytest.approx((ERROR.eps, ERROR.gamma), rel=0.03)
    assert error(of.losses_R) == pytest.approx(of.errors_R, abs=1e-3)


def test_the_larger_run_is_predicted_without_noise():
    found = predict(points(noise=0.0), size(*TARGET), samples=100)
    assert found.loss.value == pytest.approx(TRUE_LOSS, rel=0.01)
    assert found.routes[BY_LOSS].p1.value == pytest.approx(TRUE_P1, abs=0.01)
    assert found.seconds.value == pytest.approx(seconds_of(TARGET[1]), rel=0.01)


def test_intervals_hold_the_truth_as_often_as_they_say():
    """95 % of 24 is 22.8; fewer than 20 would come once in fifty times."""
    held = np.zeros(3, int)
    for seed in range(24):
        found = predict(points(seed=seed), size(*TARGET), samples=100, seed=seed)
        truths = (TRUE_LOSS, TRUE_P1, seconds_of(TARGET[1]))
        held += [
            f.low <= truth <= f.high for f, truth in zip((found.loss, found.p1, found.seconds), truths, strict=True)
        ]
        assert found.loss.low <= found.loss.value <= found.loss.high
    assert held.min() >= 20, held


def test_less_noise_gives_narrower_intervals():
    wide, narrow = (predict(points(noise=noise), size(*TARGET), samples=200).loss for noise in (0.02, 0.002))
    assert narrow.high - narrow.low < 0.5 * (wide.high - wide.low)


@pytest.mark.parametrize("count", range(5))
def test_fewer_than_five_runs_are_refused(count):
    with pytest.raises(DataError, match=f"at least 5 finished runs, got {count}"):
        predict(points()[:count], size(*TARGET))


def test_runs_of_one_size_are_refused():
    with pytest.raises(DataError, match="too much alike"):
        predict(points(sizes=[(1e6, 5e3 + 100 * row) for row in range(6)]), size(*TARGET))


def test_a_loss_of_nothing_is_refused():
    spoiled = [replace(point, loss=0.0 if row == 2 else point.loss) for row, point in enumerate(points())]
    with pytest.raises(DataError, match="run 'run-2' has the loss 0"):
        predict(spoiled, size(*TARGET))


def test_five_runs_of_one_width_are_enough_and_what_is_not_known_is_said():
    few = points(sizes=[(1e6, pairs) for pairs in (2e3, 4e3, 8e3, 1.6e4, 3.2e4)])
    near = predict(few, size(1e6, 1e5), samples=50)
    assert near.loss_fit.law.a == 0 and any("5 runs for the 4 constants" in note for note in near.notes)
    assert not any("width" in note for note in near.notes)
    assert any("what width brings is not known" in note for note in predict(few, size(8e6, 1e5), samples=50).notes)


def test_far_targets_are_warned_of():
    largest = max(parameters * pairs for parameters, pairs in SIZES)
    for times, warned in ((900, False), (1100, True)):
        notes = predict(points(), size(4e6, times * largest / 4e6), samples=20).notes
        assert any("times the compute" in note for note in notes) is warned


def test_an_outlier_is_named_and_moves_little():
    sizes = [(parameters, pairs) for parameters in (1e6, 4e6) for pairs in (2e3, 4e3, 8e3, 1.6e4, 3.2e4)]
    clean = points(noise=0.002, sizes=sizes)
    spoiled = [replace(point, loss=point.loss * (1.25 if row == 3 else 1)) for row, point in enumerate(clean)]
    found = predict(spoiled, size(*TARGET), samples=50)
    assert found.loss.value == pytest.approx(TRUE_LOSS, rel=0.06)
    assert [note for note in found.notes if "run 'run-3' lies off the laws" in note]


def test_order_and_seed():
    first, turned = predict(points(), size(*TARGET), samples=50), predict(points()[::-1], size(*TARGET), samples=50)
    assert turned.loss.value == pytest.approx(first.loss.value) and turned.p1.value == pytest.approx(first.p1.value)
    again = predict(points(), size(*TARGET), samples=50)
    assert again.to_dict() == first.to_dict() and first.route in first.misses


def test_no_loss_is_expected_below_nothing():
    """Runs that lie far off any law: their noise is larger than the loss itself."""
    losses = (1.0, 5.0, 0.5, 6.0, 0.7, 4.0, 1.0, 7.0)
    wild = [replace(point, loss=loss) for point, loss in zip(points(), losses, strict=True)]
    found = predict(wild, size(*TARGET), samples=200)
    assert 0 <= found.loss.low <= found.loss.value


def test_the_picture_shows_an_interval_that_ends_at_0():
    """A P@1 between 0 and a little is an error between nearly 1 and 1."""
    poor = [replace(point, p1=0.001 * row) for row, point in enumerate(points())]
    found = predict(poor, size(2e6, 1e3), samples=100)
    assert found.p1.low == 0 < found.p1.value
    (line,) = [each for each in draw_scale(found).axes[1].collections if len(each.get_segments()) == 1]
    assert line.get_segments()[0][:, 1].max() == 1
