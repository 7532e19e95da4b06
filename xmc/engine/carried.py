"""What one step of a command hands to the next in the same process, so that nothing is read or counted twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xmc.data.dataset import Dataset
from xmc.engine.run_config import RunConfig
from xmc.engine.training_set import load_for_training


@dataclass
class Carried:
    """The data set of a run and the prepared training queries, each empty until a step has made it.

    Texts are prepared by an encoder before its training and after it alike, so the features serve both.
    """

    data: Dataset | None = None
    train_features: Any = None

    def load(self, config: RunConfig) -> Dataset:
        """The data set of the configuration, as for training; read once."""
        if self.data is None:
            self.data = load_for_training(config)
        return self.data
