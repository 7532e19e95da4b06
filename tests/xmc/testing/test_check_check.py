"""Invariants: the kit accepts a check that keeps the contract and names the promise that another one breaks."""

from dataclasses import dataclass

import numpy as np
import pytest

from xmc.api import CheckFigure, CheckResult, DataError
from xmc.testing import ConformanceError, check_check
from xmc.testing.check_cases import Recorder, example_context


@dataclass(frozen=True)
class Good:
    """The share of queries whose best hit is right."""

    depth: int = 1

    def figures(self):
        return {"right": "higher"}

    def run(self, context):
        hits = context.search(context.queries, k=self.depth)
        context.progress(1, 1)
        return CheckResult({"right": CheckFigure(float(np.mean(hits.scores)))}, {"scores": {"score": hits.scores}})


def broken(**parts):
    """A check like `Good` with other parts."""
    return dataclass(frozen=True)(type("Broken", (Good,), parts))()


def answering(result):
    return broken(run=lambda self, context: result)


class Counter:
    """A check that answers another figure each time."""

    calls = 0

    def run(self, context):
        Counter.calls += 1
        return CheckResult({"right": CheckFigure(float(Counter.calls))})


def writes_into(self, context):
    context.queries.positives.label_rows[:] = 0
    return CheckResult({})


def needs_two(self, context):
    if len(context.queries) < 2:
        raise IndexError("list index out of range")
    return CheckResult({})


def refuses(self, context):
    raise DataError("there is no coffee.", hint="Make some.")


def goes_backwards(self, context):
    context.progress(3, 2)
    return CheckResult({})


def keeps_oddly(self, context):
    with context.new_version("Fitted Thing"):
        return CheckResult({})


def test_a_check_that_keeps_the_contract():
    check_check(Good())
    check_check(Good(depth=3), context=example_context(queries=20))


@pytest.mark.parametrize(
    ("check", "promise"),
    [
        (broken(figures=lambda self: {}), "announces at least one figure"),
        (broken(figures=lambda self: {"Right!": "higher"}), "names of figures are lower-case words"),
        (broken(figures=lambda self: {"right": "up"}), "a figure is better lower, higher, neither"),
        (answering(None), r"run\(\) answers a CheckResult; got=NoneType"),
        (answering(CheckResult({"wrong": CheckFigure(1.0)})), "figures are those that figures"),
        (answering(CheckResult({"right": CheckFigure(float("nan"))})), "right is finite"),
        (answering(CheckResult({"right": CheckFigure(1.0, 2.0, 3.0)})), "the interval of right encloses it"),
        (answering(CheckResult({}, {"a": {"x": [1], "y": []}})), "columns of a are of equal length"),
        (answering(CheckResult({}, {"A b": {"x": [1]}})), "names of tables"),
        (answering(CheckResult({}, {}, {"a": "a.png"})), "picture a is a matplotlib Figure; got=str"),
        (answering(CheckResult({}, {}, {}, (3,))), "notes are sentences"),
        (broken(run=Counter.run), "the same figures twice"),
        (broken(run=writes_into), "queries and counts are not written into"),
        (broken(run=needs_two), "one query makes it raise IndexError: list index out of range"),
        (broken(run=refuses), "refuses the run: there is no coffee. Make some. Give a context"),
        (broken(run=goes_backwards), "progress is done of total; done=3, total=2"),
        (broken(run=keeps_oddly), "kinds of fitted things are lower-case words joined by -; kind=Fitted Thing"),
    ],
)
def test_a_broken_promise_is_named(check, promise):
    with pytest.raises(ConformanceError, match=promise):
        check_check(check)


def test_a_check_is_a_frozen_dataclass():
    class Plain(Good):
        pass

    @dataclass
    class Thawed:
        depth: int = 1

    with pytest.raises(ConformanceError, match="frozen dataclass"):
        check_check(Thawed())
    check_check(Plain())


def test_a_refusal_of_one_query_is_allowed():
    def run(self, context):
        return refuses(self, context) if len(context.queries) < 2 else CheckResult({})

    check_check(broken(run=run))


def test_the_made_up_run_is_the_same_each_time_and_not_too_easy():
    first, second = example_context(), example_context()
    assert first.queries.texts == second.queries.texts
    hits = first.search(first.queries, k=1)
    positives = first.queries.positives
    right = [
        row in positives.label_rows[a:b]
        for row, a, b in zip(hits.label_rows, positives.offsets[:-1], positives.offsets[1:], strict=True)
    ]
    assert 0.4 < np.mean(right) < 0.95
    assert not set(first.queries.ids) & set(first.fit_queries.ids)
    found = first.retriever.search(first.queries.texts[:2], k=2)
    assert [len(each) for each in found] == [2, 2] and found[0][0].rank == 1 and isinstance(Recorder().kinds, list)
