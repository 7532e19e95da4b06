"""Make the shipped data set `icd10cm` from JSON lines: python benchmarks/make_icd10cm.py SOURCE_FOLDER [OUT_FOLDER].

The source folder holds labels.jsonl.gz, train.jsonl.gz and test.jsonl.gz. The same source and the same pyarrow give
the same bytes.
"""

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

from xmc.data.shards import write_table
from xmc.data.tables import LabelTable, QueryTable, label_table_to_arrow, query_table_to_arrow
from xmc.values import Positives

OUT = Path(__file__).parents[1] / "xmc" / "datasets" / "icd10cm"
SMALL = {"compression_level": 22, "use_dictionary": False, "data_page_size": 1 << 20, "write_statistics": False}


def read_lines(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def read_split(path, label_row):
    rows = read_lines(path)
    counts = [len(row["labels"]) for row in rows]
    label_rows = np.array([label_row[label_id] for row in rows for label_id in row["labels"]], dtype=np.int32)
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    positives = Positives(offsets, label_rows, np.ones(len(label_rows), np.float32))
    return QueryTable([row["id"] for row in rows], [row["text"] for row in rows], positives)


def main(source, out):
    rows = read_lines(source / "labels.jsonl.gz")
    labels = LabelTable([row["id"] for row in rows], [row["text"] for row in rows])
    label_row = {label_id: row for row, label_id in enumerate(labels.ids)}
    out.mkdir(parents=True, exist_ok=True)
    delta = {"label_id": "DELTA_BYTE_ARRAY", "text": "DELTA_BYTE_ARRAY"}
    write_table(out / "labels.parquet", label_table_to_arrow(labels), column_encoding=delta, **SMALL)
    for split in ("train", "test"):
        table = query_table_to_arrow(read_split(source / f"{split}.jsonl.gz", label_row))
        write_table(out / f"{split}.parquet", table, **SMALL)
    for path in sorted(out.glob("*.parquet")):
        print(f"{path.stat().st_size:>9,} bytes  {path.name}")
    print(f"pyarrow {pa.__version__}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else OUT)
