"""What is kept beside the passages that a search finds: their metadata, in an answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xmc.retrieve.passage_records import NOTHING

if TYPE_CHECKING:
    from xmc.retrieve.passage_records import Records
    from xmc.values import Hit


@dataclass(frozen=True)
class Kept:
    """The records of a run before a search and after it.

    Of a passage that was removed meanwhile, only those before have its metadata.

    >>> from xmc.retrieve.passage_records import Record, Records
    >>> from xmc.values import Hit
    >>> Kept(Records({"a": Record("", '{"page": 3}')}), Records()).metadata(Hit(1, "a", "apple", 0.5))
    {'page': 3}
    """

    before: Records
    after: Records

    def json(self, hit: Hit) -> str:
        """What belongs to the text of a hit, as JSON; an empty object where nothing is kept."""
        record = self.after.by_id.get(hit.label_id) or self.before.by_id.get(hit.label_id)
        return record.beside(hit.text).metadata if record else NOTHING

    def metadata(self, hit: Hit) -> dict[str, Any]:
        """What belongs to the text of a hit."""
        found: dict[str, Any] = json.loads(self.json(hit))
        return found
