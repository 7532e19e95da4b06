"""`tiny` has the answer its README promises, and its script makes it again."""

import importlib.util
from pathlib import Path

import pytest

from xmc.data.dataset import load_dataset
from xmc.data.named import named_folder

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "make_tiny.py"


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_counting_shared_words_ranks_every_positive_first(split):
    dataset = load_dataset("tiny")
    queries = dataset.splits[split]
    label_words = [set(text.split()) for text in dataset.labels.texts]
    for row, text in enumerate(queries.texts):
        start, stop = queries.positives.offsets[row : row + 2]
        positives = set(queries.positives.label_rows[start:stop].tolist())
        assert 1 <= len(positives) <= 4
        shared = [len(words & set(text.split())) for words in label_words]
        ranking = sorted(range(len(shared)), key=lambda label_row: -shared[label_row])
        assert set(ranking[: len(positives)]) == positives
        assert min(shared[label_row] for label_row in positives) >= 2
        assert max(count for label_row, count in enumerate(shared) if label_row not in positives) <= 1


def test_sizes():
    dataset = load_dataset("tiny")
    assert (len(dataset.labels), len(dataset.train), len(dataset.dev), len(dataset.test)) == (60, 400, 100, 100)
    assert dataset.train_counts().min() == 3
    assert dataset.train_counts().max() == 63
    assert dataset.notes == ()
    assert sum(path.stat().st_size for path in named_folder("tiny").glob("*.parquet")) < 60_000


def test_the_script_makes_the_same_content(tmp_path):
    spec = importlib.util.spec_from_file_location("make_tiny", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.main(tmp_path / "tiny")
    assert load_dataset(tmp_path / "tiny").fingerprint == load_dataset("tiny").fingerprint
