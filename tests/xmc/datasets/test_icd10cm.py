"""`icd10cm` holds what its README says, and its script makes it again from JSON lines."""

import gzip
import hashlib
import importlib.util
import json
from pathlib import Path

from repetitions import only_in_full

from xmc.data.dataset import load_dataset
from xmc.data.named import named_folder

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "make_icd10cm.py"
FINGERPRINT = "67dff66d7b"


def test_facts():
    dataset = load_dataset("icd10cm")
    assert (len(dataset.labels), len(dataset.train), len(dataset.test)) == (46_881, 10_725, 2_703)
    assert dataset.dev is None
    assert dataset.notes == ()
    assert (dataset.labels.ids[0], dataset.labels.texts[0]) == ("A00", "Cholera")
    assert (dataset.train_counts() > 0).sum() == 6_252
    assert len(dataset.train.positives.label_rows) == 10_768
    assert dataset.fingerprint.startswith(FINGERPRINT)
    assert sum(path.stat().st_size for path in named_folder("icd10cm").glob("*.parquet")) < 2_000_000


def test_split_is_the_one_of_the_readme():
    dataset = load_dataset("icd10cm")
    for split, in_test in (("train", False), ("test", True)):
        for text in dataset.splits[split].texts:
            assert (int(hashlib.sha1(text.lower().encode()).hexdigest(), 16) % 5 == 0) == in_test


@only_in_full  # and neither changes
def test_the_script_makes_the_same_files_again(tmp_path):
    dataset = load_dataset("icd10cm")
    source = tmp_path / "source"
    source.mkdir()
    rows = [{"id": i, "text": t} for i, t in zip(dataset.labels.ids, dataset.labels.texts, strict=True)]
    tables = {"labels": rows}
    for split in ("train", "test"):
        queries = dataset.splits[split]
        offsets, label_rows = queries.positives.offsets.tolist(), queries.positives.label_rows.tolist()
        tables[split] = [
            {
                "id": query_id,
                "text": text,
                "labels": [dataset.labels.ids[row] for row in label_rows[offsets[number] : offsets[number + 1]]],
            }
            for number, (query_id, text) in enumerate(zip(queries.ids, queries.texts, strict=True))
        ]
    for name, rows in tables.items():
        with gzip.open(source / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    spec = importlib.util.spec_from_file_location("make_icd10cm", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.main(source, tmp_path / "made")
    assert load_dataset(tmp_path / "made").fingerprint == dataset.fingerprint
