"""Invariants: the retriever works in a query engine, synchronous and not; nodes come back from the store as they were
added; what is deleted is gone from the run."""

import asyncio
import copy
import pickle

import pytest
from llama_index.core import Document, StorageContext, VectorStoreIndex, get_response_synthesizer
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.schema import MetadataMode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from llama_index.core.vector_stores.utils import build_metadata_filter_fn, node_to_metadata_dict

from xmc import Retriever
from xmc.errors import ConfigError, DataError
from xmc.integrations.llama_index import XmcRetriever, XmcVectorStore, _keeper
from xmc.integrations.run_embeddings import RunEmbeddings
from xmc.retrieve.passages_now import PassagesNow

# nodes are added to a calibrated run, which every opened state says
pytestmark = pytest.mark.filterwarnings("ignore:.*edited after its probabilities:xmc.errors.XmcWarning")
ANY_MODEL = MockEmbedding(embed_dim=1)  # the run embeds texts itself


def nodes():
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="book")}
    return [
        TextNode(id_="a", text="solar kettle appliance", metadata={"page": 1}, relationships=source),
        TextNode(id_="b", text="copper violin instrument", metadata={"page": 2}, relationships=source),
        TextNode(id_="c", text="solar violin garden", metadata={"page": 2}),
    ]


@pytest.fixture
def store(calibrated_copy):
    store = XmcVectorStore(calibrated_copy, collection="notes")
    assert store.add(nodes()) == ["a", "b", "c"]
    return store


def ask(store, text, k=5, **options):
    return store.query(VectorStoreQuery(query_str=text, similarity_top_k=k, **options))


def test_a_query_engine_gets_the_hits_and_an_abstention(calibrated_run):
    synthesizer = get_response_synthesizer(llm=MockLLM(), response_mode=ResponseMode.COMPACT)
    engine = RetrieverQueryEngine(XmcRetriever(calibrated_run, k=3, min_probability=0.5), synthesizer)
    answer = engine.query("tender tram")
    assert [node.node_id for node in answer.source_nodes] == ["L21"]
    assert "tender tram vehicle" in answer.response  # the mock answers with its prompt
    assert "probability" not in answer.response
    assert str(asyncio.run(engine.aquery("quarterly revenue forecast"))) == "Empty Response"


def test_nodes_are_the_hits_of_the_run_synchronous_and_not(calibrated_run):
    (hits,) = Retriever.load(calibrated_run).search(["tender tram"], k=3)
    retriever = XmcRetriever(str(calibrated_run), k=3)
    found = retriever.retrieve("tender tram")
    assert [(n.node_id, n.text, n.score) for n in found] == [(hit.label_id, hit.text, hit.probability) for hit in hits]
    assert found[1].metadata == {"score": hits[1].score, "rank": 2, "probability": hits[1].probability}
    assert found[0].node.get_content(MetadataMode.LLM) == found[0].node.get_content(MetadataMode.EMBED) == hits[0].text
    again = asyncio.run(retriever.aretrieve("tender tram"))
    assert [node.to_dict() for node in again] == [node.to_dict() for node in found]
    assert XmcRetriever(calibrated_run, allowed=["L09"]).retrieve("tender tram")[0].node_id == "L09"
    limited = XmcRetriever(calibrated_run, allowed=iter(["L09"]))
    assert [[node.node_id for node in limited.retrieve("tender tram")] for _ in range(2)] == [["L09"], ["L09"]]


def test_a_cutoff_of_similarity_is_a_probability(calibrated_run, tiny_run):
    found = XmcRetriever(calibrated_run, k=9).retrieve("tender tram")
    kept = SimilarityPostprocessor(similarity_cutoff=0.5).postprocess_nodes(found)
    assert len(kept) < 9
    assert [n.node_id for n in kept] == [n.node_id for n in found if n.metadata["probability"] >= 0.5]
    assert [(n.score, n.metadata["probability"]) for n in XmcRetriever(tiny_run, k=2).retrieve("tender tram")] == [
        (hit.score, None) for hit in Retriever.load(tiny_run).search(["tender tram"], k=2)[0]
    ]


