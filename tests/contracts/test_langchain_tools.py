"""LangChain's own tests of tools, for the recommender and for the whole agent as a tool."""

from typing import Any

import pytest
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from deeprec.agent import AgentConfig, CompletionPolicy, build_graph, make_recommend_tool
from deeprec.trm_tool import (
    Retriever,
    make_describe_catalogue_tool,
    make_people_also_chose_tool,
    make_retrieve_items_tool,
)
from tests.tiny_server import MODEL, TinyServer


class RetrieveItems:
    """`retrieve_items(preference)`."""

    @pytest.fixture(autouse=True)
    def _retriever(self, retriever: Retriever) -> None:
        self._made = make_retrieve_items_tool(retriever, history=list(retriever.catalogue.ids[:3]))

    @property
    def tool_constructor(self) -> BaseTool:
        return self._made

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"preference": "something lighter"}


class DescribeCatalogue:
    """`describe_catalogue(attribute, contains, limit)`."""

    @pytest.fixture(autouse=True)
    def _retriever(self, retriever: Retriever) -> None:
        self._made = make_describe_catalogue_tool(retriever)

    @property
    def tool_constructor(self) -> BaseTool:
        return self._made

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"attribute": "class", "limit": 3}


class PeopleAlsoChose:
    """`people_also_chose(how, item, limit)`."""

    @pytest.fixture(autouse=True)
    def _retriever(self, retriever: Retriever) -> None:
        self._made = make_people_also_chose_tool(retriever, history=list(retriever.catalogue.ids[:3]))

    @property
    def tool_constructor(self) -> BaseTool:
        return self._made

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"how": "next", "limit": 3}


class RecommendItems:
    """`recommend_items(history, message)`."""

    @pytest.fixture(autouse=True)
    def _agent(self, server: TinyServer, retriever: Retriever) -> None:
        policy = CompletionPolicy(server.base_url, MODEL)
        config = AgentConfig(guided=True, k=3, min_retrievals=1, max_retrievals=1)
        self._made = make_recommend_tool(build_graph(policy, retriever, config=config))
        self._history = list(retriever.catalogue.ids[:3])

    @property
    def tool_constructor(self) -> BaseTool:
        return self._made

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"history": self._history, "message": "something lighter"}


class TestRetrieveItems(RetrieveItems, ToolsUnitTests):
    pass


class TestRetrieveItemsInvoked(RetrieveItems, ToolsIntegrationTests):
    pass


class TestDescribeCatalogue(DescribeCatalogue, ToolsUnitTests):
    pass


class TestDescribeCatalogueInvoked(DescribeCatalogue, ToolsIntegrationTests):
    pass


class TestPeopleAlsoChose(PeopleAlsoChose, ToolsUnitTests):
    pass


class TestPeopleAlsoChoseInvoked(PeopleAlsoChose, ToolsIntegrationTests):
    pass


class TestRecommendItems(RecommendItems, ToolsUnitTests):
    pass


class TestRecommendItemsInvoked(RecommendItems, ToolsIntegrationTests):
    pass
