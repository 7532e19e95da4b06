"""Invariants: what is chosen serves the goal, comes near the recall asked for on queries that did not choose, and is
the best of what was tried; what cannot be served is an error that says what would have to give."""

import dataclasses

import pytest
from graded import CLASSES, CLOCK, Graded, GradedIndex, Whole, candidate, vectors

from xmc.errors import ConfigError
from xmc.tune import ruler
from xmc.tune.choose import TuningQueries, choose_index
from xmc.tune.goal import Goal

LABELS, QUERIES = vectors()


@pytest.fixture(autouse=True)
def few_repetitions(monkeypatch):
    """The clock of the test is exact: what the machine's noise asks for would be waste."""
    monkeypatch.setattr(ruler, "SINGLES", 11)
    monkeypatch.setattr(ruler, "BOOTSTRAP_SAMPLES", 200)


MB = 1 << 20


class WordyIndex(GradedIndex):
    """An index between whose steps nothing lies."""

    def search_ladder(self):
        return [{**step, "mode": f"of {step['effort']}"} for step in super().search_ladder()]

    def with_search_options(self, options):
        index = super().with_search_options(options)
        return WordyIndex(index.backend, index.labels_LD, index.similarity)


@dataclasses.dataclass(frozen=True)
class Wordy(Graded):
    """Its steps differ in a word as well."""

    def build(self, embeddings, *, similarity, device):
        index = super().build(embeddings, similarity=similarity, device=device)
        return WordyIndex(index.backend, index.labels_LD, index.similarity)