OPTIONS = {
    "of the retriever": lambda store: XmcRetriever(store.run, top_k=3),
    "of the store": lambda store: XmcVectorStore(store.run, colection="notes"),
    "of add": lambda store: store.add([], batch_size=3),
    "of delete": lambda store: store.delete("book", node_ids=["a"]),
    "of delete_nodes": lambda store: store.delete_nodes(["a"], filter={}),
    "of query": lambda store: store.query(VectorStoreQuery(query_str="a", similarity_top_k=1), min_probability=0.5),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_an_option_that_nothing_reads_is_refused(store, case):
    with pytest.raises((ConfigError, TypeError), match=r"no option|unexpected keyword"):
        OPTIONS[case](store)
    assert len(store.get_nodes()) == 3


def test_a_store_written_down_is_read_again(calibrated_run):
    store = XmcVectorStore(calibrated_run, collection="notes", min_probability=0.5)
    assert XmcVectorStore.from_dict(store.to_dict()).to_dict() == store.to_dict()


def test_nodes_come_back_as_they_were_added(store):
    back = {node.node_id: node for node in store.get_nodes()}
    for node in nodes():
        assert back[node.node_id].to_dict() == node.to_dict()
    result = ask(store, "copper violin", k=1)
    assert result.ids == ["b"] and result.nodes[0].to_dict() == nodes()[1].to_dict()
    (hit,) = store.client.search(["copper violin"], k=1)[0]
    assert result.similarities == [hit.probability]
    store.add([TextNode(id_="b", text="another text")])
    assert [node.text for node in store.get_nodes(["b", "gone"])] == ["another text"]


def test_an_index_over_the_store_finds_what_it_was_given(calibrated_copy):
    store = XmcVectorStore(calibrated_copy, collection="notes", min_probability=0.5)
    documents = [Document(text=node.text, id_=f"doc {node.node_id}", metadata=node.metadata) for node in nodes()]
    context = StorageContext.from_defaults(vector_store=store)
    split = SentenceSplitter(chunk_size=64, chunk_overlap=0)
    index = VectorStoreIndex.from_documents(
        documents, storage_context=context, embed_model=ANY_MODEL, transformations=[split]
    )
    found = index.as_retriever(similarity_top_k=1).retrieve("copper violin instrument")
    assert [node.text for node in found] == ["copper violin instrument"]
    assert asyncio.run(index.as_retriever().aretrieve("quarterly revenue forecast")) == []
    filters = MetadataFilters(filters=[MetadataFilter(key="page", value=1)])
    assert [n.text for n in index.as_retriever(filters=filters).retrieve("solar kettle")] == ["solar kettle appliance"]
    index.delete_ref_doc("doc a")
    reopened = VectorStoreIndex.from_vector_store(store, embed_model=ANY_MODEL)
    assert reopened.as_retriever(filters=filters).retrieve("solar kettle") == []
    assert len(store.get_nodes()) == 2


def test_an_empty_list_of_ids_is_none_of_them(store):
    filters = MetadataFilters(filters=[MetadataFilter(key="page", value=1)])
    store.delete_nodes([])
    store.delete_nodes([], filters=filters)
    assert len(store.get_nodes()) == 3 and store.get_nodes([]) == store.get_nodes([], filters=filters) == []
    assert ask(store, "solar violin", doc_ids=[], filters=filters).ids == []


def test_one_id_is_not_taken_for_its_letters(store):
    for call in (
        lambda: store.delete_nodes("ab"),
        lambda: store.get_nodes("ab"),
        lambda: ask(store, "solar violin", node_ids="ab"),
        lambda: ask(store, "solar violin", doc_ids="book"),
    ):
        with pytest.raises(DataError, match="ids must be a list, got one text"):
            call()
    assert len(store.get_nodes()) == 3


def test_queries_by_vector_and_of_some_nodes(store, calibrated_copy):
    vector = RunEmbeddings(calibrated_copy).embed(["solar violin"], "query")[0]
    by_vector = store.query(VectorStoreQuery(query_embedding=vector, similarity_top_k=3))
    assert by_vector.ids == ask(store, "solar violin").ids and by_vector.ids[0] == "c"
    assert ask(store, "solar violin", node_ids=["a"]).ids == ["a"]
    assert set(ask(store, "solar violin", doc_ids=["book"]).ids) == {"a", "b"}
    assert ask(store, "solar violin", doc_ids=[]).ids == []
    for mode in (VectorStoreQueryMode.HYBRID, "hybrid"):
        with pytest.raises(ConfigError, match="must be 'default', got 'hybrid'"):
            ask(store, "solar violin", mode=mode)
    for query in (VectorStoreQuery(), VectorStoreQuery(query_str="", query_embedding=[])):
        with pytest.raises(DataError, match="needs a query_str with at least one character, or a query_embedding"):
            store.query(query)


SECONDS = [
    ("page", 2.0, "=="), ("page", 9, "!="), ("other", 1, "=="), ("other", 1, "!="), ("page", [1, 2], "in"),
    ("page", [1], "nin"), ("other", [1], "nin"), ("page", 1, ">"), ("page", 1, "<="), ("other", 1, ">"),
    ("page", None, "=="), ("page", None, "!="), ("other", None, "is_empty"), ("ref_doc_id", "oo", "text_match"),
]  # fmt: skip


@pytest.mark.parametrize("condition", [None, "and", "or", "not"])
@pytest.mark.parametrize("second", [*SECONDS, None])
def test_filters_mean_what_llama_index_says_and_no_node_is_asked(store, condition, second, monkeypatch):
    asked = [("page", 2, "=="), second] if second else [("page", 2, "==")]
    each = [MetadataFilter(key=key, value=value, operator=operator) for key, value, operator in asked]
    filters = MetadataFilters(filters=each, condition=condition)
    kept = {node.node_id: node_to_metadata_dict(node) for node in nodes()}
    judged = build_metadata_filter_fn(kept.get, filters)
    found = store._passages.ids
    with monkeypatch.context() as patch:
        patch.setattr(PassagesNow, "named", None)
        assert found(_keeper(filters=filters)) == [name for name in kept if judged(name)]
        assert found(_keeper(filters=filters, doc_ids=["book"])) == [
            name for name in kept if judged(name) and name != "c"
        ]
    assert [node.node_id for node in store.get_nodes(["b", "c"], filters)] == [name for name in "bc" if judged(name)]


def test_filters_within_filters(store):
    page = [MetadataFilters(filters=[MetadataFilter(key="page", value=value)], condition="not") for value in (1, 2)]
    for condition, expected in (("and", []), ("or", ["a", "b", "c"])):
        filters = MetadataFilters(filters=page, condition=condition)
        assert [node.node_id for node in store.get_nodes(filters=filters)] == expected


def test_a_value_that_cannot_be_compared_is_named_but_not_one_of_another_collection(store, calibrated_copy):
    other = XmcVectorStore(calibrated_copy, collection="other")
    other.add([TextNode(id_="x", text="a lantern", metadata={"page": "ix"})])
    filters = MetadataFilters(filters=[MetadataFilter(key="page", value=1, operator=">")])
    assert [node.node_id for node in store.get_nodes(filters=filters)] == ["b", "c"]
    with pytest.raises(ConfigError, match="the filter page > 1 cannot be asked of the value 'ix'"):
        other.get_nodes(filters=filters)


def test_a_filter_for_no_value_finds_none(store):
    assert store.get_nodes(filters=MetadataFilters(filters=[MetadataFilter(key="page", value=None)])) == []


def test_deleting_by_document_by_id_and_by_metadata(store, calibrated_copy):
    store.delete("book")
    assert [node.node_id for node in store.get_nodes()] == ["c"]
    store.add(nodes())
    store.delete_nodes(["a", "gone"])
    store.delete_nodes()
    assert [node.node_id for node in store.get_nodes()] == ["b", "c"]
    store.delete_nodes(filters=MetadataFilters(filters=[MetadataFilter(key="page", value=2)]))
    assert store.get_nodes() == [] and len(Retriever.load(calibrated_copy).labels) == 60


def test_without_blocking_the_loop_it_is_the_same(store):
    async def work():
        added = await store.async_add([TextNode(id_="d", text="wooden lantern light")])
        found = await store.aquery(VectorStoreQuery(query_str="wooden lantern", similarity_top_k=1))
        await store.adelete("book")
        return added, found.ids

    assert asyncio.run(work()) == (["d"], ["d"])
    assert [node.node_id for node in store.get_nodes()] == ["c", "d"]
    store.clear()
    assert store.get_nodes() == []


def test_a_store_over_the_whole_run_has_its_labels_and_cannot_be_emptied(tiny_run_copy):
    store = XmcVectorStore(tiny_run_copy)
    assert len(store.get_nodes()) == 60 and store.get_nodes(["L21"])[0].text == "tender tram vehicle"
    with pytest.raises(DataError, match="remove all labels"):
        store.clear()
    with pytest.raises(DataError, match="2 nodes have 1 id;"):
        store.add([TextNode(id_="x", text="a"), TextNode(id_="x", text="b")])


def test_what_is_made_of_a_folder_can_be_copied_and_sent_to_another_process(tiny_run, store):
    retriever = XmcRetriever(str(tiny_run), k=2)
    (first, _), found = retriever.retrieve("tender tram"), ask(store, "solar")
    sent = pickle.loads(pickle.dumps((retriever, store)))
    for other, other_store in (copy.deepcopy((retriever, store)), sent):
        assert other.retrieve("tender tram")[0].node_id == first.node_id
        assert ask(other_store, "solar") == found
