"""xmc in LangChain: a retriever and an embedding model over a run; its vector store is in `langchain_store`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xmc.integrations.extras import from_extra
from xmc.integrations.langchain_filters import Filter, document_of, keeper
from xmc.integrations.options import OF_A_SEARCH, require_known
from xmc.integrations.passages import Passages, lasting
from xmc.integrations.run_embeddings import RunEmbeddings

with from_extra("langchain", package="langchain-core"):
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.runnables.config import run_in_executor
    from pydantic import model_validator


class XmcRetriever(BaseRetriever):
    """The best passages of a run for a query; none where nothing reaches `min_probability`.

    `retriever` is a run folder, which is then followed when it changes, a `Retriever`, a `Client`, or anything with
    their `search`. A document's metadata are those that were kept with it, and `score`, `rank` and `probability`
    (None before `xmc check calibrate`). `k`, `min_probability`, `allowed` (label ids) and `filter` (keys and values
    that the metadata have, operators such as `$gt` in place of values, or a function of a document) may also be given
    to `invoke`.
    Raises: as `Passages`; ConfigError for an option that it does not have.

    >>> XmcRetriever(retriever="runs/a", k=3, min_probability=0.5).invoke("a question")  # doctest: +SKIP
    """

    retriever: Any
    k: int = 10
    min_probability: float | None = None
    allowed: Any = None

    @model_validator(mode="before")
    @classmethod
    def _require_known(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            require_known(values, list(cls.model_fields), of=cls.__name__)
        return values

    def model_post_init(self, context: Any) -> None:
        """Open the run. Raises: as `Passages`."""
        super().model_post_init(context)
        self.allowed = lasting(self.allowed)
        self._passages = Passages(self.retriever)

    def _get_relevant_documents(
        self, query: str, *, run_manager: Any, filter: Filter | None = None, **options: Any
    ) -> list[Document]:
        del run_manager
        require_known(options, OF_A_SEARCH, of="a search")
        asked = {"k": self.k, "min_probability": self.min_probability, "allowed": self.allowed} | options
        found = self._passages.search(query, keep=keeper(filter), **asked)
        return [document_of(passage, passage.facts()) for passage in found]

    async def _aget_relevant_documents(self, query: str, *, run_manager: Any, **options: Any) -> list[Document]:
        manager = run_manager.get_sync()
        found: list[Document] = await run_in_executor(
            None, self._get_relevant_documents, query, run_manager=manager, **options
        )
        return found


class XmcEmbeddings(Embeddings):
    """The encoder of a run (a folder, or an open `Retriever`), as it is now; of length 1 where it compares by cosine.

    Raises: ConfigError for an encoder whose vectors are sparse, as those of word counts are.
    """

    def __init__(self, run: Any) -> None:
        self._embeddings = RunEmbeddings(run)
        self.run = self._embeddings.run

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of label texts."""
        return self._embeddings.embed(texts, "label")

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query."""
        return self._embeddings.embed([text], "query")[0]