def choose(goal, *backends, labels=LABELS, queries=QUERIES, **more):
    halves = TuningQueries(
        queries[: 2 * len(queries) // 3], queries[2 * len(queries) // 3 :], "made", ("made for a test.",)
    )
    candidates = [candidate(backend) for backend in backends]
    return choose_index(goal, candidates, labels, halves, device="cpu", clock=CLOCK, **more)


@pytest.mark.parametrize("target", [0.3, 0.55, 0.9, 0.97])
def test_the_smallest_effort_that_reaches_the_recall_is_found_between_the_steps(target):
    choice = choose(Goal(target_recall=target), Whole(query_s=2e-5), Graded())
    effort = choice.chosen.search_options["effort"]
    assert abs(effort - target * CLASSES) <= 2.5, "recall is effort / 64"
    assert target <= choice.chosen.recall <= target + 0.02
    assert abs(choice.judged.recall - target) < 0.03 and choice.judged.low < choice.judged.recall < choice.judged.high
    assert choice.chosen.recall > target + 0.01 or not any("setting of this index" in note for note in choice.notes)
    assert choice.judged.queries == 200 and choice.chosen.queries == 400 and choice.judged.stage == "judging"
    assert choice.backend == Graded(effort=effort) and choice.index.backend.effort == effort
    measured = {point.search_options["effort"]: point.recall for point in choice.trials[1].points}
    assert max(measured) <= 64 and len(measured) < 16
    assert [trial.verdict for trial in choice.trials] == ["slower than graded", "chosen"]
    assert choice.exact.backend == "whole" and choice.exact.recall == 1.0


def test_rates_are_those_of_the_clock():
    choice = choose(Goal(target_recall=0.5, batch_size=50), Graded(query_s=2e-5))
    effort = choice.chosen.search_options["effort"]
    assert choice.chosen.queries_per_s == pytest.approx(1 / (2e-5 * effort))
    assert choice.chosen.latency_s == pytest.approx(2e-5 * effort)
    assert choice.exact is None


def test_exact_search_is_chosen_where_it_is_faster_and_the_report_says_so():
    choice = choose(Goal(target_recall=0.9), Whole(query_s=1e-7), Graded())
    assert choice.trial.candidate.name == "whole" and choice.judged.recall == 1.0
    assert any("faster than exact search" in note for note in choice.notes)
    assert choice.trials[1].verdict == "recall 0.030 at best" or choice.trials[1].verdict.startswith("recall 0.0")
    assert len(choice.trials[1].points) == 1, "clearly slower than what reaches the recall: not climbed further"


def test_a_ladder_that_begins_above_the_target_is_said():
    choice = choose(Goal(target_recall=0.4), Whole(query_s=1e-3), Graded(ladder=(48, 64)))
    assert choice.chosen.search_options == {"effort": 48}
    assert any("the fastest setting of this index already has recall 0.7" in note for note in choice.notes)


def test_a_gap_of_the_ladder_that_cannot_be_halved_is_said():
    choice = choose(Goal(target_recall=0.6), Whole(query_s=1e-3), Graded(ladder=(32, 33, 34, 48), mode="x"))
    assert choice.chosen.search_options["effort"] in range(36, 44), "numbers are halved where words are alike"

    choice = choose(Goal(target_recall=0.6), Wordy(ladder=(16, 48)))
    assert choice.chosen.search_options == {"effort": 48, "mode": "of 48"}
    assert any("no setting of this index has a recall between 0.2" in note for note in choice.notes)


def test_of_two_alike_the_smaller_is_taken_and_of_different_ones_the_faster():
    small, large = Graded(held_bytes=500, query_s=1.02e-5), Graded(held_bytes=900)
    for backends in ((small, large), (large, small)):
        choice = choose(Goal(target_recall=0.5), *backends)
        assert choice.trial.candidate.backend == small
        told = f"as fast as {choice.trial.candidate}, and no smaller"
        assert {trial.verdict for trial in choice.trials} == {"chosen", told}
    fast = Graded(held_bytes=900, query_s=0.5e-5)
    assert choose(Goal(target_recall=0.5), small, fast).trial.candidate.backend == fast


def test_who_loses_is_told_to_whom_though_that_one_loses_later():
    small, large, fast = Graded(held_bytes=500), Graded(held_bytes=900, query_s=1.02e-5), Graded(query_s=1e-6)
    choice = choose(Goal(target_recall=0.5), small, large, fast)
    first, second, third = (trial.verdict for trial in choice.trials)
    assert (first, third) == ("slower than graded (query_s 1e-06)", "chosen")
    assert second == "as fast as graded (held_bytes 500), and no smaller", "not as fast as the chosen one"


def test_exact_search_that_is_as_fast_is_taken_however_large():
    exact, small = Whole(query_s=0.52e-5, held_bytes=9000), Graded(held_bytes=500)
    for backends in ((exact, small), (small, exact)):
        choice = choose(Goal(target_recall=0.5), *backends)
        assert choice.trial.candidate.backend == exact and choice.judged.recall == 1.0
        told = f"as fast as {choice.trial.candidate}, and not exact"
        assert {trial.verdict for trial in choice.trials} == {"chosen", told}


def test_with_memory_alone_the_best_recall_that_fits():
    coarse, fine = Graded(ladder=(16, 32), held_bytes=400 * MB), Graded(ladder=(16, 48), held_bytes=400 * MB)
    whole = Whole(says_bytes=4000 * MB)
    choice = choose(Goal(memory_bytes=500 * MB), whole, coarse, fine)
    assert choice.trial.candidate.backend == fine and choice.chosen.search_options == {"effort": 48}
    verdicts = [trial.verdict for trial in choice.trials]
    assert verdicts == ["not built: an estimated 4,000.0 MB", f"a lower recall than {choice.trial.candidate}", "chosen"]
    assert choose(Goal(memory_bytes=5000 * MB), whole, fine).trial.candidate.exact


def test_an_estimate_that_was_too_low_is_found_out():
    liar = Graded(says_bytes=10, held_bytes=600 * MB)
    honest = Graded(ladder=(1, 2), held_bytes=10)
    choice = choose(Goal(memory_bytes=500 * MB), liar, honest)
    assert choice.trial.candidate.backend == honest and choice.trials[0].verdict == "too large: 600.0 MB"
    unbuilt = choose(Goal(memory_bytes=500 * MB), Graded(says_bytes=600 * MB), honest)
    assert [trial.to_dict()["memory_bytes"] for trial in unbuilt.trials] == [None, 10]
    assert str(unbuilt.chosen) == "'graded' (effort 2)"
    assert str(dataclasses.replace(unbuilt.chosen, search_options={})) == "'graded'"


def test_with_latency_alone_the_best_recall_in_time():
    choice = choose(Goal(latency_s=4.05e-4), Whole(query_s=1e-4), Graded())
    assert choice.trials[0].verdict == "too slow"
    assert choice.chosen.search_options == {"effort": 40}, "halved between 32 and 64"
    assert choice.judged.latency_s <= 4.05e-4


def test_limits_hold_beside_a_target():
    quick_but_large = Graded(query_s=1e-6, held_bytes=900 * MB, says_bytes=900 * MB)
    choice = choose(Goal(target_recall=0.5, memory_bytes=500 * MB, latency_s=1e-3), quick_but_large, Graded())
    assert choice.trials[0].verdict.startswith("not built") and choice.trial.candidate.backend == Graded()


def test_a_goal_out_of_reach_names_the_nearest_and_what_would_give():
    whole, part = Whole(says_bytes=4000 * MB), Graded(ladder=(1, 16, 32), held_bytes=10 * MB)
    with pytest.raises(ConfigError) as caught:
        choose(Goal(target_recall=0.95, memory_bytes=100 * MB), whole, part)
    message, hint = caught.value.message, caught.value.hint
    assert "The nearest is 'graded' (effort 32) with recall 0.513, 0.32 ms a query and 10.0 MB." in message
    assert hint == "Allow more memory: 4000.0 MB for 'whole' (estimated). Ask for a recall of 0.512 or less."
    with pytest.raises(ConfigError, match=r"effort \d+.*Ask for a recall of 0\.\d+ or less\. Allow 0\.65 ms a query\."):
        between_digits = {"query_s": 1.005e-5}  # 0.6432 ms for all: 0.64 itself is rounded up as the clock has it
        choose(Goal(target_recall=0.95, latency_s=2e-4), Whole(**between_digits), Graded(**between_digits))
    with pytest.raises(ConfigError, match="no installed backend proposes one"):
        choose(Goal(target_recall=0.95))
    with pytest.raises(ConfigError, match="'graded' refused: device 'moon'"):
        choose(Goal(target_recall=0.95), Graded(refuses=True))


def test_the_memory_that_is_advised_is_enough():
    """Rounded to a tenth, 5,040 bytes would be 4.9 kB, which does not hold them; what was built is known exactly."""
    with pytest.raises(ConfigError) as caught:
        choose(Goal(memory_bytes=2000), Graded(says_bytes=5040))
    assert caught.value.hint == "Allow more memory: 5.0 kB for 'graded' (estimated)."
    with pytest.raises(ConfigError) as caught:
        choose(Goal(memory_bytes=2000), Graded(says_bytes=1000, held_bytes=9 * MB + 1))
    assert caught.value.hint == "Allow more memory: 9.1 MB for 'graded'."


def test_the_time_that_is_advised_is_enough():
    """Rounded to the nearest, 0.6550016 ms would be 0.655, which it exceeds."""
    goal, graded = Goal(target_recall=0.95, latency_s=2e-4), Graded(query_s=1.023440e-5, ladder=(1, 64))
    with pytest.raises(ConfigError) as caught:
        choose(goal, graded)
    assert caught.value.hint == "Ask for a recall of 0.310 or less. Allow 0.66 ms a query."
    assert choose(dataclasses.replace(goal, latency_s=0.66e-3), graded).chosen.recall >= 0.95


def test_a_refusal_of_one_does_not_stop_the_others():
    choice = choose(Goal(target_recall=0.5), Graded(refuses=True), Graded())
    assert [trial.verdict for trial in choice.trials] == ["refused: device 'moon' was asked for.", "chosen"]


def test_a_saturated_ladder_is_left():
    saturated = Graded(ladder=(1, 63, 64, 65, 66, 67, 68, 69, 70))
    choice = choose(Goal(memory_bytes=MB), saturated)
    assert max(point.search_options["effort"] for point in choice.trial.points) <= 64, "recall 1 cannot be bettered"
    with pytest.raises(ConfigError):
        choose(Goal(target_recall=0.9), Graded(ladder=(8, 8, 8, 8, 8, 8)))


@pytest.mark.parametrize(("labels", "k"), [(1, 10), (3, 10), (3, 3)])
def test_few_labels_and_a_k_above_their_number(labels, k):
    few, queries = vectors(labels=labels, queries=30)
    choice = choose(Goal(target_recall=0.95, k=k), Whole(), labels=few, queries=queries)
    assert choice.judged.recall == 1.0


def test_fewer_queries_than_a_batch():
    halves = TuningQueries(QUERIES[:2], QUERIES[2:3])
    choice = choose_index(Goal(target_recall=0.5), [candidate(Graded())], LABELS, halves, device="cpu", clock=CLOCK)
    assert choice.chosen.queries == 2 and choice.judged.queries == 1
    assert choice.chosen.queries_per_s == pytest.approx(1 / (1e-5 * choice.chosen.search_options["effort"]))


def test_the_same_seed_chooses_the_same():
    first, second = (choose(Goal(target_recall=0.8), Whole(), Graded(), seed=3) for _ in range(2))
    assert dataclasses.replace(first.judged, latency_s=0, queries_per_s=0) == dataclasses.replace(
        second.judged, latency_s=0, queries_per_s=0
    )
    assert first.backend == second.backend


def test_a_sample_of_the_labels_discards_what_cannot_do_it():
    poor, good = Graded(ladder=(1, 8)), Graded()
    choice = choose(Goal(target_recall=0.5), Whole(), poor, good, sample=1000)
    assert [trial.candidate.backend for trial in choice.trials] == [Whole(), good]
    said = [trial.verdict for trial in choice.sample_trials]
    assert said[0].startswith("on a sample of 1,000 labels: recall 0.1") and said[0].endswith("not built on all labels")
    assert said[1].endswith("serves the goal; built on all labels as well")
    assert {point.stage for point in choice.points} == {"sample", "choosing", "judging"}
    choice = choose(Goal(memory_bytes=MB), poor, good, sample=1000)
    assert [trial.candidate.backend for trial in choice.trials] == [good]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"target_recall": 0.0},
        {"target_recall": 1.1},
        {"memory_bytes": 0},
        {"latency_s": float("nan")},
        {"target_recall": 0.9, "batch_size": 0},
        {"target_recall": 0.9, "k": 0},
    ],
)
def test_goals_that_cannot_be(options):
    with pytest.raises(ConfigError):
        Goal(**options)


def test_the_noise_of_timing_does_not_raise_the_effort(monkeypatch):
    """Every second reading comes out three times as fast as it is."""
    read, count = ruler.Ruler.read, iter(range(10**6))

    def noisy(self, index):
        reading = read(self, index)
        return dataclasses.replace(reading, queries_per_s=reading.queries_per_s * (3 if next(count) % 2 else 1))

    monkeypatch.setattr(ruler.Ruler, "read", noisy)
    choice = choose(Goal(target_recall=0.6), Graded())
    assert 0.6 <= choice.chosen.recall <= 0.62
    assert not [p for p in choice.trial.points if 0.6 <= p.recall < choice.chosen.recall]
