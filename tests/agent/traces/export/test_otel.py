"""Spans of real runs, taken by a real OTLP receiver."""

import json
import logging
import math
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from langchain_openai import ChatOpenAI
from opentelemetry import trace as trace_api
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from sqlalchemy import update

from deeprec.agent import (
    AgentConfig,
    CompletionPolicy,
    NullRecorder,
    OtelRecorder,
    SqlRecorder,
    TraceStore,
    TraceStoreError,
    build_graph,
)
from deeprec.agent.cli.main import main
from deeprec.agent.traces import RunNotFoundError, StepConflictError, export_spans
from deeprec.agent.traces.export.otlp import SpanSender, make_provider, without_password
from deeprec.agent.traces.export.spans import retrieval_attributes
from deeprec.agent.traces.records import RetrievalRecord, RunOutcome, RunRecord, TurnRecord
from deeprec.agent.traces.store.schema import Retrieval, Run, Turn
from deeprec.trm_tool import ConfigError, Retriever
from tests.made_runs import made_conversation_turn, made_retrieval
from tests.model_scripts import LIST, SEARCH
from tests.otlp_receiver import Receiver, attributes, receive_otlp
from tests.tiny_server import MODEL, TinyServer

FREE = AgentConfig(k=3, retrieve_k=4, max_malformed=1, temperature=0.7)
PROMPT = "something SECRET please"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receive_otlp() as running:
        yield running


@pytest.fixture
def dead_endpoint() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def run_record(**changes: Any) -> RunRecord:
    values: dict[str, Any] = {
        "run_id": uuid4(),
        "protocol": "tagged",
        "protocol_version": "1",
        "prompt_version": "1",
        "guided": False,
        "k": 3,
        "policy_model": "m",
        "trm_fingerprint": "ab",
    }
    return RunRecord(**values | changes)


async def run_agent(graph: Any, retriever: Retriever, **lineage: Any) -> Any:
    history = list(retriever.catalogue.ids[:4])
    return await graph.ainvoke({"history": history, "message": PROMPT, "lineage": {"user_id": "SECRET-u", **lineage}})


@pytest.mark.parametrize(("stated", "hard"), [({"hard": 5, "odd": [1]}, 0), ({"hard": [{}, 3]}, 2), ([1], 0), (5, 0)])
def test_odd_constraints_of_an_imported_run_break_no_span(stated: Any, hard: int) -> None:
    found = retrieval_attributes(made_retrieval(0, constraints=stated), with_content=True)
    counts = {name: value for name, value in found.items() if name.startswith("deeprec.constraints.")}
    assert counts == {f"deeprec.constraints.{kind}": 0 for kind in ("hard", "guessed", "unenforceable")} | {
        "deeprec.constraints.hard": hard
    }
    absent = retrieval_attributes(made_retrieval(0), with_content=True)
    assert not any(name.startswith("deeprec.constraints.") for name in absent)


