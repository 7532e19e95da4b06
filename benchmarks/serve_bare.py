"""What bench_serve.py compares with: the service that one writes in twenty lines, FastAPI and faiss over a run.

    python benchmarks/serve_bare.py RUN PORT

The run's own encoder and label vectors, a flat faiss index, one search a request, uvicorn as it comes.
"""

from __future__ import annotations

import sys

import faiss
import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

import xmc
from xmc.encode.encoder import embed_texts


class Ask(BaseModel):
    texts: list[str]
    k: int = 10


def make_app(run: str) -> FastAPI:
    retriever = xmc.Retriever.load(run)
    labels = retriever.labels
    labels_LD = torch.nn.functional.normalize(embed_texts(retriever.encoder, labels.texts, "label"), dim=1)
    index = faiss.IndexFlatIP(labels_LD.shape[1])
    index.add(labels_LD.numpy())
    app = FastAPI()

    @app.post("/search")
    def search(ask: Ask):
        queries_QD = torch.nn.functional.normalize(embed_texts(retriever.encoder, ask.texts, "query"), dim=1)
        scores_QK, rows_QK = index.search(queries_QD.numpy(), ask.k)
        return {
            "results": [
                [
                    {"label_id": labels.ids[row], "text": labels.texts[row], "score": float(score)}
                    for row, score in zip(rows, scores, strict=True)
                ]
                for rows, scores in zip(rows_QK, scores_QK, strict=True)
            ]
        }

    return app


if __name__ == "__main__":
    uvicorn.run(make_app(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
