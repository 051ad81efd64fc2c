"""Runs logged at revision 83b6652, before prompts and protocols could be replaced, are run again as they were."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from langchain_openai import ChatOpenAI

from deeprec.agent import (
    AgentConfig,
    CompletionPolicy,
    RunTrace,
    SqlRecorder,
    TraceStore,
    build_graph,
    export_jsonl,
    import_jsonl,
    replay_run,
)
from deeprec.trm_tool import Retriever
from tests.model_scripts import LIST, SEARCH, raw_tool_call
from tests.tiny_server import TinyServer

EXPORT = Path(__file__).parents[2] / "fixtures" / "store_before_rooms.jsonl.gz"


def written(trace: RunTrace) -> list[Any]:
    """What the model wrote in each turn, as the server's script takes it."""
    if trace.run.protocol == "tagged":
        return [turn.text for turn in trace.turns]
    calls = [turn.messages[-1]["data"]["tool_calls"] for turn in trace.turns if turn.messages]
    return [
        {"content": turn.text, "tool_calls": [raw_tool_call(call["name"], json.dumps(call["args"])) for call in made]}
        for turn, made in zip(trace.turns, calls, strict=True)
    ]


@pytest.mark.parametrize("kind", ["guided", "free", "tools"])
async def test_it_writes_the_same_tokens_and_finds_the_same_items(
    kind: str, server: TinyServer, policy: CompletionPolicy, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    import_jsonl(store, EXPORT)
    traces = [trace for trace in store.traces() if trace.redacted_at is None]
    runs = {
        "guided": [trace for trace in traces if trace.run.system == "deeprec-guided"],
        "free": [trace for trace in traces if trace.run.protocol == "tagged" and not trace.run.guided],
        "tools": [trace for trace in traces if trace.run.protocol == "tools"],
    }
    assert runs[kind]
    for trace in runs[kind]:
        from_log = 0 if trace.run.fork is None else trace.run.fork["turn"] + 1  # turns that no model writes again
        server.script = [] if kind == "guided" else written(trace)[from_log:]
        model: Any = chat if kind == "tools" else policy
        replay = await replay_run(store, trace.run.run_id, policy=model, retriever=retriever)
        assert replay.is_same
        assert replay.child.run.prompt_version == trace.run.prompt_version == "1"


@pytest.mark.parametrize(
    ("logged", "unknown"),
    [
        ({"reads_constraints": True}, ()),
        ({"reads_constraints": False}, ()),
        ({"reads_constraints": False, "weighs_missing": False}, ("reads_constraints", "weighs_missing")),
        ({"reads_constraints": True, "weighs_missing": False}, ("weighs_missing",)),
        ({"reads_constraints": True, "enforces_words": False}, ("enforces_words",)),
        ({"reads_constraints": True, "weighs_close_refusals": False}, ("weighs_close_refusals",)),
    ],
    ids=["on", "off", "before constraints", "before missing", "before plain words", "before close refusals weighed"],
)
async def test_constraints_are_read_as_the_run_was_logged(
    logged: dict[str, bool],
    unknown: Sequence[str],
    server: TinyServer,
    policy: CompletionPolicy,
    retriever: Retriever,
    store: TraceStore,
    tmp_path: Path,
) -> None:
    script = [SEARCH.format("drama; not horror; price <= 20; not animated"), LIST.format("2\n1")]
    config = AgentConfig(k=6, retrieve_k=8, **logged)
    graph = build_graph(policy, retriever, config=config, recorder=SqlRecorder(store))
    server.script = [*script]
    request: Any = {"history": list(retriever.catalogue.ids[:3]), "message": "a drama, no horror"}
    run_id = UUID((await graph.ainvoke(request))["run_id"])

    file = tmp_path / "runs.jsonl"
    export_jsonl(store, file)
    for name in unknown:  # as a version wrote it that did not know the setting
        text, replaced = re.subn(rf'"{name}": ?(true|false), ?', "", file.read_text())
        assert replaced == 1
        file.write_text(text)
    with TraceStore(tmp_path / "older.db") as older:
        import_jsonl(older, file)
        original = older.run(run_id)
        assert not {*unknown} & {*original.run.config}
        [retrieval] = original.retrievals
        assert (retrieval.constraints is not None) is logged["reads_constraints"]
        server.script = [*script]
        replay = await replay_run(older, run_id, policy=policy, retriever=retriever)
        assert replay.is_same
        assert replay.child.retrievals[0].items == retrieval.items
        assert replay.child.retrievals[0].constraints == retrieval.constraints
        assert replay.child.run.config.items() >= logged.items()
