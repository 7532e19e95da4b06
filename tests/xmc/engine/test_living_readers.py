"""Invariants: while one thread commits versions, others that reload answer every query as the generation they hold does
offline, also with filters on metadata that change; a retriever that is held goes on as it was."""

import threading
import time

import pytest
from repetitions import repetitions

from xmc.engine.label_editing import LabelEditor
from xmc.integrations.passages import Passages
from xmc.integrations.run_passages import RunPassages
from xmc.plugin_manager import load_plugins
from xmc.retrieve.retriever import Retriever
from xmc.retrieve.written_filters import read_filter

PLUGINS = load_plugins()
TEXTS = ["tender tram", "purple banana", "an ancient lemon in a bowl", "quartz"]
VERSIONS, READERS = 50, 3


def answers_of(retriever):
    return [[(hit.label_id, hit.score) for hit in hits] for hits in retriever.search(TEXTS, k=6)]


@pytest.mark.filterwarnings("ignore::xmc.errors.XmcWarning")
def test_every_answer_is_that_of_its_generation(tiny_run_copy):
    editor = LabelEditor(tiny_run_copy, plugins=PLUGINS)
    first = Retriever.load(tiny_run_copy, device="cpu", plugins=PLUGINS)
    offline = {first.generation: answers_of(first)}
    done, seen, errors = threading.Event(), [], []

    def read():
        retriever = first
        try:
            while not done.is_set():
                retriever = retriever.reload_if_changed()
                seen.append((retriever.generation, answers_of(retriever)))
                time.sleep(0.01)  # leave the writer some of the processor
        except Exception as error:
            errors.append(error)

    readers = [threading.Thread(target=read) for _ in range(READERS)]
    for reader in readers:
        reader.start()
    written = first
    for version in range(VERSIONS):
        if version % 20 == 19:
            editor.compact(device="cpu")
        elif version % 2:
            editor.remove([f"new-{version - 1}"])
        else:
            editor.add({f"new-{version}": ["tender tram vehicle", "purple banana", f"quartz {version}"][version % 3]})
        written = written.reload_if_changed()
        offline[written.generation] = answers_of(written)
    done.set()
    for reader in readers:
        reader.join()
    assert not errors
    assert len(offline) == VERSIONS + 1
    assert len({generation for generation, _ in seen}) > 5
    assert all(answers == offline[generation] for generation, answers in seen)
    assert answers_of(first) == offline[first.generation]


FILTERS = [
    {"page": {"$gte": 2}},
    {"$or": [{"page": 1}, {"page": {"$in": [3, "none"]}}]},
    {"$not": {"$or": [{"page": {"$lt": 3}}, {"clock": {"$gt": 0}}]}},
    {},
]


def filtered(passages):
    """What is found by each filter in one state, and what is kept beside it."""
    now, found = passages.now(), []
    for written in FILTERS:
        (hits,) = now.searcher.search(["tender tram"], k=70, allowed=passages.among(now, None, read_filter(written)))
        found.append([(hit.label_id, hit.text, hit.score, now.records.json(hit.label_id)) for hit in hits])
    return found


def change(writer, version):
    """A change of the run, one commit or such that a reader can tell which of its two commits a label is of."""
    new, old = f"new-{version}", f"new-{version - 4}"
    if version % 10 == 9:
        writer._editor.labels.compact(device="cpu")
    elif version % 4 == 0:
        writer.add({new: "tender tram vehicle", f"{new}b": "quartz"}, {new: {"page": 1 + version % 3}})
    elif version % 4 == 1:
        writer.add({"L21": f"tender tram {version}"}, {"L21": {"page": version % 5, "clock": version}})  # another text
    elif version % 4 == 2:
        texts = {label_id: writer.get([label_id])[0].text for label_id in ("L05", "L21")}
        writer.add(texts, {"L05": {"page": version % 4}, "L21": {"clock": version}})  # other metadata
    else:
        writer.remove([old, f"new-{version - 3}"])


@pytest.mark.filterwarnings("ignore::xmc.errors.XmcWarning")
def test_every_answer_under_a_filter_is_that_of_one_committed_version(tiny_run_copy):
    writer, shared = RunPassages(tiny_run_copy), Passages(tiny_run_copy)
    offline, done, errors, seen = [filtered(writer)], threading.Event(), [], [[] for _ in range(4)]

    def read(passages, mine):
        try:
            while not done.is_set():
                mine.append(filtered(passages))
                time.sleep(0.01)  # leave the writer some of the processor
        except Exception as error:
            errors.append(error)

    opened = [shared, shared, Passages(tiny_run_copy), RunPassages(tiny_run_copy)]
    readers = [threading.Thread(target=read, args=pair) for pair in zip(opened, seen, strict=True)]
    for reader in readers:
        reader.start()
    for version in range(repetitions(12, full=100)):
        change(writer, version)
        offline.append(filtered(writer))
    done.set()
    for reader in readers:
        reader.join()
    assert not errors
    for mine in seen:
        version = 0
        for answer in mine:  # a reader never goes back
            version = offline.index(answer, version)
    assert len({str(answer) for mine in seen for answer in mine}) > 3