async def test_a_run_is_a_tree_of_spans_with_times_tokens_and_names(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore, receiver: Receiver
) -> None:
    server.script = [SEARCH.format("comedy"), "nonsense", LIST.format("2\n1")]
    provider = make_provider(receiver.endpoint)
    recorder = OtelRecorder(SqlRecorder(store), provider)
    before = time.time_ns()
    output = await run_agent(build_graph(policy, retriever, config=FREE, recorder=recorder), retriever, seed=5)
    after = time.time_ns()
    provider.shutdown()

    trace = store.run(UUID(output["run_id"]))  # the inner recorder has everything
    assert [turn.action for turn in trace.turns] == ["retrieve", "malformed", "recommend"]
    [root] = receiver.named("invoke_agent deeprec")
    turns, tools = receiver.named(f"text_completion {MODEL}"), receiver.named("execute_tool retrieve_items")
    assert (len(turns), len(tools), len(receiver.spans)) == (3, 1, 5)
    assert (receiver.paths, receiver.resources[0]["service.name"]) == (["/v1/traces"], "deeprec")
    assert root.parent_span_id == b""
    assert {span.parent_span_id for span in (*turns, *tools)} == {root.span_id}
    assert {span.trace_id for span in receiver.spans} == {root.trace_id}
    assert (root.kind, turns[0].kind, tools[0].kind) == (
        Span.SPAN_KIND_INTERNAL,
        Span.SPAN_KIND_CLIENT,
        Span.SPAN_KIND_INTERNAL,
    )
    # In order, inside the run, as long as they took.
    steps = [turns[0], tools[0], turns[1], turns[2]]
    for earlier, later in pairwise(steps):
        assert earlier.end_time_unix_nano <= later.start_time_unix_nano
    assert before <= root.start_time_unix_nano <= steps[0].start_time_unix_nano
    assert steps[-1].end_time_unix_nano <= root.end_time_unix_nano <= after
    for span, turn in zip(turns, trace.turns, strict=True):
        lasted_ms = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
        assert lasted_ms == pytest.approx(turn.latency_ms, abs=1)

    said = attributes(root)
    assert said["gen_ai.operation.name"] == "invoke_agent"
    assert (said["gen_ai.agent.name"], said["gen_ai.provider.name"]) == ("deeprec", "openai")
    assert (said["gen_ai.request.model"], said["gen_ai.request.temperature"]) == (MODEL, 0.7)
    assert (said["gen_ai.request.seed"], said["gen_ai.conversation.id"]) == (5, output["run_id"])
    assert said["gen_ai.usage.input_tokens"] == sum(turn.prompt_tokens for turn in trace.turns)
    assert said["gen_ai.usage.output_tokens"] == sum(turn.completion_tokens for turn in trace.turns)
    assert (said["deeprec.run.status"], said["deeprec.turns"], said["deeprec.retrievals"]) == ("finished", 3, 1)
    said = attributes(turns[0])
    assert said["gen_ai.operation.name"] == "text_completion"
    assert said["gen_ai.usage.input_tokens"] == trace.turns[0].prompt_tokens
    assert said["gen_ai.usage.output_tokens"] == trace.turns[0].completion_tokens
    assert said["gen_ai.response.finish_reasons"] == ["stop"]
    assert (said["deeprec.turn"], said["deeprec.action"]) == (0, "retrieve")
    said = attributes(tools[0])
    assert (said["gen_ai.operation.name"], said["gen_ai.tool.name"]) == ("execute_tool", "retrieve_items")
    assert (said["gen_ai.tool.type"], said["deeprec.found"]) == ("datastore", 4)
    assert {span.status.code for span in receiver.spans} == {Status.STATUS_CODE_UNSET}


@pytest.mark.parametrize("with_content", [False, True])
async def test_content_goes_out_only_when_asked_for(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, receiver: Receiver, with_content: bool
) -> None:
    server.script = [SEARCH.format("SECRET comedy"), LIST.format("2\n1")]
    provider = make_provider(receiver.endpoint)
    recorder = OtelRecorder(NullRecorder(), provider, with_content=with_content)
    output = await run_agent(
        build_graph(policy, retriever, config=FREE, recorder=recorder),
        retriever,
        target_id="SECRET-t",
        group_id="SECRET-g",
    )
    provider.shutdown()
    everything = " ".join(str(span) for span in receiver.spans)
    items = [place["item_id"] for place in output["recommendations"]]
    assert ("SECRET" in everything) is with_content
    assert any(f'"{item}"' in everything for item in [*items, *retriever.catalogue.ids[:4]]) is with_content
    if not with_content:
        return
    [root], [tool] = receiver.named("invoke_agent deeprec"), receiver.named("execute_tool retrieve_items")
    turns = [attributes(span) for span in receiver.named(f"text_completion {MODEL}")]
    assert attributes(root)["user.id"] == "SECRET-u"
    assert attributes(root)["deeprec.recommended_ids"] == items
    [asked] = json.loads(attributes(root)["gen_ai.input.messages"])
    assert asked == {"role": "user", "parts": [{"type": "text", "content": PROMPT}]}
    [answer] = json.loads(turns[0]["gen_ai.output.messages"])
    assert [part["type"] for part in answer["parts"]] == ["text", "tool_call"]
    assert answer["parts"][1]["arguments"] == {"preference": "SECRET comedy"}
    assert json.loads(attributes(tool)["gen_ai.tool.call.arguments"]) == {"preference": "SECRET comedy", "k": 4}
    assert len(json.loads(attributes(tool)["gen_ai.tool.call.result"])) == 4


