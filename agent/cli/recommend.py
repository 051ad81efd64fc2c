"""`deeprec recommend`: run the agent for one person."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deeprec.agent.cli.person_history import history_of_user
from deeprec.agent.cli.policy_options import AgentOptions, BaseUrlOption, ModelOption, open_policy
from deeprec.agent.cli.trace_options import DEFAULT_STORE
from deeprec.agent.graph.config import AgentConfig, make_agent_config
from deeprec.agent.graph.turn_seeds import MAX_SEED
from deeprec.agent.serving.server_process import DEFAULT_BASE_URL
from deeprec.agent.views.run_facts import constraint_lines
from deeprec.agent.views.visible_text import visible, visible_json
from deeprec.trm_tool.cli.item_ids import IDS_HELP, read_ids
from deeprec.trm_tool.cli.option_groups import option_groups
from deeprec.trm_tool.cli.options import (
    DEFAULT_ARTIFACT,
    ArtifactOption,
    ColumnOptions,
    DataOption,
    JsonOption,
    SignalsOption,
    WhereOption,
    read_where,
)
from deeprec.trm_tool.errors import ConfigError

if TYPE_CHECKING:
    from deeprec.agent.graph.state import AgentInput, AgentOutput
    from deeprec.agent.traces.export.otlp import SpanOptions
    from deeprec.trm_tool import Retriever

app = typer.Typer(add_completion=False)

MAX_SUMMARY_CHARS = 100
"""Characters of an item's title and attributes in the list."""


class ProtocolName(StrEnum):
    """How the model calls the recommender."""

    TAGGED = "tagged"
    TOOLS = "tools"


