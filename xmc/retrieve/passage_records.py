"""What a run keeps beside the text of its passages: metadata, and the collection that a passage was added to.

passages/vNNNNNN/passages.parquet   label_id, collection (empty: none), metadata (a JSON object), and of the text or the
                                    edits replaced last (else empty): replaced_sha256, replaced_metadata

Records are looked up by label id and say nothing about which labels there are: one without a label is passed over.
They are committed before the texts that they belong to. So a record tells what belongs to the text before, too, and
`Records.beside` tells what belongs to the texts that are there.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from xmc.data.shards import read_table, write_table
from xmc.errors import DataError
from xmc.retrieve.layout import passages_store
from xmc.retrieve.living_labels import find
from xmc.store.lock import in_turn, locked

if TYPE_CHECKING:
    from xmc.data.tables import LabelTable
    from xmc.retrieve.label_edits import LabelEdits
    from xmc.store.versions import Version

FILE = "passages.parquet"
NOTHING = "{}"
VALUES = "Values may be texts, numbers, true, false, null, and lists and objects with texts as keys of such."


class Record(NamedTuple):
    """What is kept for one label id; metadata are JSON.

    As long as the label's text, or the version of all edits, is still that of `replaced_sha256`, its metadata are
    `replaced_metadata`.
    """

    collection: str
    metadata: str
    replaced_sha256: str = ""
    replaced_metadata: str = ""

    def beside(self, text: str, edits: LabelEdits) -> Record:
        """What belongs to this text of the label, these edits being there."""
        is_replaced_yet = self.replaced_sha256 not in (sha256_of_text(text), _version(edits))
        return self if is_replaced_yet else Record(self.collection, self.replaced_metadata)


@dataclass(frozen=True, eq=False)
class Records:
    """All records of one committed version; `sha256` names it."""

    by_id: Mapping[str, Record] = field(default_factory=dict)
    sha256: str = ""

    def metadata(self, label_id: str) -> dict[str, Any]:
        """What is kept beside a label, a fresh dictionary; empty where nothing is."""
        kept: dict[str, Any] = json.loads(self.json(label_id))
        return kept

    def json(self, label_id: str) -> str:
        """`metadata` as it is stored."""
        record = self.by_id.get(label_id)
        return record.metadata if record else NOTHING

    def beside(self, labels: LabelTable, edits: LabelEdits) -> Records:
        """What belongs to the texts of these labels with these edits, of which some are perhaps being replaced."""
        rows = ((label_id, find(labels, label_id)) for label_id, record in self.by_id.items() if record.replaced_sha256)
        found = {label_id: self.by_id[label_id].beside(labels.texts[row], edits) for label_id, row in rows if row >= 0}
        earlier = {label_id: record for label_id, record in found.items() if record is not self.by_id[label_id]}
        return replace(self, by_id={**self.by_id, **earlier}) if earlier else self

    def members(self, collection: str) -> list[str]:
        """The ids that were added to a collection."""
        return [label_id for label_id, record in self.by_id.items() if record.collection == collection]


class PassageRecords:
    """The records of a run: each change is one committed version."""

    def __init__(self, run: Path) -> None:
        self._store = passages_store(run)
        self._records = Records()

    def current(self) -> Records:
        """The records as they are committed now; reads one small file when nothing changed.

        Raises: ArtifactError when they are damaged.
        """
        records, committed = self._records, self._store.current_sha256()
        if records.sha256 != committed or (not committed and self._store.exists()):
            records = self._store.parse_current(_parse)
        self._records = records
        return records

    def exist(self) -> bool:
        """Whether anything was ever kept."""
        return self._store.exists()

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Let nobody else change passages in the block: their texts and what is kept beside them are two commits.

        Waits for other threads of this process, also with stores of their own. Raises: LockedError at once while
        another process does.
        """
        changing = self._store.root / "changing"
        with in_turn(changing), locked(changing):
            yield

    def put(
        self,
        texts: Mapping[str, str],
        metadata: Mapping[str, str],
        *,
        there: Mapping[str, str],
        edits: LabelEdits,
        edited: bool,
        collection: str = "",
    ) -> int:
        """Keep metadata, as `to_json` makes it, for labels that are about to have these texts; how many were others.

        `there` has the texts that they have now, with the edits that are there now. If these are about to be `edited`,
        readers see all of it from then on. Labels that are not there are in `collection` from then on, the others stay
        in the one that they are in. Nothing is committed where all is kept already.
        Raises: LockedError while another process writes.
        """
        before, changed = self.current().by_id, 0
        new = {}
        for label_id, kept in metadata.items():
            record, text = before.get(label_id, Record(collection, NOTHING)), there.get(label_id)
            earlier = NOTHING if text is None else record.beside(text, edits).metadata
            changed += kept != earlier and json.loads(kept) != json.loads(earlier)
            if text is None:
                new[label_id] = Record(collection, kept)
            elif text != texts[label_id]:
                new[label_id] = Record(record.collection, kept, sha256_of_text(text), earlier)
            elif edited and kept != earlier:
                new[label_id] = Record(record.collection, kept, _version(edits), earlier)
            else:
                new[label_id] = Record(record.collection, kept)
        if any(before.get(label_id) != record for label_id, record in new.items()):
            self._commit(new)
        return changed

    def drop(self, label_ids: Iterable[str]) -> None:
        """Forget what is kept for these ids. Raises: as `put`."""
        gone = set(label_ids) & set(self.current().by_id)
        if gone:
            self._commit({}, gone=gone)

    def _commit(self, new: Mapping[str, Record], *, gone: Iterable[str] = ()) -> None:
        with self._store.new_version() as folder:  # between reading and writing nobody else writes
            after = {**self.current().by_id, **new}
            for label_id in gone:
                after.pop(label_id, None)
            _save(folder, after)
        self._store.repeat_first()


