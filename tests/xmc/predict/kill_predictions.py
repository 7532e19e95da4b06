"""Kill predictions with SIGKILL at random moments, go on each time, and compare the folder with an uninterrupted one's.

`main` runs in a process of its own (see `forked`) and prints JSON. It imports everything heavy once and forks the
processes that it kills; it computes nothing with torch itself, so that there are no threads to fork.
"""

import contextlib
import json
import random
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

from kill_runs import in_child, preload
from predict_cases import contents, write_shards

import xmc.predict.shard
from xmc import predict_run
from xmc.store.atomic import TEMPORARY_PREFIX
from xmc.store.location_writer import HashedFile

SHARDS, ROWS = 6, 60
COUNTED = ("kills", "folders", "torn", "lost", "again", "different", "rest")


@contextlib.contextmanager
def written_in_place(location):
    """The protection removed."""
    location.local.parent.mkdir(parents=True, exist_ok=True)
    with location.local.open("wb", buffering=0) as file:
        yield HashedFile(file)


def kill_predictions(run: Path, base: Path, kills: int, *, protected: bool = True) -> dict:
    if not protected:
        xmc.predict.shard.location_writer = written_in_place
    shards = write_shards(base / "in", shards=SHARDS, rows=ROWS)

    def predict(name: str) -> None:
        predict_run(run, str(shards), base / name, k=5, batch_rows=8, workers=1)

    preload(lambda: predict("first"), base)
    started = time.monotonic()
    result = in_child(lambda: predict("reference"))
    duration = time.monotonic() - started
    reference = contents(base / "reference")
    counts = {"reference": result, **dict.fromkeys(COUNTED, 0)}
    generator = random.Random(7)
    while counts["kills"] < kills:
        out, done, result = base / "out", {}, "killed"
        while result == "killed":
            limit = generator.uniform(0, duration) if counts["kills"] < kills else 600.0
            result = in_child(lambda: predict("out"), kill_after_s=limit)
            counts["kills"] += result == "killed"
            here = contents(out) if out.exists() else {}
            finals = {name: data for name, data in here.items() if TEMPORARY_PREFIX not in name}
            counts["torn"] += any(data != reference[name] for name, data in finals.items())
            acknowledged = {name[len("_acks/") : -len(".json")] for name in finals if name.startswith("_acks/")}
            times = {name: (out / name).stat().st_mtime_ns for name in acknowledged if name in finals}
            counts["lost"] += not set(done) <= set(times)
            counts["again"] += sum(times.get(name) != moment for name, moment in done.items())
            done = times
        counts["folders"] += 1
        if result != "done":
            return counts | {"error": result}
        counts["different"] += contents(out) != reference
        counts["rest"] += len(list(out.rglob(f"{TEMPORARY_PREFIX}*")))
        shutil.rmtree(out)
    return counts


def main(run: str, base: str, kills: str, protection: str = "protected") -> None:
    print(json.dumps(kill_predictions(Path(run), Path(base), int(kills), protected=protection == "protected")))
