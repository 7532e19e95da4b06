"""Kill training runs, or index builds, with SIGKILL at random moments, go on each time, and compare the final bytes.

`kill_trainings` and `kill_builds` run in a process of their own (see `forked`) and print JSON. It imports everything
heavy once and forks the processes that it kills; it computes nothing with torch itself, so that there are no threads to
fork.
"""

import contextlib
import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xmc.errors import ArtifactError
from xmc.retrieve.layout import encoder_store, index_store
from xmc.store import VersionedFolder
from xmc.store.atomic import TEMPORARY_PREFIX
from xmc.train.checkpoint import open_store

SETTINGS = (
    "encoder.dimension=16",
    "encoder.dropout=0.2",
    "train.epochs=3",
    "train.batch_size=50",
    "train.checkpoint_s=0",  # a checkpoint after every step
)


MOST_KILLS = 500  # of an index build, until two of them have seen different versions


def in_child(action: Callable[[], None], *, kill_after_s: float = 600.0) -> str:
    """Run the action in a child for at most so long: 'killed', 'done', or the traceback of its error."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with os.fdopen(writer, "w") as report:
            try:
                action()
            except BaseException:
                report.write(traceback.format_exc())
                report.flush()
                os._exit(1)
            os._exit(0)
    os.close(writer)
    deadline = time.monotonic() + kill_after_s
    done, status = 0, 0
    while not done and time.monotonic() < deadline:
        time.sleep(0.002)
        done, status = os.waitpid(child, os.WNOHANG)
    if not done:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    with os.fdopen(reader) as report:
        text = report.read()
    return "killed" if os.WIFSIGNALED(status) else text or "done"


def preload(action: Callable[[], None], folder: Path) -> None:
    """Import here all modules that the action turns out to need, so that no child has to."""
    names = folder / "modules.json"

    def listed() -> None:
        action()
        names.write_text(json.dumps(sorted(sys.modules)))

    result = in_child(listed)
    if result != "done":
        raise RuntimeError(result)
    for name in json.loads(names.read_text()):
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def train(run: Path) -> None:
    import xmc

    xmc.train_run("tiny", run, settings=SETTINGS, resume=True)


def build_index_again_and_again(run: Path, backend: str) -> None:
    import xmc

    while True:
        xmc.index_run(run, settings=[f"index.name={backend}"])


def file_hashes(store: VersionedFolder, names: tuple[str, ...] = ()) -> dict[str, str]:
    """SHA-256 of the files of the current, verified version; all but JSON unless named (JSON holds times)."""
    files = store.current().manifest.files
    return {name: files[name][1] for name in files if name in names or (not names and not name.endswith(".json"))}


def final_state(run: Path) -> dict[str, Any]:
    """All that an interruption must not change."""
    curve = [line.split(",")[:5] for line in (run / "curve.csv").read_text().splitlines()]  # without the seconds
    weights = encoder_store(run).current().folder / "model.safetensors"
    return {
        "encoder": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "encoder files": file_hashes(encoder_store(run)),
        "checkpoint": file_hashes(open_store(run)),
        "index": file_hashes(index_store(run)),
        "curve": curve,
    }


def step_of(run: Path) -> int:
    """The committed step, verified; 0 when nothing was committed yet."""
    store = open_store(run)
    return int(store.current().manifest.facts["step"]) if store.exists() else 0


def kill_training(base: Path, kills: int) -> dict[str, Any]:
    generator = random.Random(7)
    preload(lambda: train(base / "first"), base)
    started = time.monotonic()
    train_result = in_child(lambda: train(base / "reference"))
    duration = time.monotonic() - started
    reference = final_state(base / "reference")
    counts: dict[str, Any] = {"reference": train_result, "kills": 0, "runs": 0, "torn": 0, "lost": 0, "rest": 0}
    counts |= {"different": 0, "errors": []}
    while counts["kills"] < kills:
        run, step, result = base / "run", 0, "killed"
        while result == "killed":
            result = in_child(lambda: train(base / "run"), kill_after_s=generator.uniform(0, duration))
            counts["kills"] += result == "killed"
            try:
                now = step_of(run)
                counts["lost"] += now < step
                step = now
                if encoder_store(run).exists():
                    encoder_store(run).current()
            except ArtifactError:
                counts["torn"] += 1
            if result == "killed" and counts["kills"] >= kills:
                result = in_child(lambda: train(base / "run"))
        counts["runs"] += 1
        if result != "done":
            counts["errors"].append(result)
            return counts
        counts["different"] += final_state(run) != reference
        counts["rest"] += len(list(run.rglob(f"{TEMPORARY_PREFIX}*")))
        shutil.rmtree(run)
    return counts


def kill_indexing(run: Path, kills: int, backend: str) -> dict[str, Any]:
    import xmc

    generator = random.Random(8)
    preload(lambda: xmc.index_run(run, settings=[f"index.name={backend}"]) and None, run.parent)
    reference = file_hashes(index_store(run))
    started = time.monotonic()
    in_child(lambda: xmc.index_run(run, settings=[f"index.name={backend}"]) and None)
    duration = time.monotonic() - started  # on this machine, under its load
    counts: dict[str, Any] = {"kills": 0, "torn": 0, "different": 0, "errors": [], "versions": set()}
    while counts["kills"] < kills or (len(counts["versions"]) < 2 and counts["kills"] < MOST_KILLS):
        limit = generator.uniform(0, 2 * duration)
        result = in_child(lambda: build_index_again_and_again(run, backend), kill_after_s=limit)
        if result != "killed":
            counts["errors"].append(result)
            break
        counts["kills"] += 1
        try:
            counts["different"] += file_hashes(index_store(run)) != reference
            counts["versions"].add(index_store(run).current().folder.name)
        except ArtifactError:
            counts["torn"] += 1
    result = in_child(lambda: xmc.index_run(run, settings=[f"index.name={backend}"]) and None)
    if result != "done":
        counts["errors"].append(result)
    counts["rest"] = len(list(run.rglob(f"{TEMPORARY_PREFIX}*")))
    return counts | {"versions": len(counts["versions"])}


def search(run: Path) -> None:
    from xmc.retrieve.retriever import Retriever

    assert Retriever.load(run).search(["tender tram"], k=1)


def replace(run: Path) -> None:
    import xmc

    xmc.train_run("tiny", run, settings=SETTINGS, overwrite=True)


def kill_replacing(run: Path, kills: int) -> dict[str, Any]:
    """Kill trainings that replace a run. Each time it must answer, or say how to go on; and going on must succeed."""
    generator = random.Random(9)
    preload(lambda: train(run) or search(run), run.parent)
    started = time.monotonic()
    in_child(lambda: replace(run))
    duration = time.monotonic() - started
    counts: dict[str, Any] = {"kills": 0, "lost": 0, "rest": 0, "errors": []}
    while counts["kills"] < kills:
        if in_child(lambda: replace(run), kill_after_s=generator.uniform(0, duration)) != "killed":
            continue
        counts["kills"] += 1
        found = in_child(lambda: search(run))
        counts["lost"] += found != "done" and "--resume" not in found
        results = [in_child(lambda: train(run)), in_child(lambda: search(run))]
        counts["errors"] += [result for result in results if result != "done"]
        counts["rest"] += len([*run.rglob(f"{TEMPORARY_PREFIX}*"), *run.glob(".next*")])
    return counts


def kill_replacements(run: str, kills: str) -> None:
    print(json.dumps(kill_replacing(Path(run), int(kills))))


def kill_trainings(folder: str, kills: str) -> None:
    print(json.dumps(kill_training(Path(folder), int(kills))))


def kill_builds(run: str, kills: str, *backends: str) -> None:
    print(json.dumps({backend: kill_indexing(Path(run), int(kills), backend) for backend in backends}))
