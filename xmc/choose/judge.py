"""Judge several runs from their scores of a log's candidates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from xmc.choose.candidate import CandidateReport, judge_candidate
from xmc.choose.estimators import ESTIMATORS, Array
from xmc.choose.evidence import gather
from xmc.choose.log import ClickLog
from xmc.choose.policy import Policy
from xmc.choose.reward_model import predict_rewards
from xmc.errors import ConfigError, DataError, did_you_mean
from xmc.given_names import given_name
from xmc.given_numbers import any_number, whole_number


@dataclass(frozen=True)
class ChooseOptions:
    """How candidates show labels (`temperature`, see `Policy`) and how they are judged.

    `estimator` decides; weights are clipped, or switched off, above `most_weight`, None for the square root of the
    number of rows; intervals are from `samples` draws of the rows.
    """

    temperature: float = 0.0
    estimator: str = "cascade-dr"
    most_weight: float | None = None
    samples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperature", any_number(self.temperature, name="the temperature"))
        object.__setattr__(self, "seed", whole_number(self.seed, name="the seed", least=0))
        if not 0 <= self.temperature < math.inf:
            raise ConfigError(f"the temperature must be 0 or a finite number above, got {self.temperature}.")
        if given_name(self.estimator, name="estimator") not in ESTIMATORS:
            hint = did_you_mean(self.estimator, ESTIMATORS) or f"There are: {', '.join(ESTIMATORS)}."
            raise ConfigError(f"there is no estimator '{self.estimator}'.", hint=hint)
        if self.most_weight is not None and not self.most_weight > 0:
            raise ConfigError(f"most_weight must be above 0, got {self.most_weight}.")
        if self.samples < 1:
            raise ConfigError(f"samples must be 1 or more, got {self.samples}.")


@dataclass(frozen=True)
class Scored:
    """The candidates of the log as one run scores them, and what it would show that is none of them (a share)."""

    scores_QM: Array
    outside: float
    identity: Mapping[str, str]


def judge(log: ClickLog, scored: Mapping[str, Scored], options: ChooseOptions) -> tuple[CandidateReport, ...]:
    """What the log says about each run; one that it says nothing of is reported as refused.

    The reward model reads the scores of all of them. Raises: DataError for a log with one query.
    """
    predictions = predict_rewards(log, [each.scores_QM for each in scored.values()])
    most_weight = math.sqrt(len(log)) if options.most_weight is None else options.most_weight
    found = []
    for name, each in scored.items():
        policy = Policy(each.scores_QM, options.temperature)
        evidence = gather(log, policy, predictions, most_weight=most_weight, seed=options.seed)
        try:
            judged = judge_candidate(
                name,
                evidence,
                estimator=options.estimator,
                outside=each.outside,
                samples=options.samples,
                seed=options.seed,
            )
        except DataError as error:
            judged = CandidateReport(name, "refused", refusal=str(error))
        found.append(judged)
    return tuple(found)
