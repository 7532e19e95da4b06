"""Folders of tables that xmc itself wrote: hits of a prediction and parts of a run, which nobody means by queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xmc.store.manifest import MANIFEST_NAME
from xmc.store.versions import CURRENT_NAME, VERSION_PATTERN

ACKS, JOB = "_acks", "_job.json"  # in the output folder of a prediction
HITS, PART_OF_A_RUN = "with hits of xmc predict", "with parts of a run"


def folders_written(names: Iterable[str]) -> dict[str, str]:
    """Which folders hold such tables, and which; `names` are paths of all files from a folder on, which is none itself.

    >>> folders_written(["q.parquet", "out/_job.json", "out/_acks/q.parquet.json", "out/q.parquet"])
    {'out': 'with hits of xmc predict'}
    """
    marks: dict[str, set[str]] = {JOB: set(), ACKS: set(), CURRENT_NAME: set(), MANIFEST_NAME: set()}
    for name in names:
        folder, _, last = name.rpartition("/")
        if last in (JOB, CURRENT_NAME):
            marks[last].add(folder)
        elif last == MANIFEST_NAME:
            root, _, version = folder.rpartition("/")
            if VERSION_PATTERN.fullmatch(version):
                marks[MANIFEST_NAME].add(root)
        elif name.endswith(".json") and f"/{ACKS}/" in name:
            marks[ACKS].add(name.rpartition(f"/{ACKS}/")[0])
    hits = dict.fromkeys(marks[JOB] & marks[ACKS] - {""}, HITS)
    return hits | dict.fromkeys(marks[CURRENT_NAME] & marks[MANIFEST_NAME] - {""}, PART_OF_A_RUN)


def why_written(name: str, written: Mapping[str, str]) -> str:
    """What a table is that lies in one of those folders; empty for another one."""
    if not written:
        return ""
    parts = name.split("/")
    folders = ("/".join(parts[:count]) for count in range(1, len(parts)))
    return next((written[folder] for folder in folders if folder in written), "")
