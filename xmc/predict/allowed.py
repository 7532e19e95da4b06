"""The labels that a prediction may answer with: a file in its output folder, whose SHA-256 the job carries.

A filter may have millions of ids, so workers read it from there: neither a command line nor a message holds them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xmc.errors import ArtifactError, DataError
from xmc.store.location import Location
from xmc.store.location_writer import write_text_at

if TYPE_CHECKING:
    from xmc.retrieve.label_filter import LabelFilter
    from xmc.retrieve.retriever import Retriever

ALLOWED = "_allowed.jsonl"


@dataclass(frozen=True)
class AllowedLabels:
    """Sorted label ids as JSON lines of {id}, the form that `--allowed` reads."""

    text: str

    @classmethod
    def of(cls, run: Path, label_ids: Iterable[str]) -> AllowedLabels:
        """These ids, each of which must be a label of the run now.

        Raises: DataError when there is none, and naming the first that are no labels of the run.
        """
        from xmc.retrieve.label_filter import make_filter
        from xmc.retrieve.run_state import labels_of

        labels = labels_of(run)
        rows = make_filter(labels, label_ids).label_rows
        if not len(rows):
            raise DataError(
                "the filter allows no label: it has no label id.",
                hint="Name the labels to search among, or leave it out.",
            )
        ids = sorted(labels.ids[row] for row in rows.tolist())
        return cls("".join(json.dumps({"id": label_id}) + "\n" for label_id in ids))

    @property
    def sha256(self) -> str:
        """What the fingerprint of the job has of them."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def hand_over(self, out: Location) -> None:
        """Put them into the output folder, where they are not there yet."""
        if out.child(ALLOWED).read_bytes() != self.text.encode():
            write_text_at(out.child(ALLOWED), self.text)


def read_allowed(out: Location, sha256: str, retriever: Retriever) -> LabelFilter:
    """The filter that was handed over, looked up in the labels of the retriever.

    Raises: ArtifactError when it is not the one that the job was made with.
    """
    written = out.child(ALLOWED).read_bytes()
    if written is None or hashlib.sha256(written).hexdigest() != sha256:
        raise ArtifactError(
            f"{out.child(ALLOWED).shown} is {'gone' if written is None else 'damaged'}: it has the labels that this "
            "prediction may answer with.",
            hint="Start it again.",
        )
    return retriever.filter(json.loads(line)["id"] for line in written.decode().splitlines())
