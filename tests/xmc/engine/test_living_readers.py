"""Invariants: while one thread commits versions, others that reload answer every query as the generation they hold does
offline; a retriever that is held goes on as it was."""

import threading
import time

import pytest

from xmc.engine.label_editing import LabelEditor
from xmc.plugin_manager import load_plugins
from xmc.retrieve.retriever import Retriever

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
