"""Retrieval for a language model on SciFact: calibrated context for claims, and an abstention where nothing fits.

    python examples/rag_scifact.py --data FOLDER/scifact --work WORK_FOLDER

FOLDER/scifact holds the data set as JSON lines (labels.jsonl, train.jsonl, test.jsonl; see docs/rag.md). Nothing is
downloaded and no language model is called: what one would be sent is printed. The first call imports the data, trains
and calibrates; the next ones open what is in WORK_FOLDER.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from langchain_core.documents import Document
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnablePassthrough

import xmc
from xmc.data.dataset import load_dataset
from xmc.data.importers import import_dataset
from xmc.integrations.langchain import XmcRetriever

PROMPT = ChatPromptTemplate.from_messages(
    [
        (
            "system",
            "Do the abstracts support the claim? Cite them by id. If there are none, say so.",
        ),
        ("human", "Abstracts:\n{context}\n\nClaim: {claim}"),
    ]
)
OFF_TOPIC = "How do I bake sourdough bread at home?"


def prepare(source: Path, work: Path) -> tuple[Path, Path]:
    """The imported data set and a calibrated run over it, made where they are not there."""
    data, run = work / "data", work / "run"
    if not (data / "labels.parquet").is_file():
        import_dataset(source, data)
    if not (run / "train.json").is_file():
        xmc.train_run(data, run, resume=(run / "config.toml").is_file())
    if xmc.Retriever.load(run).fitted.calibration is None:
        # one half of the test claims is fitted, and as if three in ten had no answer; the other half judges
        settings = ["check.calibrate.unanswerable=0.3"]
        xmc.check_run(run, ["calibrate"], split="test", fit_split="test", settings=settings)
    return data, run


def context_of(documents: list[Document]) -> str:
    """The passages as a language model reads them, each with its id and how sure the retrieval is."""
    lines = [f"[{d.id}] (relevant with p = {d.metadata['probability']:.2f}) {d.page_content}" for d in documents]
    return "\n".join(lines) or "none"


def chain_of(run: Path, *, k: int, min_probability: float) -> Runnable[str, object]:
    """From a claim to the messages for a chat model, which would be the next link of the chain."""
    retriever = XmcRetriever(retriever=run, k=k, min_probability=min_probability)
    return {"context": retriever | context_of, "claim": RunnablePassthrough()} | PROMPT


def main() -> None:
    """Print the prompts for some claims and for a question that SciFact knows nothing about."""
    root = os.environ.get("XMC_BENCHMARK_DATA")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(root, "scifact") if root else None, required=not root)
    parser.add_argument("--work", type=Path, default=Path("runs/rag-scifact"))
    parser.add_argument("--claims", type=int, default=3)
    parser.add_argument("-k", type=int, default=3)
    parser.add_argument("--min-probability", type=float, default=0.5)
    asked = parser.parse_args()
    data, run = prepare(asked.data, asked.work)
    chain = chain_of(run, k=asked.k, min_probability=asked.min_probability)
    for claim in [*load_dataset(data).test.texts[: asked.claims], OFF_TOPIC]:
        print(chain.invoke(claim).to_string(), end="\n\n" + 80 * "-" + "\n")


if __name__ == "__main__":
    main()
