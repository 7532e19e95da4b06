"""Hard negatives: for each training query the best labels of the current model that are not relevant to it.

Mined through the run's own index backend at the start of an epoch, and kept in the run folder (`negatives/`), so that a
resumed run goes on with the very same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmc.api import Head
from xmc.errors import ArtifactError
from xmc.store import VersionedFolder
from xmc.train.options import TrainOptions
from xmc.train.schedule import step_generator

KIND = "negatives"
FILE_NAME = "negatives.safetensors"
STREAM = 2
IntArray = np.ndarray[Any, Any]
Miner = Callable[[Head, Iterator[Tensor]], IntArray]


def open_negatives(run: Path) -> VersionedFolder:
    """The mined negatives of a run folder."""
    return VersionedFolder(run / "negatives", kind=KIND)


@dataclass
class HardNegatives:
    """The mined labels of every training query and when to mine them anew.

    `mine(head, queries)` answers (N, M) label rows for chunks of query embeddings, best first and filled up with -1:
    no relevant label, no label with the text of a relevant one. Only one of several ranks `writes` them.
    """

    mine: Miner
    options: TrainOptions
    store: VersionedFolder
    writes: bool = True
    _rows_NM: IntArray | None = field(default=None, init=False)
    _epoch: int = field(default=-1, init=False)

    def is_due(self, epoch: int) -> bool:
        """Whether the negatives at hand are not those that epoch `epoch` (from 0) trains with."""
        return self._wanted(epoch) != self._epoch

    def prepare(self, epoch: int, head: Head, queries: Callable[[], Iterator[Tensor]], *, at_start: bool) -> None:
        """Read the negatives of this epoch, or mine them at its start.

        Raises: ArtifactError when a run is continued in the middle of an epoch and they are gone.
        """
        wanted = self._wanted(epoch)
        if self._read(wanted):
            return
        if not at_start:
            raise ArtifactError(
                f"{self.store.root} lacks the negatives mined at epoch {wanted + 1}, and the checkpoint is from the "
                "middle of an epoch that trains with them.",
                hint="Start the run anew with --overwrite.",
            )
        self._rows_NM, self._epoch = self.mine(head, queries()), wanted
        if self.writes:
            self._write(self._rows_NM)

    def draw(self, step: int, query_rows: IntArray) -> IntArray:
        """`[train] hard_negatives` (H) of each query's mined labels, drawn with repetition: label rows (Q, H) or -1.

        In the epochs before the first mining H is 0.
        """
        if self._rows_NM is None:
            return np.zeros((len(query_rows), 0), dtype=np.int64)
        generator = step_generator(step, self.options, stream=STREAM)
        mined_QM = self._rows_NM[query_rows]
        places_QH = generator.integers(0, mined_QM.shape[1], size=(len(query_rows), self.options.hard_negatives))
        return np.take_along_axis(mined_QM, places_QH, axis=1).astype(np.int64)

    def _wanted(self, epoch: int) -> int:
        """The epoch at which the negatives of `epoch` are mined; -1 before the first mining."""
        if epoch < self.options.mining_start:
            return -1
        return epoch - (epoch - self.options.mining_start) % self.options.mining_epochs

    def _read(self, epoch: int) -> bool:
        from safetensors.torch import load_file

        if epoch < 0:
            self._rows_NM, self._epoch = None, epoch
            return True
        if not self.store.exists():
            return False
        version = self.store.current()
        if version.manifest.facts.get("epoch") != epoch:
            return False
        self._rows_NM = load_file(version.folder / FILE_NAME)["rows"].numpy()
        self._epoch = epoch
        return True

    def _write(self, rows_NM: IntArray) -> None:
        from safetensors.torch import save_file

        with self.store.new_version(facts={"epoch": self._epoch}, keep=1) as folder:
            save_file({"rows": torch.from_numpy(rows_NM)}, folder / FILE_NAME)


def without_relevant(label_rows_M: IntArray, relevant: IntArray, *, depth: int, skip: int) -> IntArray:
    """The first `depth` of the mined labels that are not relevant, after leaving out `skip` of them; -1 fills up.

    >>> without_relevant(np.array([4, 2, 7, 1]), np.array([2]), depth=3, skip=1).tolist()
    [7, 1, -1]
    """
    kept = label_rows_M[~np.isin(label_rows_M, relevant)][skip : skip + depth]
    return np.pad(kept, (0, depth - len(kept)), constant_values=-1).astype(np.int32)
