"""The outcome of a choice: the candidates, the one to take, and how well each estimator chose where that is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from xmc.choose.candidate import CandidateReport
from xmc.choose.judge import ChooseOptions
from xmc.choose.portfolio import Portfolio, portfolio
from xmc.errors import ConfigError, did_you_mean
from xmc.evaluate.bootstrap import LEVEL
from xmc.evaluate.figures import Figure


@dataclass(frozen=True)
class ChoiceReport:
    """Candidates in the order in which they were given, judged by `options.estimator`.

    `log`: its rows, queries and longest list. `behaviour` is the mean reward of its lists: the value of the policy that
    made it. `truths` are the values of candidates where they are known, and `portfolios` then judges each estimator by
    them, for k from 1 up. `models` says which encoder and index each candidate was.
    """

    log: Mapping[str, Any]
    behaviour: Figure
    options: ChooseOptions
    candidates: tuple[CandidateReport, ...]
    truths: Mapping[str, float]
    portfolios: Mapping[str, tuple[Portfolio, ...]]
    models: Mapping[str, Mapping[str, str]]
    versions: Mapping[str, str]

    @property
    def choice(self) -> str:
        """Of those that are better, the candidate with the best lower end of its gain; empty when none is."""
        better = [candidate for candidate in self.candidates if candidate.verdict == "better"]
        return max(better, key=lambda candidate: _low(candidate.gain)).name if better else ""

    @property
    def worth_a_test(self) -> list[str]:
        """The candidates that may be better, the most promising first: for an online test."""
        open_ones = [candidate for candidate in self.candidates if candidate.gain and candidate.verdict != "worse"]
        return [each.name for each in sorted(open_ones, key=lambda each: -_value(each.gain))]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "log": dict(self.log),
            "options": asdict(self.options),
            "behaviour": asdict(self.behaviour),
            "choice": self.choice,
            "worth_a_test": self.worth_a_test,
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "truths": dict(self.truths),
            "portfolios": {name: [asdict(each) for each in found] for name, found in self.portfolios.items()},
            "interval": {"level": LEVEL, "method": "percentile bootstrap over the rows of the log"},
            "models": {name: dict(parts) for name, parts in self.models.items()},
            "versions": dict(self.versions),
        }


def check_truths(truths: Mapping[str, float], names: Sequence[str]) -> None:
    """Refuse true values that are not one finite number for each candidate. Raises: ConfigError."""
    for name, value in truths.items():
        if name not in names:
            hint = did_you_mean(name, names)
            raise ConfigError(f"a true value is given of '{name}', which is no run here.", hint=hint)
        if not math.isfinite(value):
            raise ConfigError(f"the true value of '{name}' must be a finite number, got {value}.")
    if truths and (lacking := [name for name in names if name not in truths]):
        raise ConfigError(
            f"there are true values, but none of '{lacking[0]}'.", hint="Give that of every run, or of none."
        )


def portfolios_of(
    candidates: Sequence[CandidateReport], truths: Mapping[str, float], *, behaviour: float
) -> dict[str, tuple[Portfolio, ...]]:
    """Each estimator judged by the true values of the candidates that were not refused, for every k."""
    if not truths:
        return {}
    judged = [candidate for candidate in candidates if candidate.estimates]
    true_C = [truths[candidate.name] for candidate in judged]
    found = {}
    for estimator in judged[0].estimates if judged else ():
        estimates_C = [candidate.estimates[estimator].value for candidate in judged]
        found[estimator] = tuple(
            portfolio(estimates_C, true_C, k=k, behaviour=behaviour) for k in range(1, len(judged) + 1)
        )
    return found


def _low(gain: Figure | None) -> float:
    return gain.low if gain is not None and gain.low is not None else float("-inf")


def _value(gain: Figure | None) -> float:
    return gain.value if gain is not None else float("-inf")