async def test_the_tools_protocol_makes_chat_spans(
    server: TinyServer, chat: ChatOpenAI, retriever: Retriever, receiver: Receiver
) -> None:
    call = {"name": "retrieve_items", "arguments": json.dumps({"preference": "comedy"})}
    ranked = {"name": "recommend_items", "arguments": json.dumps({"numbers": [2, 1]})}
    server.script = [
        {"tool_calls": [{"id": "a", "type": "function", "function": call}]},
        {"tool_calls": [{"id": "b", "type": "function", "function": ranked}]},
    ]
    provider = make_provider(receiver.endpoint)
    graph = build_graph(
        chat, retriever, config=FREE, recorder=OtelRecorder(NullRecorder(), provider, with_content=True)
    )
    output = await run_agent(graph, retriever)
    provider.shutdown()
    assert output["status"] == "finished"
    first, second = (attributes(span) for span in receiver.named(f"chat {MODEL}"))
    assert first["gen_ai.operation.name"] == "chat"
    assert [m["role"] for m in json.loads(first["gen_ai.input.messages"])] == ["system", "user"]
    assert PROMPT in first["gen_ai.input.messages"]
    assert json.loads(second["gen_ai.input.messages"])[0]["role"] == "tool"


async def test_failures_are_errors(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, receiver: Receiver
) -> None:
    server.script = [lambda handler: handler.answer(400, {"error": {"message": "no SECRET", "type": "bad"}})]
    provider = make_provider(receiver.endpoint)
    graph = build_graph(policy, retriever, config=FREE, recorder=OtelRecorder(NullRecorder(), provider))
    output = await run_agent(graph, retriever)
    server.script = ["no", "still no"]
    malformed = await run_agent(graph, retriever)
    provider.shutdown()
    assert (output["status"], malformed["status"]) == ("fallback", "malformed")
    first, second = receiver.named("invoke_agent deeprec")
    turn = receiver.named(f"text_completion {MODEL}")[0]
    assert [span.status.code for span in (first, second, turn)] == [Status.STATUS_CODE_ERROR] * 3
    assert attributes(first)["error.type"] == "fallback"
    assert attributes(second)["error.type"] == "malformed"
    assert attributes(turn)["error.type"] == "unavailable"
    assert "SECRET" not in " ".join(map(str, receiver.spans))


async def test_a_failing_recommender_is_an_error_of_the_tool(receiver: Receiver) -> None:
    provider, record = make_provider(receiver.endpoint), run_record()
    recorder = OtelRecorder(NullRecorder(), provider)
    await recorder.start_run(record)
    await recorder.record_retrieval(
        record.run_id, RetrievalRecord(position=0, turn=0, k=3, latency_ms=1, detail="down")
    )
    await recorder.finish_run(record.run_id, RunOutcome(status="fallback", latency_ms=1))
    provider.shutdown()
    [tool] = receiver.named("execute_tool retrieve_items")
    assert (tool.status.code, attributes(tool)["error.type"]) == (Status.STATUS_CODE_ERROR, "unavailable")


async def test_a_run_hangs_below_the_span_of_whoever_asked(receiver: Receiver) -> None:
    provider, record = make_provider(receiver.endpoint), run_record()
    recorder = OtelRecorder(NullRecorder(), provider)
    with provider.get_tracer("shop").start_as_current_span("POST /basket"):
        await recorder.start_run(record)
    await recorder.finish_run(record.run_id, RunOutcome(status="finished", latency_ms=1))
    provider.shutdown()
    [caller], [run] = receiver.named("POST /basket"), receiver.named("invoke_agent deeprec")
    assert (run.parent_span_id, run.trace_id) == (caller.span_id, caller.trace_id)


