"""xmc in LlamaIndex: a retriever over a run, and its passages as a vector store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from xmc.counted import counted
from xmc.errors import ConfigError, DataError
from xmc.integrations.extras import from_extra
from xmc.integrations.options import require_known
from xmc.integrations.passages import Passages, lasting
from xmc.integrations.run_passages import RunPassages, require_several
from xmc.retrieve.metadata_filters import Joined, LookedUp, Not, OfValue, OneOf
from xmc.values import FIGURES, Passage

with from_extra("llama-index", package="llama-index-core"):
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.bridge.pydantic import PrivateAttr
    from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle, TextNode
    from llama_index.core.vector_stores.types import (
        BasePydanticVectorStore,
        FilterCondition,
        FilterOperator,
        MetadataFilter,
        MetadataFilters,
        VectorStoreQuery,
        VectorStoreQueryMode,
        VectorStoreQueryResult,
    )
    from llama_index.core.vector_stores.utils import (
        build_metadata_filter_fn,
        metadata_dict_to_node,
        node_to_metadata_dict,
    )

NODE_CONTENT = "_node_content"  # where LlamaIndex keeps a whole node in the metadata of a store


class XmcRetriever(BaseRetriever):
    """The best passages of a run for a query; none where nothing reaches `min_probability`.

    `retriever` is a run folder, which is then followed when it changes, a `Retriever`, a `Client`, or anything with
    their `search`; `allowed` are label ids. A node's score is the probability, before `xmc check calibrate` the score
    of the label; its metadata also have `score`, `rank` and `probability` (None before), which no prompt is shown.

    >>> XmcRetriever("runs/a", k=3, min_probability=0.5).retrieve("a question")  # doctest: +SKIP
    """

    def __init__(
        self,
        retriever: Any,
        *,
        k: int = 10,
        min_probability: float | None = None,
        allowed: Iterable[str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._passages = Passages(retriever)
        self._asked: dict[str, Any] = {"k": k, "min_probability": min_probability, "allowed": lasting(allowed)}

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found = self._passages.search(query_bundle.query_str, **self._asked)
        return [
            NodeWithScore(node=_judged_node(passage), score=passage.hit.shown_score) for passage in found if passage.hit
        ]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)


class XmcVectorStore(BasePydanticVectorStore):
    """The labels of a run as a vector store, or one `collection` of them: those that were added under this name.

    Nodes are embedded and found by the run's own encoder and index, whatever `embed_model` has made of them; nodes and
    their metadata, which must be what JSON can hold, are committed to the run at once. Queries come as text (or as a
    vector of the run's encoder) in the mode `default`; hits below `min_probability` are left out. A similarity is the
    probability, in a run without a calibration the score.
    Raises: as `Retriever.load`; ConfigError for an option that it, or one of its calls, does not have.
    """

    stores_text: bool = True
    is_embedding_query: bool = False
    run: str
    collection: str = ""
    min_probability: float | None = None
    _passages: RunPassages = PrivateAttr()

    def __init__(
        self, run: str | Path, *, collection: str = "", min_probability: float | None = None, **options: Any
    ) -> None:
        require_known(options, list(type(self).model_fields), of=type(self).__name__)
        super().__init__(run=str(run), collection=collection, min_probability=min_probability, **options)
        self._passages = RunPassages(run, collection=collection)

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises it."""
        return "XmcVectorStore"

    @property
    def client(self) -> Any:
        """The `Retriever` that answers now."""
        return self._passages.current()

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Add nodes, or replace those whose ids are there, all in one go. Raises: as `RunPassages.add`."""
        require_known(kwargs, (), of="add")
        texts = {node.node_id: node.get_content() for node in nodes}
        if len(texts) < len(nodes):
            raise DataError(
                f"{counted(len(nodes), 'node has', 'nodes have')} {counted(len(texts), 'id')}; each "
                "needs one of its own."
            )
        kept = {node.node_id: node_to_metadata_dict(node, remove_text=True) for node in nodes}
        if texts:
            self._passages.add(texts, kept)
        return list(texts)

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the nodes of a document."""
        require_known(delete_kwargs, (), of="delete")
        self._passages.remove(self._passages.ids(_keeper(doc_ids=[ref_doc_id])))

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Delete nodes by id, by metadata, or by both; ids that are not there are passed over."""
        require_known(delete_kwargs, ("node_ids", "filters"), of="delete_nodes")
        keep = _keeper(node_ids=node_ids, filters=filters)
        if keep is not None:
            self._passages.remove(self._passages.ids(keep))

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """The nodes of these ids or metadata, without those that are not there; all of them if none are given."""
        ids = self._passages.ids(_keeper(node_ids=node_ids, filters=filters))
        return [_node(passage) for passage in self._passages.get(ids)]

    def clear(self) -> None:
        """Delete all nodes. Raises: DataError when the run would be left without any label."""
        self._passages.remove(self._passages.ids())

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """The best nodes for a query.

        Raises: ConfigError for another mode than `default`; DataError for a query without text and embedding; as
        `Retriever.search`.
        """
        require_known(kwargs, (), of="query")
        if query.mode != VectorStoreQueryMode.DEFAULT:
            raise ConfigError(
                f"the mode of a query must be 'default', got '{getattr(query.mode, 'value', query.mode)}'."
            )
        if not query.query_str and not query.query_embedding:
            raise DataError("a query needs a query_str with at least one character, or a query_embedding.")
        node_ids = query.node_ids or None  # LlamaIndex's own retriever gives an empty list where it asks for all
        asked: dict[str, Any] = {
            "k": query.similarity_top_k,
            "min_probability": self.min_probability,
            "keep": _keeper(node_ids=node_ids, doc_ids=query.doc_ids, filters=query.filters),
        }
        if query.query_str:
            found = self._passages.search(query.query_str, **asked)
        else:
            found = self._passages.search_vector(query.query_embedding or [], **asked)
        scores = [passage.hit.shown_score for passage in found if passage.hit]
        return VectorStoreQueryResult([_node(passage) for passage in found], scores, [passage.id for passage in found])

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """`add` in a thread."""
        return await asyncio.to_thread(self.add, nodes, **kwargs)

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """`delete` in a thread."""
        await asyncio.to_thread(self.delete, ref_doc_id, **delete_kwargs)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """`query` in a thread."""
        return await asyncio.to_thread(self.query, query, **kwargs)


def _node(passage: Passage) -> BaseNode:
    """A passage as the node that it was added as, a plain text node where it was not added as one."""
    if NODE_CONTENT in passage.metadata:
        return metadata_dict_to_node(passage.metadata, text=passage.text)
    return TextNode(id_=passage.id, text=passage.text, metadata=passage.metadata)


def _judged_node(passage: Passage) -> BaseNode:
    """The node of a hit with its figures in the metadata, where neither prompts nor embeddings see them."""
    node = _node(passage)
    node.metadata.update({name: passage.facts()[name] for name in FIGURES})
    node.excluded_llm_metadata_keys.extend(FIGURES)
    node.excluded_embed_metadata_keys.extend(FIGURES)
    return node


def _keeper(
    *,
    node_ids: Sequence[str] | None = None,
    doc_ids: Sequence[str] | None = None,
    filters: MetadataFilters | None = None,
) -> Callable[[Passage], bool] | None:
    """What is of these nodes, of these documents and passes these filters; None where nothing is asked.

    An empty list, as one of rights may be, lets nothing through. Raises: DataError for a text in place of a list.
    """
    require_several(node_ids)
    require_several(doc_ids)
    parts: list[LookedUp] = []
    if doc_ids is not None:
        parts.append(OneOf("ref_doc_id", tuple(doc_ids)))
    if filters is not None:
        parts.append(_joined(filters))
    kept = Joined("and", tuple(parts))
    if node_ids is None:
        return kept if parts else None
    named = frozenset(node_ids)
    return lambda passage: passage.id in named and kept(passage)


def _joined(filters: MetadataFilters) -> LookedUp:
    """Filters of LlamaIndex, also nested ones, as one that is looked up."""
    parts = tuple(_joined(each) if isinstance(each, MetadataFilters) else _single(each) for each in filters.filters)
    if not parts or filters.condition in (None, FilterCondition.AND):
        return Joined("and", parts)
    joined = Joined("or", parts)
    return Not(joined) if filters.condition == FilterCondition.NOT else joined


def _single(asked: MetadataFilter) -> LookedUp:
    value, operator = asked.value, asked.operator
    if operator in (FilterOperator.EQ, FilterOperator.NE) and value is not None:
        found = OneOf(asked.key, (value,))
        return found if operator == FilterOperator.EQ else Not(found)
    if operator in (FilterOperator.IN, FilterOperator.NIN) and isinstance(value, list):
        found = OneOf(asked.key, tuple(value))
        return found if operator == FilterOperator.IN else Not(found)
    return OfValue(asked.key, partial(_holds, asked), repr(asked))


def _holds(asked: MetadataFilter, value: Any) -> bool:
    """Whether LlamaIndex lets a value through. Raises: ConfigError for one that cannot be compared."""
    try:
        return build_metadata_filter_fn(lambda _: {asked.key: value}, MetadataFilters(filters=[asked]))("")
    except TypeError as error:
        raise ConfigError(
            f"the filter {asked.key} {asked.operator.value} {asked.value!r:.100} cannot be asked of the value "
            f"{value!r:.100}, which a node has under this key: {error}.",
            hint="Filter out such nodes in an `and` before it, or give them another value.",
        ) from error
