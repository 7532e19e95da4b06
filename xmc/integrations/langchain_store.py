"""The passages of a run as a LangChain vector store, by LangChain's own rules for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from xmc.counted import counted
from xmc.errors import ConfigError, DataError
from xmc.integrations.extras import from_extra
from xmc.integrations.langchain import XmcEmbeddings
from xmc.integrations.langchain_filters import Filter, document_of, keeper
from xmc.integrations.options import OF_A_SEARCH, require_known
from xmc.integrations.run_passages import RunPassages, require_several, with_ids
from xmc.retrieve.passage_records import to_json
from xmc.retrieve.query_checks import check_texts
from xmc.values import Passage

with from_extra("langchain", package="langchain-core"):
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.runnables.config import run_in_executor
    from langchain_core.vectorstores import VectorStore
    from langchain_core.vectorstores.utils import maximal_marginal_relevance

DEFAULT_COLLECTION = "langchain"


class XmcVectorStore(VectorStore):
    """The labels of a run as a vector store, or one `collection` of them: those that were added under this name.

    Passages are embedded and found by the run's own encoder and index; what is added, replaced and deleted is
    committed to the run at once, metadata included, which must be what JSON can hold. Searches take `filter` (keys and
    values that the metadata have, operators such as `$gt` in place of values, or a function of a document), `allowed`
    (label ids) and `min_probability`.
    `similarity_score_threshold` compares the calibrated probability. Raises: as `Retriever.load`.

    >>> store = XmcVectorStore("runs/a", collection="notes")  # doctest: +SKIP
    >>> store.add_texts(["a text"], [{"source": "here"}], ids=["n1"])  # doctest: +SKIP
    ['n1']
    """

    def __init__(self, run: str | Path, *, collection: str = "") -> None:
        self._passages = RunPassages(run, collection=collection)

    @property
    def embeddings(self) -> XmcEmbeddings:
        """The run's encoder as it is now."""
        return XmcEmbeddings(self._passages.current())

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts, or replace those whose ids are there; all in one go, whatever `batch_size` is.

        Raises: as `RunPassages.add`; DataError for one text in place of a list; ConfigError for another option.
        """
        del batch_size  # LangChain's indexing API always gives one
        require_known(kwargs, ("metadatas", "ids", "batch_size"), of="add_texts")
        require_several(texts, "texts")
        texts = list(texts)
        check_texts(texts, what="text")  # by its place, for an id that is made for a text says nothing
        named = with_ids(ids, len(texts))
        if metadatas and len(metadatas) != len(texts):
            raise DataError(
                f"there are {len(metadatas):,} metadata for {counted(len(texts), 'text')}; give one for each, or none."
            )
        for row, kept in enumerate(metadatas or []):
            to_json(kept, label_id=(ids[row] if ids else None) or f"text {row}")
        if texts:
            self._passages.add(dict(zip(named, texts, strict=True)), dict(zip(named, metadatas or [], strict=False)))
        return named

    def delete(self, ids: Sequence[str] | None = None, *, filter: Filter | None = None, **kwargs: Any) -> bool:
        """Delete passages by id, by metadata or by both, all of them without either; ids not there are passed over.

        Raises: DataError when the run would be left without any label; ConfigError for another option.
        """
        require_known(kwargs, ("ids", "filter"), of="delete")  # one that is passed over would delete all
        require_several(ids)
        if ids is None or filter is not None:
            kept = self._passages.ids(keeper(filter))
            ids = kept if ids is None else list(set(kept).intersection(ids))
        self._passages.remove(ids)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents of these ids, without those that are not there."""
        return [document_of(passage) for passage in self._passages.get(ids)]

    def similarity_search(self, query: str, k: int = 4, **options: Any) -> list[Document]:
        """The best k documents for a query."""
        return [document for document, _ in self.similarity_search_with_score(query, k, **options)]

    def similarity_search_with_score(self, query: str, k: int = 4, **options: Any) -> list[tuple[Document, float]]:
        """The best k documents with their probabilities; in a run without a calibration with scores of no scale."""
        return [(document_of(passage), passage.hit.shown_score) for passage in self._search(query, k, **options)]

    def _search(self, query: str, k: int, *, filter: Filter | None = None, **options: Any) -> list[Any]:
        require_known(options, OF_A_SEARCH, of="a search")
        return self._passages.search(query, k=k, keep=keeper(filter), **options)

    def _search_vector(
        self, embedding: Sequence[float], k: int, *, filter: Filter | None = None, **options: Any
    ) -> list[Passage]:
        require_known(options, OF_A_SEARCH, of="a search")
        return self._passages.search_vector(embedding, k=k, keep=keeper(filter), **options)

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        # a probability needs score and rank, so there is no function of the score to select
        options = {"min_probability": 0.0} | options  # refuses a run without a calibration
        return [(document_of(passage), passage.hit.probability) for passage in self._search(query, k, **options)]

    async def _asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        found: list[tuple[Document, float]] = await run_in_executor(
            None, self._similarity_search_with_relevance_scores, query, k, **options
        )
        return found

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **options: Any) -> list[Document]:
        """The best k documents for a query that `embeddings.embed_query` has embedded."""
        return [document_of(passage) for passage in self._search_vector(embedding, k, **options)]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **options: Any
    ) -> list[Document]:
        """Of the best `fetch_k` documents k that are near the query and far from each other, by cosine."""
        found = self._search(query, fetch_k, **options)
        return self._diverse(self.embeddings.embed_query(query), found, k, lambda_mult)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **options: Any,
    ) -> list[Document]:
        """`max_marginal_relevance_search` for a query that is embedded already."""
        return self._diverse(embedding, self._search_vector(embedding, fetch_k, **options), k, lambda_mult)

    def _diverse(
        self, query_D: Sequence[float], found: Sequence[Passage], k: int, lambda_mult: float
    ) -> list[Document]:
        if not found:
            return []
        query_E, vectors_NE = self._passages.index_vectors(query_D, found)
        rows = maximal_marginal_relevance(query_E.numpy(), list(vectors_NE.numpy()), lambda_mult=lambda_mult, k=k)
        return [document_of(found[row]) for row in rows]

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        collection: str = DEFAULT_COLLECTION,
        **kwargs: Any,
    ) -> XmcVectorStore:
        """Texts as a collection of the run that `embedding` is of, an `XmcEmbeddings`.

        Raises: ConfigError for another embedding, since passages of a run are found by its own encoder.
        """
        if not isinstance(embedding, XmcEmbeddings) or embedding.run is None:
            raise ConfigError(
                f"passages of a run are found by its own encoder, and this {type(embedding).__name__} is of none.",
                hint="Give XmcEmbeddings(RUN), or keep vectors of another model in a store that is made for them.",
            )
        store = cls(embedding.run, collection=collection)
        store.add_texts(texts, metadatas, ids=ids, **kwargs)
        return store