async def test_hostile_text_arrives(receiver: Receiver) -> None:
    provider, record = make_provider(receiver.endpoint), run_record(message="a\x00\udc80", policy_model="m\udc80")
    recorder = OtelRecorder(NullRecorder(), provider, with_content=True)
    await recorder.start_run(record)
    turn = TurnRecord(position=0, node="reason", action="malformed", latency_ms=math.nan, text="\udc80" + "x" * 100_000)
    await recorder.record_turn(record.run_id, turn)
    await recorder.finish_run(record.run_id, RunOutcome(status="finished", detail="\udc80", latency_ms=1))
    provider.shutdown()
    assert len(receiver.spans) == 2
    [span] = receiver.named("text_completion m\\udc80")
    assert len(attributes(span)["gen_ai.output.messages"]) < 31_000


async def test_the_inner_recorder_is_asked_and_its_refusal_passes(store: TraceStore, receiver: Receiver) -> None:
    provider, record = make_provider(receiver.endpoint), run_record()
    recorder = OtelRecorder(SqlRecorder(store), provider)
    await recorder.start_run(record)
    turn = TurnRecord(position=0, node="reason", action="malformed", latency_ms=1.0)
    await recorder.record_turn(record.run_id, turn)
    found = RetrievalRecord(position=0, turn=0, k=3, latency_ms=1.0)
    await recorder.record_retrieval(record.run_id, found)
    assert await recorder.load_turn(record.run_id, 0) == turn
    assert await recorder.load_turn(record.run_id, 1) is None
    assert await recorder.load_retrieval(record.run_id, 0) == found
    with pytest.raises(StepConflictError):
        await recorder.start_run(run_record(run_id=record.run_id, message="another"))
    await recorder.finish_run(record.run_id, RunOutcome(status="finished", latency_ms=1))
    provider.shutdown()
    assert len(receiver.named("invoke_agent deeprec")) == 1


async def test_a_turn_of_a_conversation_is_stored_and_makes_no_span(store: TraceStore, receiver: Receiver) -> None:
    provider = make_provider(receiver.endpoint)
    await OtelRecorder(SqlRecorder(store), provider).record_conversation_turn(made_conversation_turn())
    provider.shutdown()
    assert store.conversation("thread-1").turns == (made_conversation_turn(),)
    assert receiver.spans == []


async def test_steps_of_a_run_that_was_not_seen_to_start_make_no_spans(receiver: Receiver) -> None:
    provider = make_provider(receiver.endpoint)
    recorder = OtelRecorder(NullRecorder(), provider)
    await recorder.record_turn(uuid4(), TurnRecord(position=0, node="reason", action="malformed", latency_ms=1.0))
    await recorder.finish_run(uuid4(), RunOutcome(status="finished", latency_ms=1))
    provider.shutdown()
    assert receiver.spans == []


