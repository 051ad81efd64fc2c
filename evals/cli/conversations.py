"""`deeprec eval converse`: the shopping agent and plain systems in conversations with the same simulated people."""

from __future__ import annotations

import asyncio
import json
import math
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from deeprec.evals.cli.terminal_table import terminal_table
from deeprec.trm_tool.cli.options import DEFAULT_ARTIFACT, MAX_SEED, JsonOption, artifact_is_there, notes_replaced
from deeprec.trm_tool.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deeprec.evals.metrics.ranking import Interval
    from deeprec.evals.simulation.conversations import ConversingAgent
    from deeprec.evals.simulation.outcome_file import OutcomeFile

_SHOWN = (
    "success",
    "turns_to_success",
    "questions",
    "satisfaction",
    "found_target",
    "violations",
    "broken",
    "ungrounded",
    "actions",
    "missed_actions",
    "unasked_actions",
    "claims",
    "false_claims",
)


def converse(
    data: Annotated[str, typer.Option(help="Whose people talk: ml-100k, or a folder of RecBole files.")] = "ml-100k",
    artifact: Annotated[
        Path, typer.Option(help="The recommender of all systems.", callback=artifact_is_there)
    ] = DEFAULT_ARTIFACT,
    people: Annotated[int, typer.Option(min=2, help="So many people talk with each system.")] = 100,
    base_url: Annotated[
        str | None,
        typer.Option(
            envvar="DEEPREC_BASE_URL",
            help="The model's server. Without one, and without --serve, the agent goes by rules and the recommender.",
        ),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve the embedded model for as long as people talk.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Draws the people, their needs and sentences.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Also write each conversation into this file of JSON lines. Until all have ended they stand in "
            "FILE.part, from which the same command goes on."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Let simulated people talk with the shopping agent and with plain systems, and compare them.

    The people know what they need and no item. With the shopping agent those who found something also ask for cart
    actions, and what it claims is compared with the cart. Differences are paired by person, with 95% intervals.
    """
    import random

    from deeprec.agent import load_shipped_adapter, make_server, pull_embedded_model, wait_with_progress
    from deeprec.agent.serving.shipped_adapter import SHIPPED_ADAPTER
    from deeprec.agent.serving.smollm2 import EMBEDDED_MODEL
    from deeprec.evals import __version__
    from deeprec.evals.simulation.drawn_needs import NeedConfig, make_need_cards
    from deeprec.evals.simulation.outcome_file import OutcomeFile
    from deeprec.evals.suites.suite import read_named_data
    from deeprec.trm_tool import Retriever

    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise ConfigError(f"--out {out} cannot be written. Name a file in a folder that is there.")
    if serve and base_url is not None:
        raise ConfigError("--serve starts a server, and --base-url names one. Give one of the two.")
    console = Console(stderr=True)
    dataset = read_named_data(data)
    retriever = Retriever.load(artifact)
    needs = make_need_cards(dataset, NeedConfig(seed=seed))
    drawn = random.Random(seed).sample(needs, min(people, len(needs)))
    file, server = None, None
    if out is not None:
        policy = SHIPPED_ADAPTER if serve or base_url is not None else None
        made_of = {"data": data, "seed": seed, "recommender": retriever.identity.fingerprint, "policy": policy}
        file = OutcomeFile(out, {**made_of, "version": __version__})
    if serve:
        server = make_server(pull_embedded_model(EMBEDDED_MODEL), log=Path(".deeprec/logs/server.log"))
    with server or nullcontext():
        if server is not None:
            wait_with_progress(server, console)
            base_url = server.base_url
            asyncio.run(load_shipped_adapter(server))
        outcomes = asyncio.run(_run(retriever, drawn, base_url, seed, console, file))
    _show(outcomes, as_json=as_json)
    if file is not None:
        with notes_replaced(file.path, "conversations"):
            file.finish(outcomes)


async def _run(
    retriever: Any, needs: list[Any], base_url: str | None, seed: int, console: Console, file: OutcomeFile | None
) -> dict[str, Any]:
    from langgraph.checkpoint.memory import InMemorySaver

    from deeprec.agent import AgentConfig, CompletionPolicy, make_agent_config, shipped_settings
    from deeprec.agent.serving.shipped_adapter import SHIPPED_ADAPTER
    from deeprec.agent.shopping import MemoryCart, build_shopping_agent
    from deeprec.evals.simulation.conversations import run_conversations
    from deeprec.evals.simulation.graph_agent import make_graph_agent
    from deeprec.evals.simulation.plain_agents import make_all_messages_agent, make_last_message_agent

    def shopping(policy: CompletionPolicy | None, config: AgentConfig | None = None) -> ConversingAgent:
        cart = MemoryCart()
        graph = build_shopping_agent(policy, retriever, config=config, cart=cart, checkpointer=InMemorySaver())
        return make_graph_agent(graph, cart)

    systems: dict[str, ConversingAgent] = {
        "shopping-rules": shopping(None),
        "all-messages": make_all_messages_agent(retriever),
        "no-repeats": make_all_messages_agent(retriever, repeats=False),
        "last-message": make_last_message_agent(retriever),
    }
    policy = None
    if base_url is not None:
        policy = CompletionPolicy(base_url, adapter=SHIPPED_ADAPTER)
        systems = {"shopping": shopping(policy, make_agent_config({"k": 5}, **shipped_settings())), **systems}
    outcomes = {}
    async with policy or nullcontext():
        for name, agent in systems.items():
            ended = {} if file is None else file.kept(name)
            left = [need for need in needs if need.person not in ended]
            console.print(f"{len(left)} conversations with {name} …", highlight=False)
            done = None if file is None else partial(file.add, name)
            new = await run_conversations(agent, left, retriever.catalogue, seed=seed, done=done)
            ended |= {outcome.person: outcome for outcome in new}
            outcomes[name] = [ended[need.person] for need in needs]
    return outcomes


def _show(outcomes: Mapping[str, Any], *, as_json: bool) -> None:
    from deeprec.evals.simulation.outcomes import compare_conversations, measure_conversations

    first = next(iter(outcomes))
    measured = {name: measure_conversations(listed) for name, listed in outcomes.items()}
    compared = {
        name: compare_conversations(outcomes[first], listed) for name, listed in outcomes.items() if name != first
    }
    if as_json:
        result = {
            "conversations": len(outcomes[first]),
            "measures": _dicts(measured),
            f"{first} less": _dicts(compared),
        }
        typer.echo(json.dumps(result, indent=2, allow_nan=False))
        return
    console = Console(highlight=False)
    table = terminal_table(f"{len(outcomes[first])} simulated conversations each", "measure", *measured)
    for measure in _SHOWN:
        table.add_row(measure, *(_short(values[measure].mean) for values in measured.values()))
    console.print(table)
    table = terminal_table(f"{first} less the others, paired, 95%", "system", "success", "turns to success")
    for name, values in compared.items():
        table.add_row(name, values["success"].text(signed=True), values["turns_to_success"].text(signed=True))
    console.print()
    console.print(table)
    own = {name: values[name] for values in [measured[first]] for name in ("agent_errors", "voice_errors", "leaks")}
    console.print("\n" + ", ".join(f"{name.replace('_', ' ')} {each.mean:.3f}" for name, each in own.items()))


def _dicts(values: Mapping[str, Mapping[str, Interval]]) -> dict[str, dict[str, Any]]:
    return {name: {measure: each.to_dict() for measure, each in of.items()} for name, of in values.items()}


def _short(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}".lstrip("0") if 0 < value < 1 else f"{value:.2f}"
