"""LangChain's own standard suites, all of them, without an exception."""

import itertools
import shutil

import pytest
from langchain_tests.integration_tests import (
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
    VectorStoreIntegrationTests,
)

from xmc.integrations.langchain import XmcEmbeddings, XmcRetriever
from xmc.integrations.langchain_store import XmcVectorStore

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def edited_run(tmp_path_factory, tiny_run):
    """One run for the whole suite; it has 60 labels of its own."""
    run = tmp_path_factory.mktemp("standard") / "run"
    shutil.copytree(tiny_run, run)
    return run


class TestXmcVectorStore(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, edited_run):
        """A new collection, which is empty."""
        store = XmcVectorStore(edited_run, collection=f"suite {next(NUMBERS)}")
        yield store
        store.delete()


class TestXmcRetriever(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _run(self, tiny_run):
        self.run = tiny_run

    @property
    def retriever_constructor(self):
        return XmcRetriever

    @property
    def retriever_constructor_params(self):
        return {"retriever": self.run}

    @property
    def retriever_query_example(self):
        return "tender tram"


class TestXmcEmbeddings(EmbeddingsIntegrationTests):
    @pytest.fixture(autouse=True)
    def _run(self, tiny_run):
        self.run = tiny_run

    @property
    def embeddings_class(self):
        return XmcEmbeddings

    @property
    def embedding_model_params(self):
        return {"run": self.run}
