"""What of a job is done: an acknowledgement for each finished shard, and at the end a manifest of all.

out/part-0.parquet            the hits of in/part-0.…
out/_acks/part-0.parquet.json size, SHA-256, rows and statuses of that file, written after it: only then it counts
out/_job.json                 the fingerprint of the job, and what it is made of
out/_allowed.jsonl            of a job with a filter: the ids of the labels it may answer with
out/_failures.jsonl           where there are any: a line for each shard that could not be answered when named last
out/_manifest.jsonl           at the end: one line a shard, in the order of the names
out/_SUCCESS                  last of all: the SHA-256 of the manifest
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xmc.counted import counted
from xmc.data.shard_list import ShardFile
from xmc.data.shards import natural_key
from xmc.data.written_tables import ACKS, JOB
from xmc.errors import ArtifactError, ConfigError
from xmc.predict.ack import Ack
from xmc.predict.allowed import ALLOWED, AllowedLabels
from xmc.predict.changed import inputs_to_redo
from xmc.predict.failure_list import FailureList
from xmc.predict.job import Job
from xmc.predict.same_job import require_same
from xmc.store import remove_temporaries, sha256_of
from xmc.store.atomic import TEMPORARY_PREFIX
from xmc.store.location import Location, store_errors
from xmc.store.location_writer import delete_at, write_json_at, write_text_at
from xmc.store.lock import LOCK_NAME

MANIFEST, SUCCESS = "_manifest.jsonl", "_SUCCESS"


@dataclass(frozen=True)
class Found:
    """What an output folder holds: outputs that are `done`, and those to do `again`.

    `is_known` when it is a job's; `replaced` when that is to go.
    """

    done: Mapping[str, Ack]
    again: Sequence[str]
    is_known: bool
    replaced: bool


@dataclass(frozen=True)
class Ledger:
    """The ledger of a job's output folder. Only who holds its lock may call anything but `acknowledge`."""

    job: Job

    @property
    def out(self) -> Location:
        """The output folder."""
        return self.job.out

    @property
    def failures(self) -> FailureList:
        """The shards that could not be answered."""
        return FailureList(self.out)

    def examine(
        self,
        inputs: Mapping[str, ShardFile],
        *,
        overwrite: bool = False,
        redo_changed: bool = False,
        moved: bool = False,
        before_each: Callable[[], None],
    ) -> Found:
        """What the folder holds of this job, whose `inputs` are output -> shard; touches nothing in it.

        Inputs that have changed are done again with `redo_changed`; with `moved`, those that lie elsewhere are taken
        for the ones that were answered. With `overwrite` nothing that is there counts. `before_each` is called before
        an output is read, which may take long, and ends that with what it raises.
        Raises: ConfigError when it holds the output of another job, naming what differs, or files of unknown origin
        under these names; when an input is no longer the one whose hits are there.
        """
        written = self.out.child(JOB).read_bytes()
        if overwrite:
            return Found({}, [], is_known=written is not None, replaced=True)
        if written is None:
            self._require_free(inputs)
        else:
            require_same(self.job, self.out.child(JOB), written)
        there = {name: ack for name, ack in self.acks(before_each=before_each).items() if name in inputs}
        again = inputs_to_redo(there, inputs, self.out, redo_changed=redo_changed, moved=moved)
        done = {name: ack for name, ack in there.items() if name not in again and self._is_whole(ack, before_each)}
        again = [name for name in there if name not in done]  # of those too that are damaged nothing is to stay
        return Found(done, again, is_known=written is not None, replaced=False)

    def claim(self, found: Found, inputs: Container[str], *, allowed: AllowedLabels | None = None) -> None:
        """Make the folder this job's, as it was found: what does not count goes.

        `allowed` are the labels of its filter, put there for the workers.
        """
        self._remove_orphans(known=found.is_known)
        for name in (SUCCESS, MANIFEST):  # in this order: success never names a manifest that is not there
            delete_at(self.out.child(name))
        if found.replaced or not found.is_known:
            self.failures.clear()
        self.failures.record((), named=inputs)
        if found.replaced and found.is_known:
            self._forget()
        if found.replaced or not found.is_known:
            write_json_at(self.out.child(JOB), {"fingerprint": self.job.fingerprint, **self.job.facts})
        if allowed is not None:
            allowed.hand_over(self.out)
        for name in found.again:
            self._remove(name)

    def located(self, done: Mapping[str, Ack], inputs: Mapping[str, ShardFile]) -> dict[str, Ack]:
        """The acknowledgements with the places where their inputs lie now."""
        return {name: self._located(ack, inputs[name]) for name, ack in done.items()}

    def acknowledge(self, ack: Ack) -> None:
        """Say that a shard is done; its file is there.

        This is not forced to the disk, which would take as long as the file itself: without it the shard is done again,
        and what it says is compared with the file.
        """
        write_json_at(self.out.child(f"{ACKS}/{ack.name}.json"), ack.to_dict(), forced=False)

    def acks(self, *, but: Container[str] = (), before_each: Callable[[], None]) -> dict[str, Ack]:
        """The acknowledged shards of this job by name, `but` these; one that cannot be read counts as none.

        `before_each` as in `examine`: of a store each of them is asked for.
        """
        folder, found = self.out.child(ACKS), {}
        for place in _files_below(folder, ".json"):
            if place.path.removeprefix(folder.path + "/").removesuffix(".json") in but:
                continue
            before_each()
            try:
                ack = Ack(**json.loads(place.read_bytes() or b""))
            except (ValueError, TypeError):
                continue
            if ack.fingerprint == self.job.fingerprint:
                found[ack.name] = ack
        return found

    def succeed(self, done: Mapping[str, Ack], *, before_each: Callable[[], None]) -> tuple[int, int]:
        """Write the manifest, and then that it is complete; shards of earlier calls are in it while they are whole.

        `before_each` as in `examine`. Returns how many of those there are, and how many are not whole any more.
        Raises: ArtifactError when the folder is no longer as this command left it.
        """
        self._require_left_alone(done)
        self._remove_orphans(known=True)  # of a worker that died while another did its shard
        others = self.acks(but=done, before_each=before_each)
        earlier = {name: ack for name, ack in others.items() if self._is_whole(ack, before_each)}
        lines = [
            json.dumps(ack.to_dict(), sort_keys=True, ensure_ascii=False) for ack in (earlier | dict(done)).values()
        ]
        lines.sort(key=lambda line: natural_key(json.loads(line)["name"]))
        manifest = "".join(line + "\n" for line in lines)
        write_text_at(self.out.child(MANIFEST), manifest)
        write_text_at(self.out.child(SUCCESS), hashlib.sha256(manifest.encode()).hexdigest() + "\n")
        return len(earlier), len(others) - len(earlier)

    def _require_left_alone(self, done: Mapping[str, Ack]) -> None:
        """Raises: ArtifactError when somebody removed the folder, or outputs in it, or made it another job's."""
        written = self.out.child(JOB).read_bytes()
        if written is None or self.job.fingerprint.encode() not in written:
            now = "gone" if written is None else "another"
            raise ArtifactError(
                f"{self.out.shown} was removed or replaced meanwhile: its {JOB} is {now}.",
                hint="Start it again with --overwrite, or give another --out.",
            )
        if self.out.local is None:
            return  # a store is asked once for each object, when it was uploaded
        if gone := [name for name, ack in done.items() if self.out.child(name).size() != ack.size]:
            raise ArtifactError(
                f"{len(gone):,} of {counted(len(done), 'output was', 'outputs were')} removed or "
                "changed meanwhile, such as "
                f"{self.out.child(gone[0]).shown}.",
                hint="The same command, without --overwrite, makes them again.",
            )

    def _located(self, ack: Ack, shard: ShardFile) -> Ack:
        """The acknowledgement with the place where its input lies now."""
        if ack.location == shard.location.shown:
            return ack
        located = replace(ack, location=shard.location.shown)
        self.acknowledge(located)
        return located

    def _remove(self, name: str) -> None:
        """An output, then what says that it is done."""
        delete_at(self.out.child(name))
        delete_at(self.out.child(f"{ACKS}/{name}.json"))

    def _is_whole(self, ack: Ack, before: Callable[[], None]) -> bool:
        before()
        place = self.out.child(ack.name)
        if place.size() != ack.size:
            return False
        return place.local is None or sha256_of(place.local) == ack.sha256

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
        """Remove what killed writers left; in a folder that holds no job yet, only that of the job's own record.

        A folder below that is the output of another command is not entered: its writers may be alive.
        """
        folder = self.out.local
        if folder is None:
            return  # an object that was not uploaded to its end is not there; see docs/batch.md
        if not known:
            remove_temporaries(folder, (JOB,))
            return
        for place, below, _ in os.walk(folder):
            remove_temporaries(Path(place))
            below[:] = [name for name in below if not _is_output(Path(place, name))]

    def _forget(self) -> None:
        """Remove the output of the job that is there: what its acknowledgements name, then they, then its record."""
        acks = self.out.child(ACKS)
        for place in _files_below(acks, ".json"):
            self._remove(place.path.removeprefix(acks.path + "/").removesuffix(".json"))
        delete_at(self.out.child(ALLOWED))
        delete_at(self.out.child(JOB))


def _is_output(folder: Path) -> bool:
    """Whether a command writes here, or has: who does takes the lock before anything else."""
    return any((folder / name).exists() for name in (LOCK_NAME, JOB))


def _files_below(folder: Location, suffix: str) -> list[Location]:
    from pyarrow.fs import FileSelector, FileType

    with store_errors(folder):
        system, path = folder.opened()
        infos = system.get_file_info(FileSelector(path, recursive=True, allow_not_found=True))
    prefix = path.rstrip("/") + "/"
    return [
        folder.child(info.path.removeprefix(prefix))
        for info in infos
        if info.type == FileType.File and not info.base_name.startswith(TEMPORARY_PREFIX) and info.path.endswith(suffix)
    ]