@pytest.mark.slow
async def test_a_dead_endpoint_is_not_felt_by_a_run(
    server: TinyServer,
    policy: CompletionPolicy,
    retriever: Retriever,
    store: TraceStore,
    dead_endpoint: str,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")  # it tries at once, and fails at once
    receiver.delay_s = 30.0  # one that takes the connection, and never answers
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    for endpoint in (dead_endpoint, receiver.endpoint, "http://nowhere.invalid:4318"):
        provider = make_provider(endpoint, timeout_s=1.0)
        recorder = OtelRecorder(SqlRecorder(store), provider)
        record = run_record()
        started = time.perf_counter()
        await recorder.start_run(record)
        for position in range(20):
            await recorder.record_turn(
                record.run_id, TurnRecord(position=position, node="reason", action="malformed", latency_ms=1)
            )
        await recorder.finish_run(record.run_id, RunOutcome(status="malformed", latency_ms=1))
        assert time.perf_counter() - started < 15, endpoint  # 22 steps that waited a second each would be longer
        server.script = [SEARCH.format("comedy"), LIST.format("2\n1")]
        output = await run_agent(build_graph(policy, retriever, config=FREE, recorder=recorder), retriever)
        assert (output["status"], len(output["recommendations"])) == ("finished", 3)
        assert not store.run(UUID(output["run_id"])).incomplete
        started = time.perf_counter()
        provider.shutdown()
        assert time.perf_counter() - started < 5, endpoint
    logging.getLogger("opentelemetry").setLevel(logging.NOTSET)


async def test_a_broken_provider_is_told_once_and_stops_nothing(
    store: TraceStore, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(trace_api.NoOpTracerProvider):
        def get_tracer(self, *args: Any, **options: Any) -> Any:
            return object()

    recorder, record = OtelRecorder(SqlRecorder(store), Broken()), run_record()
    for _ in range(2):
        await recorder.start_run(record)
        await recorder.record_turn(
            record.run_id, TurnRecord(position=0, node="reason", action="malformed", latency_ms=1)
        )
    await recorder.finish_run(record.run_id, RunOutcome(status="malformed", latency_ms=1))
    assert store.run(record.run_id).status == "malformed"
    assert [r.message for r in caplog.records if "Spans cannot be made" in r.message] == [
        "Spans cannot be made: 'object' object has no attribute 'start_span'. The runs go on without them."
    ]


async def test_spans_cost_a_step_next_to_nothing(dead_endpoint: str) -> None:
    provider, record = make_provider(dead_endpoint, timeout_s=0.1), run_record()
    recorder, bare = OtelRecorder(NullRecorder(), provider), NullRecorder()
    turn = TurnRecord(position=0, node="reason", action="malformed", latency_ms=1.0)
    await recorder.start_run(record)
    spent = []
    for each in (bare, recorder):
        started = time.perf_counter()
        for _ in range(300):
            await each.record_turn(record.run_id, turn)
        spent.append((time.perf_counter() - started) / 300)
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    provider.shutdown()
    logging.getLogger("opentelemetry").setLevel(logging.NOTSET)
    assert spent[1] - spent[0] < 0.03  # less than a third of what one wait for the endpoint is


def stored_run(store: TraceStore, **changes: Any) -> RunRecord:
    """A run of two turns and a retrieval that happened last week."""
    record = run_record(user_id="SECRET-u", message=PROMPT, sampling={"temperature": 0.5}, **changes)
    store.start_run(record)
    for position, action in enumerate(("retrieve", "recommend")):
        store.record_turn(
            record.run_id,
            TurnRecord(
                position=position,
                node="reason",
                action=action,
                latency_ms=1500.0,
                prompt_tokens=10,
                completion_tokens=4,
            ),
        )
    store.record_retrieval(
        record.run_id, RetrievalRecord(position=0, turn=0, k=3, latency_ms=250.0, preference="SECRET")
    )
    store.finish_run(record.run_id, RunOutcome(status="finished", latency_ms=1))
    start = datetime(2026, 11, 1, 12, 0, 0, 250_000, UTC)
    with store.writing() as connection:
        connection.execute(update(Run).values(started_at=start, finished_at=start + timedelta(seconds=9)))
        connection.execute(update(Retrieval).values(recorded_at=start + timedelta(seconds=3)))
        for position in (0, 1):
            at = start + timedelta(seconds=2 + 4 * position)
            connection.execute(update(Turn).where(Turn.position == position).values(recorded_at=at))
    return record


def test_stored_runs_are_sent_with_the_times_at_which_they_happened(store: TraceStore, receiver: Receiver) -> None:
    record = stored_run(store)
    sender = SpanSender(receiver.endpoint + "/api/otel")
    assert export_spans(store, [str(record.run_id)[:10]], sender.provider) == 4
    assert sender.send() == 4
    assert receiver.paths == ["/api/otel/v1/traces"]
    [root], turns, [tool] = (
        receiver.named("invoke_agent deeprec"),
        receiver.named("text_completion m"),
        receiver.named("execute_tool retrieve_items"),
    )
    assert {span.parent_span_id for span in (*turns, tool)} == {root.span_id}
    zero = int(datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC).timestamp()) * 10**9 + 250_000_000
    times = [(s.start_time_unix_nano - zero, s.end_time_unix_nano - zero) for s in (root, *turns, tool)]
    assert [(start / 1e9, end / 1e9) for start, end in times] == [(0, 9), (0.5, 2), (4.5, 6), (2.75, 3)]
    assert attributes(root)["gen_ai.usage.input_tokens"] == 20
    assert "SECRET" not in " ".join(map(str, receiver.spans))


def test_stored_runs_with_content_and_runs_that_were_killed(store: TraceStore, receiver: Receiver) -> None:
    record = stored_run(store)
    store.start_run(killed := run_record())
    sender = SpanSender(receiver.endpoint)
    export_spans(store, [record.run_id, killed.run_id], sender.provider, with_content=True)
    assert sender.send() == 5
    assert "SECRET" in " ".join(map(str, receiver.spans))
    statuses = {attributes(span)["deeprec.run.status"] for span in receiver.named("invoke_agent deeprec")}
    assert statuses == {"finished", "running"}
    assert len({span.trace_id for span in receiver.named("invoke_agent deeprec")}) == 2


@pytest.mark.slow
def test_what_cannot_be_sent_is_said(store: TraceStore, dead_endpoint: str, receiver: Receiver, tmp_path: Path) -> None:
    record = stored_run(store)
    sender = SpanSender(dead_endpoint, timeout_s=2)
    with pytest.raises(RunNotFoundError):
        export_spans(store, [record.run_id, "0000"], sender.provider)
    export_spans(store, [record.run_id], sender.provider)
    with pytest.raises(
        TraceStoreError, match=rf"{dead_endpoint} took 0 of 4 spans: .*Connection refused.*a collector listens"
    ):
        sender.send()
    receiver.status = 401
    refused = SpanSender(receiver.endpoint)
    export_spans(store, [record.run_id], refused.provider)
    with pytest.raises(TraceStoreError, match=r"took 0 of 4 spans: .*401"):
        refused.send()


def test_keys_travel_as_headers(store: TraceStore, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20abc")
    sender = SpanSender(receiver.endpoint)
    export_spans(store, [stored_run(store).run_id], sender.provider)
    sender.send()
    assert receiver.headers[0].get("authorization") == "Basic abc"


@pytest.mark.parametrize("endpoint", ["localhost:4318", "", "ftp://x", "http://", "http://h:99999", "http://[x"])
def test_an_address_that_is_none(endpoint: str) -> None:
    for make in (make_provider, SpanSender):
        with pytest.raises(ConfigError, match="is not an OTLP address"):
            make(endpoint)


def recommend(artifact: Path, server: TinyServer, store: Path, *options: str) -> tuple[int, float]:
    fixed = ("--history", "900,893", "--artifact", artifact, "--base-url", server.base_url, "--store", store)
    started = time.perf_counter()
    with pytest.raises(SystemExit) as ended:
        main(["recommend", *map(str, fixed), "--json", *options])
    return int(ended.value.code or 0), time.perf_counter() - started


@pytest.mark.slow
def test_recommend_sends_spans_and_a_dead_endpoint_is_one_line(
    server: TinyServer,
    artifact_folder: Path,
    tmp_path: Path,
    receiver: Receiver,
    dead_endpoint: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, plain_s = recommend(artifact_folder, server, tmp_path / "a.db", "--seed", "1")
    assert code == 0
    capsys.readouterr()
    assert recommend(artifact_folder, server, tmp_path / "a.db", "--otel-endpoint", receiver.endpoint)[0] == 0
    told = capsys.readouterr()
    assert (json.loads(told.out)["recommendations"] != [], told.err) == (True, "")
    [root] = receiver.named("invoke_agent deeprec")
    assert attributes(root)["gen_ai.conversation.id"] == json.loads(told.out)["run_id"]
    assert "gen_ai.output.messages" not in attributes(root)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    assert recommend(artifact_folder, server, tmp_path / "a.db")[0] == 0
    assert "gen_ai.output.messages" in attributes(receiver.named("invoke_agent deeprec")[1])
    capsys.readouterr()
    code, dead_s = recommend(
        artifact_folder, server, tmp_path / "a.db", "--seed", "1", "--otel-endpoint", dead_endpoint
    )
    told = capsys.readouterr()
    assert (code, len(json.loads(told.out)["recommendations"])) == (0, 10)
    assert len(told.err.splitlines()) == 1
    assert told.err.startswith(f"Note: not all spans reached {dead_endpoint}: ")
    assert dead_s - plain_s < 5
    assert recommend(artifact_folder, server, tmp_path / "a.db", "--otel-endpoint", "nowhere")[0] == 2


def test_a_password_in_an_endpoint_is_not_shown() -> None:
    assert without_password("https://me:secret@collector:4318/v1") == "https://collector:4318/v1"
    assert without_password("http://collector:4318") == "http://collector:4318"
