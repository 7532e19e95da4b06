"""What every check of xmc must keep to; a plugin's whole test may be `check_check(MyCheck())`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

import numpy as np

from xmc.api import Check, CheckContext, CheckResult
from xmc.check_contract import Better
from xmc.errors import XmcError
from xmc.testing.check_cases import Recorder, example_context
from xmc.testing.conformance import ConformanceError, expect, plain_options

NAME = re.compile(r"[a-z][a-z0-9_]*")
KIND = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
BETTER = get_args(Better)


def check_check(check: Check, *, context: CheckContext | None = None) -> None:
    """Check the contract of a check: options, announced figures, a result that can be written, the same twice.

    It is run on a small made-up run, or on `context`, and on a single query, which it may refuse with an XmcError.

    Raises: ConformanceError naming the check, the promise and the numbers.

    >>> from xmc.checks.exactness import Exactness
    >>> check_check(Exactness())
    """
    plain_options(check, section="check", what="a check is")
    announced = _announced(check)
    recorder = Recorder()
    context = replace(context or example_context(), new_version=recorder.new_version, progress=recorder.progress)
    before = _arrays(context)
    result = _result(check, context)
    unchanged = all(np.array_equal(one, other) for one, other in zip(before, _arrays(context), strict=True))
    expect(unchanged, check, "queries and counts are not written into")
    _is_well_formed(check, result, announced)
    _outside(check, recorder)
    again = _result(check, context)
    expect(result.figures == again.figures, check, "the same figures twice", first=result.figures, second=again.figures)
    _one_query(check, context)


def _announced(check: Check) -> Mapping[str, str]:
    announced: Mapping[str, str] = dict(check.figures())
    expect(announced, check, "figures() announces at least one figure")
    for name, better in announced.items():
        expect(NAME.fullmatch(name), check, "names of figures are lower-case words joined by _", name=name)
        expect(better in BETTER, check, f"a figure is better {', '.join(BETTER)}", name=name, better=better)
    return announced


def _result(check: Check, context: CheckContext) -> CheckResult:
    try:
        result = check.run(context)
    except XmcError as error:
        raise ConformanceError(f"{check}: refuses the run: {error} Give a context that it can check.") from error
    expect(isinstance(result, CheckResult), check, "run() answers a CheckResult", got=type(result).__name__)
    return result


def _arrays(context: CheckContext) -> list[Any]:
    found = [context.train_counts_L.copy()]
    for queries in (context.queries, context.fit_queries):
        positives = queries.positives
        found += [array.copy() for array in (positives.offsets, positives.label_rows, positives.weights)]
        found.append(np.array(queries.texts))
    return found


def _is_well_formed(check: Check, result: CheckResult, announced: Mapping[str, str]) -> None:
    for name, figure in result.figures.items():
        expect(name in announced, check, "figures are those that figures() announces", figure=name)
        ends = [end for end in (figure.low, figure.value, figure.high) if end is not None]
        expect(all(math.isfinite(end) for end in ends), check, f"{name} is finite", figure=figure)
        expect(ends == sorted(ends), check, f"the interval of {name} encloses it", figure=figure)
    for name, columns in result.tables.items():
        expect(NAME.fullmatch(name), check, "names of tables are lower-case words joined by _", name=name)
        lengths = {column: len(values) for column, values in columns.items()}
        expect(len(set(lengths.values())) == 1, check, f"columns of {name} are of equal length", lengths=lengths)
    for name, picture in result.pictures.items():
        expect(NAME.fullmatch(name), check, "names of pictures are lower-case words joined by _", name=name)
        expect(hasattr(picture, "savefig"), check, f"picture {name} is a matplotlib Figure", got=type(picture).__name__)
    expect(all(isinstance(note, str) for note in result.notes), check, "notes are sentences", notes=result.notes)


def _outside(check: Check, recorder: Recorder) -> None:
    for kind in recorder.kinds:
        expect(KIND.fullmatch(kind), check, "kinds of fitted things are lower-case words joined by -", kind=kind)
    for done, total in recorder.steps:
        expect(0 <= done <= total, check, "progress is done of total", done=done, total=total)


def _one_query(check: Check, context: CheckContext) -> None:
    """A single query may be refused, but only with a sentence."""
    first = np.arange(1)
    few = replace(context, queries=context.queries.take(first), fit_queries=context.fit_queries.take(first))
    try:
        result = check.run(few)
    except XmcError as error:
        expect(str(error), check, "a refusal is a sentence")
    except Exception as error:  # whatever it is, a user would see a traceback
        raise ConformanceError(f"{check}: one query makes it raise {type(error).__name__}: {error}") from error
    else:
        _is_well_formed(check, result, dict(check.figures()))
