"""The parts of a sharded index on a Ray cluster: each is held by an actor of its own, and all are searched at once."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmc.errors import ConfigError
from xmc.predict.job import Job, index_folder, require_here

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from xmc.api import Index
    from xmc.values import Hits, IndexReport


def part_numbers(job: Job) -> range:
    """The parts of a sharded index, none for another."""
    folder = index_folder(job).parent
    if json.loads((folder / "index.json").read_text(encoding="utf-8"))["name"] != "sharded":
        return range(0)
    from xmc.retrieve.sharded import read_facts

    starts, _ = read_facts(folder / "backend")
    return range(len(starts))


class JobActor:
    """One of a job, on some machine."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = Job.from_dict(job)

    def require_here(self) -> None:
        """See `xmc.predict.job.require_here`."""
        require_here(self.job)


class PartHolder(JobActor):
    """An actor that holds one part of a sharded index; it opens it at the first search.

    Not when it starts: an actor that is killed while it starts would be started anew for ever.
    """

    def __init__(self, job: dict[str, Any], number: int) -> None:
        super().__init__(job)
        self.number = number

    @functools.cached_property
    def index(self) -> Index:
        """The part."""
        from xmc.plugin_manager import load_plugins
        from xmc.retrieve.sharded import load_part

        return load_part(index_folder(self.job), self.number, device=self.job.device, plugins=load_plugins())

    def search(self, queries_QD: Any, k: int, label_rows: np.ndarray[Any, Any] | None = None) -> Hits:
        """The hits of the part, in rows of its own; among these rows of its own, if any are given."""
        import torch

        from xmc.retrieve.kept_search import search_among

        if not isinstance(queries_QD, torch.Tensor):
            queries_QD = torch.from_numpy(queries_QD.copy())  # what Ray shares is read-only
        if label_rows is None:
            return self.index.search(queries_QD, k)
        return search_among(self.index, queries_QD, k, label_rows)


@dataclass(frozen=True, eq=False)
class RemoteParts:
    """A sharded index whose parts are held by actors: searched all at once, merged here."""

    actors: Sequence[Any]
    starts: tuple[int, ...]
    report: IndexReport

    @classmethod
    def of(cls, job: Job, actors: Sequence[Any]) -> RemoteParts:
        """The index of the job's run."""
        from xmc.retrieve.sharded import read_facts

        starts, report = read_facts(index_folder(job))
        return cls(actors, starts, report)

    def search(self, queries_QD: Tensor, k: int) -> Hits:
        """The best k labels over all parts."""
        return self._merged(queries_QD, k, [None] * len(self.actors))

    def search_among(self, queries_QD: Tensor, k: int, label_rows: np.ndarray[Any, Any]) -> Hits:
        """The best k of these label rows over all parts."""
        from xmc.retrieve.sharded import rows_of_parts

        return self._merged(queries_QD, k, rows_of_parts(label_rows, self.starts))

    def _merged(self, queries_QD: Tensor, k: int, rows: Sequence[np.ndarray[Any, Any] | None]) -> Hits:
        import ray
        import torch

        from xmc.retrieve.sharded import merge_parts

        shared = ray.put(queries_QD.numpy() if queries_QD.layout == torch.strided else queries_QD)
        answers = [actor.search.remote(shared, k, own) for actor, own in zip(self.actors, rows, strict=True)]
        try:
            return merge_parts(ray.get(answers), self.starts, k)
        except ray.exceptions.RayTaskError as error:  # of a class that Ray makes up, which nobody knows by its name
            raise error.cause from error

    def save(self, folder: Path) -> None:
        """Refused: the parts lie in their run already."""
        raise ConfigError(f"an index that other processes hold is not written to {folder}.")
