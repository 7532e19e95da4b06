"""Invariants: the tables of docs/scaling.md are those of the code and the results; sums are right."""

import sys

import pytest
from doc_pages import PAGES, ROOT

sys.path.insert(0, str(ROOT / "docs"))
import make_scaling
from make_scaling import label_shards

from xmc.plugin_manager import load_plugins

TEXT = PAGES["docs/scaling.md"].read_text(encoding="utf-8")


def test_the_page_is_current():
    assert make_scaling.page(TEXT) == TEXT, "run: make docs"
    with pytest.raises(ValueError, match="once each"):
        make_scaling.page("no marks")


def test_sizes_are_those_that_the_backends_say():
    sizes = {size.index: size for size in make_scaling.sizes()}
    assert sizes["faiss.ivf"].total_bytes[0] > 10_000_000 * 4 * make_scaling.DIMENSION
    assert sizes["exact (first_pass float32)"].bytes_per_label == 4 * make_scaling.DIMENSION
    assert sorted((size.bytes_per_label for size in sizes.values()), reverse=True) == [
        size.bytes_per_label for size in make_scaling.sizes()
    ]
    few = make_scaling.index_sizes(load_plugins().offers["index"], (100, 10**6))
    assert [size.index for size in few if size.index.startswith("faiss")] == [], "what is not proposed for both is out"


def test_machines():
    assert label_shards(1, machine_bytes=100) == 1 and label_shards(75, machine_bytes=100) == 1
    assert label_shards(76, machine_bytes=100) == 2 and label_shards(10**12, machine_bytes=10**11) == 14
