"""Make the shipped data set `tiny`, whose right answer is known: python benchmarks/make_tiny.py [OUT_FOLDER].

60 labels in 10 groups of 6; a label's text is `<adjective> <noun> <group>`, its adjective and noun are its own. A query
holds adjective and noun of each of its 1-4 labels, sometimes the group word, and 2-4 noise words that no label has,
in shuffled order. So every positive shares at least two words with the query, every other label at most one.
Draws are SHA-256 hashes of their names: the same everywhere. Early labels are drawn more often than late ones.
"""

import hashlib
import sys
from itertools import accumulate
from pathlib import Path

import numpy as np

from xmc.data.shards import write_table
from xmc.data.tables import LabelTable, QueryTable, label_table_to_arrow, query_table_to_arrow
from xmc.values import Positives

OUT = Path(__file__).parents[1] / "xmc" / "datasets" / "tiny"
SIZES = {"train": 400, "dev": 100, "test": 100}
GROUPS = {
    "fruit": "apple banana cherry grape lemon mango",
    "animal": "badger camel dolphin eagle falcon gorilla",
    "tool": "chisel drill hammer pliers saw wrench",
    "vehicle": "bicycle ferry lorry scooter tractor tram",
    "instrument": "cello drum flute guitar harp trumpet",
    "garment": "apron cloak glove jacket scarf trousers",
    "building": "barn castle chapel factory lighthouse museum",
    "mineral": "amber copper granite marble quartz salt",
    "dish": "curry dumpling omelette pancake porridge stew",
    "weather": "blizzard drizzle fog hail thunder whirlwind",
}
ADJECTIVES = """
    crimson hollow gentle rusty ancient bitter clumsy dusty eager faint golden humble icy jolly keen lively muddy
    narrow odd pale quiet rapid silent tender upset vivid weary young zesty broad calm damp elastic fierce grim
    hasty idle joint kind lazy mild noble oval plain quick rough shiny tall urban vast warm yellow brave cheap dense
    empty flat grand heavy inner
"""
NOISE = """
    about again almost because before between could during every further having however itself maybe never often
    other perhaps quite rather really several should since something their these though through towards under until
    usually very whether while without would yesterday
"""


def draw(*name):
    """A number in [0, 1) that depends on nothing but its name."""
    return int.from_bytes(hashlib.sha256(repr(name).encode()).digest()[:6], "big") / 2**48


def make_labels():
    groups = [(noun, group) for group, nouns in GROUPS.items() for noun in nouns.split()]
    texts = [f"{adjective} {noun} {group}" for adjective, (noun, group) in zip(ADJECTIVES.split(), groups, strict=True)]
    order = sorted(range(len(texts)), key=lambda row: draw("label order", row))
    return LabelTable([f"L{row:02d}" for row in range(len(texts))], [texts[row] for row in order])


def draw_labels(query_id, cumulative):
    count = 1 + int(4 * draw(query_id, "count"))
    chosen, attempt = set(), 0
    while len(chosen) < count:
        chosen.add(int(np.searchsorted(cumulative, draw(query_id, "label", attempt) * cumulative[-1], side="right")))
        attempt += 1
    return sorted(chosen)


def make_text(query_id, label_rows, labels):
    noise = NOISE.split()
    words = []
    for row in label_rows:
        adjective, noun, group = labels.texts[row].split()
        words += [adjective, noun] + [group] * (draw(query_id, "group word", row) < 0.5)
    words += [noise[int(len(noise) * draw(query_id, "noise", n))] for n in range(2 + int(3 * draw(query_id, "noises")))]
    return " ".join(sorted(words, key=lambda word: draw(query_id, "order", word)))


def make_split(split, labels):
    cumulative = list(accumulate(1 / (row + 5) for row in range(len(labels))))
    ids = [f"{split}-{number:03d}" for number in range(SIZES[split])]
    chosen = [draw_labels(query_id, cumulative) for query_id in ids]
    texts = [make_text(query_id, rows, labels) for query_id, rows in zip(ids, chosen, strict=True)]
    offsets = np.concatenate(([0], np.cumsum([len(rows) for rows in chosen]))).astype(np.int64)
    label_rows = np.concatenate(chosen).astype(np.int32)
    return QueryTable(ids, texts, Positives(offsets, label_rows, np.ones(len(label_rows), np.float32)))


def main(out):
    labels = make_labels()
    out.mkdir(parents=True, exist_ok=True)
    write_table(out / "labels.parquet", label_table_to_arrow(labels))
    for split in SIZES:
        queries = make_split(split, labels)
        write_table(out / f"{split}.parquet", query_table_to_arrow(queries))
        print(split, len(queries), "queries,", len(queries.positives.label_rows), "positives")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else OUT)
