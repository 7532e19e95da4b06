"""Kill a writer with SIGKILL before and after every single call it makes that can touch the disk, then read.

Run as a program (in a process without threads, since it forks): kill_points.py WRITER FOLDER, prints JSON.
"""

import functools
import json
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from xmc.errors import ArtifactError
from xmc.store import VersionedFolder, replaced_folder, write_bytes, write_text
from xmc.store.atomic import TEMPORARY_PREFIX
from xmc.store.versions import CURRENT_NAME

os.fsync = os.fstat  # still a point to be killed at, but quick: what a killed process wrote is in the kernel's hands

POINTS = 400  # about as many as a new version has
OLD, NEW, TORN = "old", "new", "torn"


def touches_disk(function: Any) -> bool:
    """Whether a C function belongs to the operating system's module or to a file object."""
    owner = getattr(function, "__self__", None)
    name = owner.__name__ if isinstance(owner, ModuleType) else type(owner).__module__
    return name in ("posix", "fcntl", "_io", "io")


def killed_at(point: int, action: Callable[[], None]) -> bool:
    """Run the action in a child that is killed at its disk call number `point`; False when it ended before."""
    child = os.fork()
    if child == 0:
        calls = 0

        def count(frame: FrameType, event: str, argument: Any) -> None:
            nonlocal calls
            if event in ("c_call", "c_return") and touches_disk(argument):
                if calls == point:
                    os.kill(os.getpid(), signal.SIGKILL)
                calls += 1

        sys.setprofile(count)
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    if os.WEXITSTATUS(status):
        raise RuntimeError(f"the writer failed at point {point}")
    return False


class Versions:
    """A new version of a folder with two files."""

    def __init__(self, root: Path) -> None:
        self.store = VersionedFolder(root / "thing", kind="thing")

    def write(self, text: str) -> None:
        with self.store.new_version(keep=1) as folder:
            (folder / "sub").mkdir()
            (folder / "sub" / "a").write_text(text)
            (folder / "b").write_text(text)

    def read(self) -> str:
        try:
            folder = self.store.current().folder
        except ArtifactError:
            return TORN
        texts = {(folder / "sub" / "a").read_text(), (folder / "b").read_text()}
        return texts.pop() if len(texts) == 1 else TORN

    def rest(self) -> list[str]:
        """What a clean folder would not hold."""
        names = {path.name for path in self.store.root.iterdir()} - {".lock", CURRENT_NAME}
        return sorted(names - {self.store.current().folder.name})


class FirstVersion(Versions):
    """The first version of a folder, of which a note lies elsewhere: old is that there is none."""

    def __init__(self, root: Path) -> None:
        self.note = root / "elsewhere" / "note"
        self.note.parent.mkdir()
        self.store = VersionedFolder(root / "thing", kind="thing", note=self.note)

    def write(self, text: str) -> None:
        if text != OLD:
            super().write(text)

    def read(self) -> str:
        return super().read() if self.store.exists() else OLD

    def rest(self) -> list[str]:
        names = {path.name for path in self.note.parent.iterdir()} - {self.note.name}
        return super().rest() + sorted(names) + ([] if self.note.exists() else ["no note"])


class VersionsInPlace(Versions):
    """The protection removed: the files of the current version are rewritten where they are."""

    def write(self, text: str) -> None:
        folder = self.store.current().folder if self.store.exists() else None
        if folder is None:
            super().write(text)
            return
        (folder / "sub" / "a").write_text(text)
        (folder / "b").write_text(text)
        (folder / "manifest.json").unlink()
        from xmc.store import build_manifest

        digest = build_manifest(folder, kind="thing", facts={})
        body = json.dumps({"version": folder.name, "manifest_sha256": digest})
        (self.store.root / CURRENT_NAME).write_text(body)

    def rest(self) -> list[str]:
        return []


class OneFolder:
    """A folder that is replaced."""

    def __init__(self, root: Path) -> None:
        self.path = root / "folder"

    def write(self, text: str) -> None:
        with replaced_folder(self.path) as folder:
            for name in ("a", "b"):
                write_text(folder / name, text)

    def read(self) -> str:
        texts = [path.read_text() for path in sorted(self.path.glob("*"))]
        return texts[0] if texts in ([OLD, OLD], [NEW, NEW]) else TORN

    def rest(self) -> list[str]:
        return sorted({path.name for path in self.path.parent.iterdir()} - {"folder"})


class OneFolderByTwoNames(OneFolder):
    """The protection removed: the old folder is moved away before the new one comes."""

    def write(self, text: str) -> None:
        import ctypes

        ctypes.CDLL = lambda name: None  # type: ignore[assignment, misc]
        super().write(text)


class OneFile:
    """A file that is replaced."""

    def __init__(self, root: Path) -> None:
        self.path = root / "file"

    def write(self, text: str) -> None:
        write_bytes(self.path, text.encode())

    def read(self) -> str:
        text = self.path.read_text() if self.path.exists() else TORN
        return text if text in (OLD, NEW) else TORN

    def rest(self) -> list[str]:
        return sorted({path.name for path in self.path.parent.iterdir()} - {"file"})


class OneFileInPlace(OneFile):
    """The protection removed."""

    def write(self, text: str) -> None:
        self.path.write_bytes(text.encode())


def kill_everywhere(writer: type[Versions] | type[OneFolder] | type[OneFile], base: Path, step: int) -> dict[str, Any]:
    """For every `step`-th point: write old, be killed while writing new, read, then let the next writer finish."""
    seen: Counter[str] = Counter()
    rest, failed_restarts, point = 0, 0, 0
    while True:
        target = writer(Path(tempfile.mkdtemp(dir=base)))
        target.write(OLD)
        if not killed_at(point, functools.partial(target.write, NEW)):
            return {
                "points": point,
                "kills": sum(seen.values()),
                **seen,
                "rest": rest,
                "failed_restarts": failed_restarts,
            }
        seen[target.read()] += 1
        if seen[TORN] == 0:
            target.write(NEW)
            failed_restarts += target.read() != NEW
            rest += len(target.rest())
        point += step


def kill_repeatedly(base: Path, *, chains: int, seed: int) -> dict[str, Any]:
    """Kill the writer, then the writer that cleans up after it, and so on ten times, at random points."""
    generator = random.Random(seed)
    wrong, kills, rest = 0, 0, 0
    for _ in range(chains):
        target = Versions(Path(tempfile.mkdtemp(dir=base)))
        target.write("0")
        last = "0"
        for number in range(1, 11):
            kills += killed_at(generator.randrange(POINTS), functools.partial(target.write, str(number)))
            seen = target.read()
            wrong += seen not in (last, str(number))
            last = seen
        target.write("end")
        wrong += target.read() != "end"
        rest += len(target.rest()) + len(list(target.store.root.rglob(f"{TEMPORARY_PREFIX}*")))
    return {"kills": kills, "wrong": wrong, "rest": rest}


WRITERS = {
    kind.__name__: kind
    for kind in (Versions, FirstVersion, VersionsInPlace, OneFolder, OneFolderByTwoNames, OneFile, OneFileInPlace)
}

if __name__ == "__main__":
    name, folder = sys.argv[1], Path(sys.argv[2])
    if name == "repeatedly":
        print(json.dumps(kill_repeatedly(folder, chains=int(sys.argv[3]), seed=0)))
    else:
        step = int(sys.argv[3]) if len(sys.argv) > 3 else 1
        print(json.dumps(kill_everywhere(WRITERS[name], folder, step)))
