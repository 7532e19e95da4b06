"""Invariants: along a list probabilities never rise, so a cut keeps its best hits; nonsense is told from questions."""

import random
import string

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xmc import Retriever
from xmc.data.dataset import load_dataset
from xmc.engine.verbs import check_run
from xmc.ranking import first_hits
from xmc.retrieve.calibration import NO_CUT_OFFS, Calibration, Curve, never_rising
from xmc.values import Hits


@given(lists=st.lists(st.lists(st.floats(0, 1), max_size=6), max_size=6))
def test_each_value_is_the_smallest_so_far(lists):
    offsets = np.concatenate(([0], np.cumsum([len(each) for each in lists]))).astype(np.int64)
    falling = never_rising(np.array([value for each in lists for value in each]), offsets)
    assert falling.tolist() == [min(each[: i + 1]) for each in lists for i in range(len(each))]


def test_a_band_that_says_more_of_a_worse_hit_is_not_believed():
    low, high = (Curve(np.array([0.0, 1.0]), np.array([p, p])) for p in (0.2, 0.9))
    calibration = Calibration("isotonic", (1, 2), (low, high), NO_CUT_OFFS)
    hits = Hits(np.array([0, 2, 3]), np.array([5, 6, 7]), np.array([0.9, 0.8, 0.7], np.float32))
    assert calibration.probabilities(hits).tolist() == [0.2, 0.2, 0.2]


@given(
    bands=st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted), min_size=1, max_size=4),
    kept=st.sets(st.integers(0, 7)),
)
def test_a_part_of_a_list_has_the_probabilities_of_the_whole(bands, kept):
    curves = tuple(Curve(np.array([0.0, 1.0]), np.array(band)) for band in bands)
    calibration = Calibration("isotonic", (1, 2, 4, 6)[: len(bands)], curves, NO_CUT_OFFS)
    scores = np.linspace(0.9, 0.1, 8, dtype=np.float32)
    whole = Hits(np.array([0, 0, 8]), np.arange(8)[::-1].copy(), scores)
    rows = np.array(sorted(kept), dtype=np.int64)
    part = Hits(np.array([0, 0, len(rows)]), whole.label_rows[rows], scores[rows])
    first = first_hits(whole, calibration.first_ranks[-1] - 1)
    expected = calibration.probabilities(whole)[rows]
    assert calibration.probabilities_of_parts(part, first).tolist() == expected.tolist()


def test_by_default_a_calibrated_run_tells_nonsense_from_questions(tiny_run_copy):
    generator = random.Random(0)
    words = ["".join(generator.choices(string.ascii_lowercase, k=generator.randint(3, 9))) for _ in range(600)]
    nonsense = [" ".join(words[start : start + 3]) for start in range(0, 600, 3)]
    sense = load_dataset("tiny").test.texts
    answered = {}
    for settings in ((), ("check.calibrate.unanswerable=0",)):
        check_run(tiny_run_copy, ["calibrate"], settings=settings)
        retriever = Retriever.load(tiny_run_copy, warn=False)
        best = retriever.search(nonsense, k=1)  # some nonsense has no letter of the data's at its place, and is told so
        nonsense = [text for text, hits in zip(nonsense, best, strict=True) if hits[0].score]
        found = retriever.search(nonsense, min_probability=0.5), retriever.search(sense, min_probability=0.5)
        answered[settings] = [sum(map(bool, hits)) / len(hits) for hits in found]
    assert answered[()][0] < 0.4 and answered[()][1] > 0.95
    assert answered[("check.calibrate.unanswerable=0",)][0] == 1
