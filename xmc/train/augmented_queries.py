"""The training queries of an epoch as an augmentation rewrites them, prepared batch by batch.

What was rewritten with the model of the start of an epoch is kept in the run folder (`augmented/`), so that a run that
is resumed in mid-epoch goes on with the very same texts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xmc.api import Augmentation, EpochModel
from xmc.counted import counted
from xmc.encode.encoder import Encoder, Features
from xmc.errors import ArtifactError, PluginError
from xmc.store import VersionedFolder
from xmc.train.distributed import ALONE, Ranks
from xmc.utf8 import is_utf8

KIND = "augmented"
FILE_NAME = "texts.json"
IntArray = np.ndarray[Any, Any]


def open_augmented(run: Path) -> VersionedFolder:
    """The texts of a run folder that were rewritten with the model."""
    return VersionedFolder(run / "augmented", kind=KIND)


@dataclass
class AugmentedQueries:
    """An augmentation over the texts of all training queries.

    On several `ranks` each asks for the queries of its share of a batch. What needs the model is rewritten by every
    rank alike, and kept by the one that writes.
    """

    augmentation: Augmentation
    texts: Sequence[str]
    store: VersionedFolder
    ranks: Ranks = ALONE
    _rewritten: dict[int, str] = field(default_factory=dict, init=False)
    _epoch: int = field(default=-1, init=False)

    def is_due(self, epoch: int) -> bool:
        """Whether the model of the start of epoch `epoch` (from 0) is wanted and the texts at hand are not its."""
        return self.augmentation.needs_model and epoch != self._epoch

    def prepare(self, epoch: int, query_rows: IntArray, model: Callable[[], EpochModel], *, at_start: bool) -> None:
        """Read the texts of this epoch, or have them rewritten at its start.

        Raises: ArtifactError when a run is continued in the middle of an epoch and they are gone.
        """
        found = self._read(epoch)
        if found is None and not at_start:
            raise ArtifactError(
                f"{self.store.root} lacks the texts rewritten at the start of epoch {epoch + 1}, and the checkpoint is "
                "from the middle of that epoch.",
                hint="Start the run anew with --overwrite.",
            )
        self.ranks.wait()  # before the one that writes replaces what the others read
        if found is None:
            found = self._changed(query_rows, self._ask(query_rows, epoch, model()))
            if self.ranks.writes:
                self._write(epoch, found)
        self._rewritten, self._epoch = found, epoch

    def features(self, encoder: Encoder, clean: Features, query_rows: IntArray, epoch: int) -> tuple[Features, int]:
        """These queries made ready for the encoder, and how many of them are not those of the data.

        Naive: prepare the whole rewritten epoch, then take the rows; here only one batch of texts is held at a time.
        """
        if self.augmentation.needs_model:
            changed = {row: self._rewritten[row] for row in query_rows.tolist() if row in self._rewritten}
        else:
            changed = self._changed(query_rows, self._ask(query_rows, epoch, None))
        if not changed:
            return clean.take(query_rows), 0
        texts = [changed.get(row, self.texts[row]) for row in query_rows.tolist()]
        return encoder.prepare(texts, "query"), len(changed)

    def _ask(self, query_rows: IntArray, epoch: int, model: EpochModel | None) -> list[str]:
        said = f"{type(self.augmentation).__name__}.rewrite answered"
        answer: Any = self.augmentation.rewrite(query_rows.copy(), epoch, model)  # which may be written into
        if isinstance(answer, str) or not isinstance(answer, Iterable):
            raise PluginError(
                f"{said} a {type(answer).__name__}, wanted is a list of {counted(len(query_rows), 'text')}."
            )
        texts = list(answer)
        if len(texts) != len(query_rows):
            raise PluginError(f"{said} {counted(len(texts), 'text')} for {counted(len(query_rows), 'query')}.")
        for text in texts:
            if not isinstance(text, str) or not is_utf8(text):
                raise PluginError(f"{said} {text!r} among the texts.", hint="Each is a str that UTF-8 can hold.")
        return texts

    def _changed(self, query_rows: IntArray, texts: Sequence[str]) -> dict[int, str]:
        pairs = zip(query_rows.tolist(), texts, strict=True)
        return {row: text for row, text in pairs if text != self.texts[row]}

    def _read(self, epoch: int) -> dict[int, str] | None:
        if not self.store.exists():
            return None
        version = self.store.current()
        if version.manifest.facts.get("epoch") != epoch:
            return None
        found = json.loads((version.folder / FILE_NAME).read_text(encoding="utf-8"))
        return dict(zip(found["rows"], found["texts"], strict=True))

    def _write(self, epoch: int, rewritten: dict[int, str]) -> None:
        body = {"rows": list(rewritten), "texts": list(rewritten.values())}
        with self.store.new_version(facts={"epoch": epoch}, keep=1) as folder:
            (folder / FILE_NAME).write_text(json.dumps(body), encoding="utf-8")
