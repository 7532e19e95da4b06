"""Whether an output folder holds the output of this job, and if not, what differs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from xmc.errors import ArtifactError, ConfigError
from xmc.predict.job import CALIBRATION, Job
from xmc.store.location import Location

PARTS = {
    "encoder": "another encoder",
    "index": "another index",
    "labels": "other edits of the labels (xmc labels)",
    "reranker": "another reranker",
    CALIBRATION: "another calibration",
}


def require_same(job: Job, place: Location, written: bytes) -> None:
    """Check what was written of the job in the folder, at `place`.

    Raises: ConfigError naming all that differs; ArtifactError when it cannot be read.
    """
    try:
        facts = dict(json.loads(written))
        fingerprint = str(facts.pop("fingerprint"))
        there = {**facts, "model": dict(facts["model"])}
    except (ValueError, TypeError, KeyError):
        raise ArtifactError(f"{place.shown} is damaged.", hint="Give another --out, or --overwrite.") from None
    if fingerprint != job.fingerprint:
        raise ConfigError(
            f"{job.out.shown} holds the output of another job: {'; '.join(differences(there, job.facts))}.",
            hint="Give another --out, or --overwrite to replace it.",
        )


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What differs between the facts of two jobs.

    >>> differences({"k": 5, "model": {"index": "a"}}, {"k": 9, "model": {"index": "a", "labels": "b"}})
    ['k 5 there, 9 here', 'other edits of the labels (xmc labels), none there']
    """
    found = []
    for key in sorted(there.keys() | here.keys()):
        if there.get(key) == here.get(key):
            continue
        if key == "model":
            found += _parts(there[key], here[key])
        elif key == "allowed":
            found.append("another filter of labels")
        else:
            found.append(f"{key} {there.get(key)} there, {here.get(key)} here")
    return found


def _parts(there: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    return [
        PARTS.get(part, f"another {part}")
        + (", none there" if part not in there else ", none here" if part not in here else "")
        for part in sorted(there.keys() | here.keys())
        if there.get(part) != here.get(part)
    ]
