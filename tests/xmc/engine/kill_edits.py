"""Kill an edit of labels with SIGKILL at the calls it makes that can touch the disk, then read the run.

`main` runs in a process of its own (see `forked`) and prints JSON; the edit is killed at every STEP-th call.
"""

import json
import shutil
import sys
import warnings
from collections import Counter
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "store"))
from kill_points import killed_at  # also makes fsync quick

from xmc.engine.label_editing import LabelEditor
from xmc.errors import ArtifactError, XmcWarning
from xmc.plugin_manager import load_plugins
from xmc.retrieve.label_edits import read_edits
from xmc.retrieve.layout import labels_store
from xmc.store.atomic import TEMPORARY_PREFIX

NEW = {"L00": None, "L01": None, "L02": None}


def texts_of(run: Path) -> dict[str, str | None]:
    return {label_id: edit.text for label_id, edit in read_edits(run).edits.items()}


def kill_edits(run: Path, base: Path, step: int, verb: str) -> dict[str, int]:
    warnings.simplefilter("ignore", XmcWarning)
    editor = LabelEditor(run, plugins=load_plugins())  # one that has its table already, so that only the edit is killed
    editor.remove(["L00"])
    if verb == "rollback":  # to the two removals, from where they are not
        editor.remove(["L01", "L02"])
        editor.rollback("v000002")
    old, new = texts_of(run), {**texts_of(run), **NEW}
    edit = partial(editor.rollback, "v000003") if verb == "rollback" else partial(editor.remove, ["L01", "L02"])
    seen: Counter[str] = Counter()
    point = 0
    while True:
        target = base / f"run-{point}"
        target.mkdir()
        for name in ("index", "encoder", "config.toml"):
            (target / name).symlink_to(run / name)
        shutil.copytree(run / "labels", target / "labels")
        editor.run = target
        killed = killed_at(point, lambda: edit() and None)
        try:
            found = texts_of(target)
            seen["old" if found == old else "new" if found == new else "half"] += 1
        except ArtifactError:
            seen["torn"] += 1
        if not killed:
            return {"points": point, **seen}
        if found == old:  # the next writer needs no help
            edit()
        seen["failed restarts"] += texts_of(target) != new
        labels_store(target).remove_orphans()  # as the next edit does, after a kill while the old version was removed
        seen["rest"] += len(list(target.rglob(f"{TEMPORARY_PREFIX}*")))
        point += step


def main(run: str, base: str, step: str, verb: str) -> None:
    print(json.dumps(kill_edits(Path(run), Path(base), int(step), verb)))
