"""What of a job is done: an acknowledgement for each finished shard, and at the end a manifest of all.

out/part-0.parquet            the hits of in/part-0.…
out/_acks/part-0.parquet.json size, SHA-256, rows and statuses of that file, written after it: only then it counts
out/_job.json                 the fingerprint of the job, and what it is made of
out/_allowed.jsonl            of a job with a filter: the ids of the labels it may answer with
out/_manifest.jsonl           at the end: one line a shard, in the order of the names
out/_SUCCESS                  last of all: the SHA-256 of the manifest
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from xmc.data.shard_list import ShardFile
from xmc.data.shards import natural_key
from xmc.errors import ArtifactError, ConfigError
from xmc.predict.allowed import ALLOWED, AllowedLabels
from xmc.predict.job import Job
from xmc.store import remove_temporaries, sha256_of
from xmc.store.location import Location, store_errors
from xmc.store.location_writer import delete_at, write_json_at, write_text_at

DIFFERING = {"model": "another encoder, index, reranker or calibration", "allowed": "another filter of labels"}
ACKS, JOB, MANIFEST, SUCCESS = "_acks", "_job.json", "_manifest.jsonl", "_SUCCESS"


@dataclass(frozen=True)
class Ack:
    """A finished shard: the name of its output, what it was made from and what it holds."""

    name: str
    input: str
    input_size: int
    input_modified_ns: int
    fingerprint: str
    rows: int
    statuses: Mapping[str, int]
    size: int
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**vars(self), "statuses": dict(self.statuses)}


@dataclass(frozen=True)
class Ledger:
    """The ledger of a job's output folder. Only who holds its lock may call anything but `acknowledge`."""

    job: Job

    @property
    def out(self) -> Location:
        """The output folder."""
        return self.job.out

    def begin(self, names: Iterable[str], *, overwrite: bool, allowed: AllowedLabels | None = None) -> None:
        """Clear what killed writers left, and claim the folder for this job, whose outputs have these names.

        `allowed` are the labels of its filter, put there for the workers.

        Raises: ConfigError when it holds the output of another job, naming what differs, or files of unknown origin
        under these names.
        """
        written = self.out.child(JOB).read_bytes()
        self._remove_orphans(known=written is not None)
        if written is None and not overwrite:
            self._require_free(names)
        if overwrite and written is not None:
            self._forget()
            written = None
        if written is not None:
            self._require_same(written)
        else:
            write_json_at(self.out.child(JOB), {"fingerprint": self.job.fingerprint, **self.job.facts})
        if allowed is not None:
            allowed.hand_over(self.out)
        for name in (SUCCESS, MANIFEST):  # in this order: success never names a manifest that is not there
            delete_at(self.out.child(name))

    def finished(self, names: Mapping[str, ShardFile]) -> dict[str, Ack]:
        """The acknowledged shards among the wanted outputs whose file is there, whole; `names` are output -> input.

        Files of this machine are hashed; of a store's objects only the size is looked at.
        Raises: ConfigError when an input is no longer the one whose hits are there.
        """
        done = {}
        for name, ack in self.acks().items():
            shard = names.get(name)
            if shard is None:
                continue
            if (ack.input_size, ack.input_modified_ns) != (shard.size, shard.modified_ns):
                raise ConfigError(
                    f"{shard.location.shown} is not the file whose hits are in {self.out.child(name).shown}: it was "
                    "written again, or is another.",
                    hint="Give another --out, or --overwrite.",
                )
            if self._is_whole(ack):
                done[name] = ack
        return done

    def acknowledge(self, ack: Ack) -> None:
        """Say that a shard is done; its file is there."""
        write_json_at(self.out.child(f"{ACKS}/{ack.name}.json"), ack.to_dict())

    def acks(self) -> dict[str, Ack]:
        """The acknowledged shards of this job by name; one that cannot be read counts as none."""
        found = {}
        for place in _files_below(self.out.child(ACKS), ".json"):
            try:
                ack = Ack(**json.loads(place.read_bytes() or b""))
            except (ValueError, TypeError):
                continue
            if ack.fingerprint == self.job.fingerprint:
                found[ack.name] = ack
        return found

    def succeed(self, done: Mapping[str, Ack]) -> None:
        """Write the manifest, and then that it is complete; shards of earlier calls are in it while they are whole."""
        earlier = {name: ack for name, ack in self.acks().items() if name not in done and self._is_whole(ack)}
        lines = [
            json.dumps(ack.to_dict(), sort_keys=True, ensure_ascii=False) for ack in (earlier | dict(done)).values()
        ]
        lines.sort(key=lambda line: natural_key(json.loads(line)["name"]))
        manifest = "".join(line + "\n" for line in lines)
        write_text_at(self.out.child(MANIFEST), manifest)
        write_text_at(self.out.child(SUCCESS), hashlib.sha256(manifest.encode()).hexdigest() + "\n")

    def _is_whole(self, ack: Ack) -> bool:
        place = self.out.child(ack.name)
        if place.size() != ack.size:
            return False
        return place.local is None or sha256_of(place.local) == ack.sha256

    def _require_same(self, written: bytes) -> None:
        try:
            facts = dict(json.loads(written))
            fingerprint = str(facts.pop("fingerprint"))
        except (ValueError, TypeError, KeyError):
            raise ArtifactError(
                f"{self.out.child(JOB).shown} is damaged.", hint="Give another --out, or --overwrite."
            ) from None
        if fingerprint == self.job.fingerprint:
            return
        ours = self.job.facts
        differing = [
            DIFFERING.get(key, f"{key} {facts.get(key)} there, {ours.get(key)} here")
            for key in sorted(facts.keys() | ours.keys())
            if facts.get(key) != ours.get(key)
        ]
        raise ConfigError(
            f"{self.out.shown} holds the output of another job: {'; '.join(differing)}.",
            hint="Give another --out, or --overwrite to replace it.",
        )

    def _require_free(self, names: Iterable[str]) -> None:
        there = {
            place.path.removeprefix(self.out.path.rstrip("/") + "/") for place in _files_below(self.out, ".parquet")
        }
        if taken := sorted(there.intersection(names)):
            raise ConfigError(
                f"{self.out.child(taken[0]).shown} is there already and was not written by this command.",
                hint="Give another --out, or --overwrite to replace it.",
            )

    def _remove_orphans(self, *, known: bool) -> None:
        """Remove what killed writers left; in a folder that holds no job yet, only that of the job's own record."""
        folder = self.out.local
        if folder is None:
            return  # an object that was not uploaded to its end is not there; see docs/batch.md
        if not known:
            remove_temporaries(folder, (JOB,))
            return
        for place in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
            remove_temporaries(place)

    def _forget(self) -> None:
        """Remove the output of the job that is there: what its acknowledgements name, then they, then its record."""
        for name in (SUCCESS, MANIFEST):
            delete_at(self.out.child(name))
        for place in _files_below(self.out.child(ACKS), ".json"):
            name = place.path.removeprefix(self.out.child(ACKS).path + "/").removesuffix(".json")
            delete_at(self.out.child(name))
            delete_at(place)
        delete_at(self.out.child(ALLOWED))
        delete_at(self.out.child(JOB))


def _files_below(folder: Location, suffix: str) -> list[Location]:
    from pyarrow.fs import FileSelector, FileType

    with store_errors(folder):
        system, path = folder.opened()
        infos = system.get_file_info(FileSelector(path, recursive=True, allow_not_found=True))
    prefix = path.rstrip("/") + "/"
    return [
        folder.child(info.path.removeprefix(prefix))
        for info in infos
        if info.type == FileType.File and not info.base_name.startswith(".") and info.path.endswith(suffix)
    ]


def output_name(shard: ShardFile) -> str:
    """The name of a shard's output, in the output folder: its own, as Parquet.

    >>> from xmc.store.location import Location
    >>> output_name(ShardFile(Location("", "/in/2026/part-3.arrow"), "2026/part-3.arrow", 10, 0))
    '2026/part-3.parquet'
    """
    return str(PurePosixPath(shard.name).with_suffix(".parquet"))
