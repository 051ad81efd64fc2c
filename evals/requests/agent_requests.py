"""Requests to the agent as suites, examples and training make them: a person, a target, and a seed of the run's own."""

from __future__ import annotations

from typing import Literal, cast
from uuid import UUID

from deeprec.agent import AgentInput, Lineage, derive_seed
from deeprec.evals.requests.cases import Case
from deeprec.trm_tool import Dataset
from deeprec.trm_tool.data import MadeRequestConfig, RequestMaker


def make_agent_request(
    case: Case,
    *,
    suite: str,
    split: str,
    seed: int,
    run_id: UUID | None = None,
    system: str | None = None,
    shuffled_of: str | None = None,
    group_id: str | None = None,
    latest: int | None = None,
    message: str | None = None,
) -> AgentInput:
    """Build the request of one run. The target goes into the lineage, which no prompt and no recommender ever sees.

    Args:
        case: Person, history and target.
        suite: Label that the run is stored under.
        split: Which item of the person's sequence the target is.
        seed: Of the run (`run_seed`).
        run_id: Id that the run gets; None leaves it to the graph.
        system: Row of a report that the run belongs to.
        shuffled_of: See `RunRecord.shuffled_of`.
        group_id: Runs of one group are compared with each other in training.
        latest: Items from the end of the history that the agent gets; None is all.
        message: What the person asks for; None takes the case's own message.
    """
    lineage = Lineage(user_id=case.user, target_id=case.target, seed=seed, split=split, suite=suite)
    if run_id is not None:
        lineage["run_id"] = str(run_id)
    if system is not None:
        lineage["system"] = system
    if shuffled_of is not None:
        lineage["shuffled_of"] = shuffled_of
    if group_id is not None:
        lineage["group_id"] = group_id
    history = list(case.history if latest is None else case.history[-latest:])
    request = AgentInput(history=history, lineage=lineage)
    if (asked := case.message if message is None else message) is not None:
        request["message"] = asked
    if case.where is not None:
        request["where"] = case.where
    return request


def make_test_messages(dataset: Dataset, split: str) -> dict[str, str]:
    """Person -> a message made from the attributes of their target, in words that no training uses.

    People of whose target nothing can be said without naming it have none.
    """
    config = MadeRequestConfig(words="test", split=cast(Literal["train", "valid", "test"], split), second_wishes=0.0)
    return {str(request.person): request.message for request in RequestMaker(dataset, config).make()}


def run_seed(label: str, user: str, *sample: int) -> int:
    """Derive the seed of a run from the label it is stored under, the person, and which of the person's runs it is.

    Runs of two persons, or two runs of one person, draw independently of each other (`turn_seed` gives each turn its
    own seed); two systems of a suite draw alike for the same person and sample.
    """
    return derive_seed("run", label, user, *sample)
