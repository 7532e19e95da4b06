"""What a plugin declares: small frozen descriptions whose target is a string, imported only when it is built.

A target reads `package.module:Class`; the class is a dataclass whose fields are the options a user may set.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, ClassVar, Literal


@dataclass(frozen=True, slots=True)
class Spec:
    """A named thing that a plugin offers. `reference` names the paper and `summary` fits on one line of a table."""

    name: str
    target: str
    summary: str = ""
    reference: str = ""

    kind: ClassVar[str] = "spec"

    def load(self) -> Any:
        """Import and return the target class.

        Raises: ImportError or AttributeError from the plugin's own code.
        """
        module_name, _, attribute = self.target.partition(":")
        return getattr(importlib.import_module(module_name), attribute)


@dataclass(frozen=True, slots=True)
class LossSpec(Spec):
    """A loss: values in, one value per query out, shape (Q,).

    `pool="row"` promises that a query's value depends on its own row of scores only, so the engine may walk the batch
    in chunks of query rows; `pool="batch"` gets the whole batch at once.
    """

    pool: Literal["row", "batch"] = "row"

    kind: ClassVar[str] = "loss"


@dataclass(frozen=True, slots=True)
class IndexSpec(Spec):
    """An index backend: builds a searchable structure over label embeddings. `exact` promises the true top k."""

    exact: bool = False

    kind: ClassVar[str] = "index"


@dataclass(frozen=True, slots=True)
class EncoderSpec(Spec):
    """A text encoder for queries and labels."""

    kind: ClassVar[str] = "encoder"


@dataclass(frozen=True, slots=True)
class HeadSpec(Spec):
    """What the labels are: embedded texts, rows of a trained matrix, ... The target builds a `Head`."""

    kind: ClassVar[str] = "head"


@dataclass(frozen=True, slots=True)
class RerankerSpec(Spec):
    """A second stage that scores the shortlist again; its score is fused with the first."""

    kind: ClassVar[str] = "reranker"


@dataclass(frozen=True, slots=True)
class AugmentationSpec(Spec):
    """Rewrites the texts of training queries in each epoch."""

    kind: ClassVar[str] = "augmentation"


@dataclass(frozen=True, slots=True)
class OptimizerSpec(Spec):
    """How the encoder's parameters learn. The target builds a `torch.optim.Optimizer`."""

    kind: ClassVar[str] = "optimizer"


@dataclass(frozen=True, slots=True)
class MetricSpec(Spec):
    """A ranking metric: target is a function (relevance of the ranked hits, truth) -> one value per query."""

    kind: ClassVar[str] = "metric"


@dataclass(frozen=True, slots=True)
class CheckSpec(Spec):
    """A check of a finished run (calibration, certificates, ...)."""

    kind: ClassVar[str] = "check"


@dataclass(frozen=True, slots=True)
class RecipeSpec(Spec):
    """A full configuration under a name; the target reads `package:file.toml` and is data, not code."""

    kind: ClassVar[str] = "recipe"

    def load(self) -> dict[str, Any]:
        """Read the TOML file of the recipe.

        Raises: FileNotFoundError, tomllib.TOMLDecodeError.
        """
        import tomllib
        from importlib.resources import files

        package, _, file_name = self.target.partition(":")
        return tomllib.loads(files(package).joinpath(file_name).read_text(encoding="utf-8"))
