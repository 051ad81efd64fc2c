"""The collection of demonstrations: requests are read one by one, and each worth showing becomes a run in a store."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid5

from deeprec.agent import (
    AgentConfig,
    AgentInput,
    AgentState,
    Prompts,
    SqlRecorder,
    TaggedProtocol,
    TraceStore,
    build_graph,
    make_agent_config,
    run_many,
    shipped_settings,
)
from deeprec.agent.graph.offered_phrases import OfferedPhrases
from deeprec.agent.graph.recommender_calls import RecommenderCalls
from deeprec.agent.graph.run_clock import run_clock
from deeprec.agent.graph.run_start import RunStart
from deeprec.agent.traces import RunFilter
from deeprec.evals.requests.agent_requests import make_agent_request, run_seed
from deeprec.evals.requests.cases import Case
from deeprec.training.demonstrations.demonstrator import DEMONSTRATOR, MAX_NUMBERS, Demonstrator
from deeprec.training.demonstrations.preferences import CLOSEST, MAX_PHRASES, NoPreference, PreferenceChooser
from deeprec.training.demonstrations.request_filter import Refusal, RequestFilter
from deeprec.trm_tool import ConfigError, Dataset, Recommender
from deeprec.trm_tool.data import Request, with_known_items

_NAMESPACE = UUID("6b1f2f0a-3c0e-4c9d-9a51-0f7f1c1d7a35")
OTHER_ENDING = "the run ended without the list that was to be shown"


def _default_agent() -> AgentConfig:
    return make_agent_config({"guided_positions": None}, **shipped_settings())  # the whole list is shown


@dataclass(frozen=True, slots=True, kw_only=True)
class DemonstrationConfig:
    """How demonstrations are made.

    Raises:
        ConfigError: a value is out of its range, or the runs would not be those of a demonstrator.
    """

    name: str = "demonstrations"
    """The suite under which the runs are stored, as NAME@…: a digest of what makes them comparable is added."""
    agent: AgentConfig = field(default_factory=_default_agent)
    """The settings of the runs; by default those of the adapter that ships with the package."""
    max_phrases: int = MAX_PHRASES
    """Phrases that a demonstration asks for, at most; at most 6."""
    closest: int = CLOSEST
    """How many of the phrases that are the closest to a message it supports; 0 for those alone that it names."""

    def __post_init__(self) -> None:
        if not self.name or "@" in self.name:
            raise ConfigError(f"DemonstrationConfig.name is {self.name[:80]!r}. Give a name without @.")
        if not 1 <= self.max_phrases <= 6:
            raise ConfigError(f"DemonstrationConfig.max_phrases is {self.max_phrases}. Give a number from 1 to 6.")
        if self.closest < 0:
            raise ConfigError(f"DemonstrationConfig.closest is {self.closest}. Give 0 or more.")
        agent = self.agent
        if not agent.guided or agent.prompts != "words" or agent.max_retrievals != 1:
            raise ConfigError(
                "A demonstration is a guided run of one retrieval with the prompts `words`. Set guided=True, "
                'prompts="words" and max_retrievals=1, or leave `agent` out.'
            )
        if max(agent.k, agent.retrieve_k) > MAX_NUMBERS:
            raise ConfigError(f"A demonstration names items up to number {MAX_NUMBERS}. Lower k and retrieve_k.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstrations:
    """What became of the requests."""

    suite: str
    """The label under which the runs are stored."""
    requests: int
    """Requests that were read."""
    cases: int
    """Targets of them that may be demonstrated."""
    runs: int
    """Demonstrations of these requests in the store."""
    new: int
    """Those that this call made."""
    left_out: Mapping[str, int]
    """Reason -> how many requests or targets of them no demonstration was made of."""
    unknown_ids: Mapping[str, int]
    """Field of a request -> ids that the catalogue lacks, and that were skipped."""
    mean_reciprocal_rank_before: float | None
    """1 / rank of the targets of the new runs by history and words, their mean; None without new runs."""
    mean_reciprocal_rank: float | None
    """The same with the preferences."""


def collect_demonstrations(
    requests: Iterable[Request],
    recommender: Recommender,
    store: TraceStore,
    *,
    base: Path | str,
    dataset: Dataset | None = None,
    held_out: Sequence[Case] = (),
    allow_leaks: bool = False,
    config: DemonstrationConfig | None = None,
    on_progress: Callable[[int, int], Any] | None = None,
) -> Demonstrations:
    """Demonstrate what a policy should ask for, for each request and target, and go on where an earlier call stopped.

    What is asked for are phrases that the words support, that are true of the target, and that raise it in the
    recommender's ranking, with what the words refuse and bound (`PreferenceChooser`). The run goes through the agent's
    own graph, so that its tokens are those that a policy would have written and seen; the target is in its lineage
    alone. A run that is stored is not made again. Requests are read one by one; what is kept are their runs' ids.

    Args:
        requests: Made ones, or those of one's own log (`read_requests`).
        recommender: What the runs ask. Its catalogue must not change meanwhile.
        store: Logs the runs; `train_sft` learns from them.
        base: The language model that is to learn: a folder or a Hugging Face id, of which only the tokenizer is read.
        dataset: What the recommender was trained on. Validation and test targets of its people are left out.
        held_out: Cases that the policy is validated or tested on: their conversations and pairs are left out.
        allow_leaks: Whether requests about held-out targets, in words of tests, and of people without a split count.
        config: The settings.
        on_progress: Called after each request with the number of requests and of runs so far.

    Raises:
        ConfigError: the recommender has learned the targets of the training split or was trained on other data, or the
            base model cannot be read.
        DataError: a request cannot be read.
    """
    config = config or DemonstrationConfig()
    requests_filter = RequestFilter(recommender, dataset, held_out=held_out, allow_leaks=allow_leaks)
    collector = _Collector(recommender, store, Demonstrator(base), config)
    return asyncio.run(collector.collect(requests, requests_filter, on_progress or (lambda requests, runs: None)))


class _Collector:
    def __init__(
        self, recommender: Recommender, store: TraceStore, demonstrator: Demonstrator, config: DemonstrationConfig
    ) -> None:
        prompts = Prompts.words()
        self._recommender, self._store, self._config = recommender, store, config
        self._demonstrator = demonstrator
        self._protocol = TaggedProtocol(demonstrator, guided=True, prompts=prompts)
        calls = RecommenderCalls(recommender)
        self._offered = OfferedPhrases(recommender, calls, is_guided=True, has_card=prompts.has_card)
        self._chooser = PreferenceChooser(
            recommender, config.agent, max_phrases=config.max_phrases, closest=config.closest
        )
        defaults = asdict(AgentConfig())  # a setting that comes later counts where it is not the default
        made_with = {
            "agent": {name: value for name, value in asdict(config.agent).items() if value != defaults[name]},
            "max_phrases": config.max_phrases,
            "closest": config.closest,
            "recommender": recommender.identity.fingerprint,
            "prompts": prompts.version,
            "tokens": demonstrator.fingerprint,
        }
        self._label = f"{config.name}@{_digest(made_with)[:8]}"

    async def collect(
        self, requests: Iterable[Request], requests_filter: RequestFilter, on_progress: Callable[[int, int], Any]
    ) -> Demonstrations:
        read = cases = runs = new = 0
        before = after = 0.0
        left_out, unknown = Counter[str](), Counter[str]()
        ended = {run_id for page in self._store.run_ids(RunFilter(label=self._label, ended=True)) for run_id in page}

        def counted() -> Iterator[Request]:
            nonlocal read
            for request in requests:
                read += 1
                yield request

        with SqlRecorder(self._store) as recorder:
            graph = build_graph(
                None, self._recommender, protocol=self._protocol, config=self._config.agent, recorder=recorder
            )
            for request in with_known_items(counted(), self._recommender.catalogue, unknown):
                for found in requests_filter.of(request):
                    if isinstance(found, Refusal):
                        left_out[found] += 1
                        continue
                    case, split = found
                    cases += 1
                    asked = self._agent_request(case, split)
                    run_id = UUID(asked["lineage"]["run_id"])  # type: ignore[index]
                    if run_id in ended:
                        runs += 1
                        continue
                    chosen = self._chooser.choose(case, await self._offer(asked))
                    if isinstance(chosen, NoPreference):
                        left_out[chosen] += 1
                        continue
                    self._demonstrator.preference = chosen.text
                    [output] = await run_many(graph, [asked], raise_errors=True)
                    if output["status"] != "finished":
                        self._store.delete_run(run_id)
                        left_out[f"{OTHER_ENDING} ({output['status']}: {output['detail']})"[:300]] += 1
                        continue
                    runs, new = runs + 1, new + 1
                    before, after = before + 1 / chosen.rank_before, after + 1 / chosen.rank
                on_progress(read, runs)
        left_out[Refusal.UNKNOWN_TARGETS] += unknown.pop("requests", 0)
        return Demonstrations(
            suite=self._label,
            requests=read,
            cases=cases,
            runs=runs,
            new=new,
            left_out={str(reason): count for reason, count in left_out.most_common() if count},
            unknown_ids=dict(unknown),
            mean_reciprocal_rank_before=before / new if new else None,
            mean_reciprocal_rank=after / new if new else None,
        )

    def _agent_request(self, case: Case, split: str | None) -> AgentInput:
        content = _digest([case.key, case.user, case.history, case.message, case.where])
        asked = make_agent_request(
            case,
            suite=self._label,
            split=split or "",
            seed=run_seed(self._label, case.key),
            run_id=uuid5(_NAMESPACE, f"{self._label}|{content}"),
            system=DEMONSTRATOR,
            group_id=f"{self._label}/{case.key}",
        )
        if split is None:
            del asked["lineage"]["split"]  # type: ignore[union-attr]
        return asked

    async def _offer(self, asked: AgentInput) -> Any:
        """What the run will offer."""
        start, _ = RunStart.of(cast(AgentState, asked), "").known(self._recommender.catalogue, is_strict=False)
        return await self._offered.choose(start, self._config.agent, run_clock())


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
