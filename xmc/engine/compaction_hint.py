"""When it is time to build the index of a run anew, and how often that is said."""

from __future__ import annotations

import warnings
from pathlib import Path

from xmc.counted import counted
from xmc.errors import XmcWarning, quoted

COMPACT_SHARE = 0.1  # of the labels of the index: from here on a search is noticeably slower than in a new index
_warned_at: dict[Path, int] = {}  # by run, how many labels stood beside its index or were gone when it was said last


def compaction_hint(run: Path, *, base: int, added: int, removed: int) -> str:
    """What to do when a run has many labels beside the `base` ones of its index, empty when it has few."""
    if max(added, removed) <= COMPACT_SHARE * base:
        return ""
    return (
        f"{counted(added, 'label stands', 'labels stand')} beside the {base:,} of the index and {removed:,} of those "
        f"{'is' if removed == 1 else 'are'} gone, which makes searches slower. Build it anew: xmc "
        f"labels compact --run {quoted(run)}"
    )


def warn_of_compaction(run: Path, hint: str, *, edited: int, stacklevel: int) -> None:
    """Warn of a hint once in this process, and again whenever twice as many labels are `edited` as at the last warning.

    An empty hint resets this, so that the next hint is a warning again.
    """
    place = run.resolve()
    if not hint:
        _warned_at.pop(place, None)
    elif edited >= 2 * _warned_at.get(place, 0):
        _warned_at[place] = edited
        warnings.warn(hint, XmcWarning, stacklevel=stacklevel + 1)
