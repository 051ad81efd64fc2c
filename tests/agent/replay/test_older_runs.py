"""Runs logged at revision 83b6652, before prompts and protocols could be replaced, are run again as they were."""

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_openai import ChatOpenAI

from deeprec.agent import CompletionPolicy, RunTrace, TraceStore, import_jsonl, replay_run
from deeprec.trm_tool import Retriever
from tests.model_scripts import raw_tool_call
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