def sha256_of_text(text: str) -> str:
    """The name of a text in a record."""
    return sha256(text.encode()).hexdigest()


def _version(edits: LabelEdits) -> str:
    """The name of a version of the labels in a record, which is no name of a text."""
    return edits.sha256 or "before all edits"


def to_json(metadata: Mapping[str, Any], *, label_id: str) -> str:
    """Metadata as it is kept.

    Raises: DataError when it is no dictionary, or would not come back from JSON as it is: other keys than strings,
    tuples, dates, NaN.

    >>> to_json({"page": 3, "tags": ["a"]}, label_id="x")
    '{"page": 3, "tags": ["a"]}'
    """
    if not isinstance(metadata, Mapping):
        raise DataError(f"the metadata of '{label_id}' must be a dictionary, got {type(metadata).__name__}.")
    try:
        return as_json(dict(metadata))
    except ValueError as error:
        raise DataError(f"the metadata of '{label_id}' cannot be kept: {error}.", hint=VALUES) from None


def as_json(value: Any) -> str:
    """A value as JSON. Raises: ValueError for one that would not come back from it as it is."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
        if json.loads(text) == value:
            return text
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(str(error)) from None
    raise ValueError("it would come back as another value")


def _parse(version: Version) -> Records:
    table = read_table(version.folder / FILE)
    names = [name for name in ("label_id", *Record._fields) if name in table.column_names]  # an earlier xmc had fewer
    rows = zip(*(table.column(name).to_pylist() for name in names), strict=True)
    return Records({label_id: Record(*kept) for label_id, *kept in rows}, version.sha256)


def _save(folder: Path, by_id: Mapping[str, Record]) -> None:
    import pyarrow as pa

    rows = sorted(by_id.items())
    columns = {
        "label_id": pa.array([label_id for label_id, _ in rows], pa.string()),
        "collection": pa.array([record.collection for _, record in rows], pa.string()),
        "metadata": pa.array([record.metadata for _, record in rows], pa.large_string()),
        "replaced_sha256": pa.array([record.replaced_sha256 for _, record in rows], pa.string()),
        "replaced_metadata": pa.array([record.replaced_metadata for _, record in rows], pa.large_string()),
    }
    write_table(folder / FILE, pa.table(columns))