@app.command()
@option_groups
def recommend(
    *,
    user: Annotated[str | None, typer.Option(help="Recommend to this user of --data, by the whole history.")] = None,
    history: Annotated[
        list[str] | None, typer.Option(help=f"Recommend by this history, the latest last. {IDS_HELP}.")
    ] = None,
    message: Annotated[
        str | None, typer.Option(help='What the person asks for, in words: "something lighter".')
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(help=f"What must not come back. {IDS_HELP}.")] = None,
    where: WhereOption = None,
    artifact: ArtifactOption = DEFAULT_ARTIFACT,
    signals: SignalsOption = None,
    data: DataOption = None,
    columns: ColumnOptions = ColumnOptions(),
    base_url: BaseUrlOption = DEFAULT_BASE_URL,
    model: ModelOption = None,
    protocol: Annotated[
        ProtocolName,
        typer.Option(
            help="How the model calls the recommender: tagged needs a server of `llm serve`, tools works with any."
        ),
    ] = ProtocolName.TAGGED,
    agent: AgentOptions,
    tenant: Annotated[str | None, typer.Option(help="The tenant, such as a shop, that the run is logged for.")] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, max=MAX_SEED, help="Seed of the sampling. A run without one cannot be repeated token by token."
        ),
    ] = None,
    store: Annotated[
        str, typer.Option(envvar="DEEPREC_STORE", help="The trace store that the run is logged to.")
    ] = DEFAULT_STORE,
    otel_endpoint: Annotated[
        str | None,
        typer.Option(
            envvar="OTEL_EXPORTER_OTLP_ENDPOINT", help="Also send spans of the run to this OTLP/HTTP address."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Recommend items to one person, and log the run. The API key is read from DEEPREC_API_KEY or OPENAI_API_KEY."""
    if (user is None) == (not history):
        raise ConfigError(
            "A list is for one person: give either --user ID, or --history ID,ID,… (--history '' for a stranger)."
        )
    conditions = read_where(where)
    from deeprec.agent.graph.state import AgentInput, Lineage
    from deeprec.agent.serving.shipped_adapter import find_shipped_adapter, shipped_settings
    from deeprec.agent.traces.export.otlp import spans_to
    from deeprec.trm_tool import Retriever

    config = make_agent_config({"guided": protocol is ProtocolName.TAGGED} | agent)
    retriever = Retriever.load(artifact, reranking=signals)
    if user is not None:
        dataset = columns.read(data)
        items = history_of_user(user, dataset, retriever, artifact, named=data is not None)
    else:
        items = read_ids(history, retriever.catalogue)
    lineage = Lineage(**_given(tenant=tenant, user_id=user, seed=seed))  # type: ignore[typeddict-item]
    request = AgentInput(
        history=list(items),
        message=message,
        where=conditions,
        exclude=read_ids(exclude, retriever.catalogue),
        lineage=lineage,
    )
    adapter = None
    if protocol is ProtocolName.TAGGED and agent.get("prompts") in (None, "words"):
        adapter = asyncio.run(find_shipped_adapter(base_url, model))
        config = make_agent_config(agent, **shipped_settings()) if adapter else config
    with spans_to(otel_endpoint) as spans:
        server = (base_url, None if adapter else model, adapter)
        output = asyncio.run(_run(request, retriever, config, server, protocol, store, spans, quiet=as_json))
        if as_json:
            typer.echo(visible_json({**output, "recommendations": _with_attributes(output, retriever)}))
        else:
            _print(output, retriever, config.k, artifact)


async def _run(
    request: AgentInput,
    retriever: Retriever,
    config: AgentConfig,
    server: tuple[str, str | None, str | None],
    protocol: ProtocolName,
    store: str,
    spans: SpanOptions | None,
    *,
    quiet: bool,
) -> AgentOutput:
    from deeprec.agent.graph.build import build_graph
    from deeprec.agent.graph.many_runs import run_many
    from deeprec.agent.traces.export.otel import OtelRecorder
    from deeprec.agent.traces.store.recorder import Recorder, SqlRecorder
    from deeprec.agent.traces.store.store import TraceStore

    base_url, model, adapter = server
    asked = open_policy(
        base_url,
        model,
        protocol=protocol.value,
        temperature=config.temperature,
        top_p=config.top_p,
        adapter=adapter,
    )
    async with asked as (name, policy):
        with TraceStore(store) as traces, SqlRecorder(traces) as logged:
            recorder: Recorder = logged
            if spans is not None:
                recorder = OtelRecorder(logged, spans.provider, with_content=spans.with_content)
            graph = build_graph(policy, retriever, protocol=protocol.value, config=config, recorder=recorder)
            progress = Console(stderr=True)
            with nullcontext() if quiet else progress.status(f"{name} is reasoning…"):
                [output] = await run_many(
                    graph,
                    [request],
                    raise_errors=True,
                    on_update=None if quiet else lambda _, *step: _report(progress, *step),
                )
        return output


def _report(console: Console, node: str, wrote: Any) -> None:
    from deeprec.agent.graph.many_runs import step_text

    if line := step_text(node, wrote):
        console.print(Text(visible(f"  {line}"), style="dim"))


def _with_attributes(output: AgentOutput, retriever: Retriever) -> list[dict[str, Any]]:
    """The recommendations, each with the attributes of its item."""
    items = retriever.catalogue
    return [{**each, "attributes": dict(items.item(each["item_id"]).attributes)} for each in output["recommendations"]]


def _print(output: AgentOutput, retriever: Retriever, k: int, artifact: Path) -> None:
    from deeprec.agent.protocols.prompts import MAX_MESSAGE_CHARS

    table = Table("", "Item", "Title and attributes", "Found by", box=None)
    for item in output["recommendations"]:
        found = f"retrieval {item['retrieval'] + 1}" if item["retrieval"] is not None else "the recommender alone"
        origin = found if item["source"] != "filled" else f"{found}, not ranked by the model"
        summary = Text(visible(retriever.catalogue.summary(item["item_id"], MAX_SUMMARY_CHARS)))
        table.add_row(str(item["rank"]), Text(visible(item["item_id"])), summary, origin)
    console = Console()
    console.print(table)
    if output["status"] != "finished":
        console.print(Text(visible(f"The run ended as {output['status']}: {output['detail']}"), style="yellow"))
    if output["status"] == "malformed":
        hint = "A model that was not trained on the format keeps it with --prompts instruct, any model with --guided."
        console.print(Text(hint, style="yellow"), soft_wrap=True)
    if output["message_cut"]:
        cut = f"Only the first {MAX_MESSAGE_CHARS:,} characters of the message were read."
        console.print(Text(cut, style="yellow"))
    if unknown := output["unknown_items"]:
        names = ", ".join(unknown[:10])
        items = "1 item" if len(unknown) == 1 else f"{len(unknown)} items"
        console.print(Text(visible(f"The catalogue lacks {items} of the history: {names}."), style="yellow"))
    for stated in constraint_lines(output["constraints"]):
        console.print(Text(visible(f"{stated[0].upper()}{stated[1:]}."), style="yellow"), soft_wrap=True)
    for name in output["unenforced"]:
        console.print(Text(visible(f"The catalogue cannot enforce the constraint on {name}."), style="yellow"))
    if len(output["recommendations"]) < k:
        few = f"{len(output['recommendations'])} of {k} items: the retrievals found no more."
        console.print(Text(few, style="yellow"))
    console.print(
        Text(
            f"deeprec traces show {output['run_id'][:8]} --artifact {artifact}   shows how this list was made",
            style="dim",
        ),
        soft_wrap=True,
    )


def _given(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
