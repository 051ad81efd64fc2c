"""Running a suite: every system for the same users, everything into the trace store, and on from where it stopped."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray

from deeprec.agent import CompletionPolicy, RunTrace, SqlRecorder, TraceStore, build_graph, make_chat_model
from deeprec.agent.serving.shipped_adapter import find_shipped_adapter
from deeprec.evals.requests.agent_requests import make_agent_request, make_test_messages, run_seed
from deeprec.evals.requests.cases import Case, make_cases
from deeprec.evals.requests.leaks import (
    check_cases,
    check_disjoint,
    check_holdout,
    check_request_cases,
    evaluated_pairs,
    held_out_cases,
    learned_pairs,
)
from deeprec.evals.requests.request_cases import MADE_TEST, with_other_words
from deeprec.evals.suites.entry_systems import make_entry_systems, shuffled_entries, source_entry
from deeprec.evals.suites.listed_runs import make_listed_run
from deeprec.evals.suites.progress import ProgressCounter, SuiteProgress
from deeprec.evals.suites.results import measured_runs
from deeprec.evals.suites.row_checks import check_model, check_settings
from deeprec.evals.suites.run_scores import RunScorer
from deeprec.evals.suites.served_runs import run_on_server
from deeprec.evals.suites.suite import (
    MAX_REQUEST_SECONDS,
    Entry,
    Suite,
    draw_cases,
    entry_seeds,
    suite_label,
    suite_requests,
)
from deeprec.evals.systems.catalogue_rows import make_row_finder
from deeprec.evals.systems.recommender_variants import HistoryOnly, ShuffledHistoryOnly
from deeprec.evals.systems.setting import Setting
from deeprec.evals.systems.suite_systems import SYSTEMS, AgentSystem, AnySystem, DerivedSystem, with_signals
from deeprec.evals.systems.system import System
from deeprec.trm_tool import (
    Artifact,
    CachedEncoder,
    ConfigError,
    Dataset,
    Encoder,
    Recommender,
    Retriever,
    ScoredItem,
    encoder_of_artifact,
)
from deeprec.trm_tool.catalogue.filters import AttributeIndex
from deeprec.trm_tool.trm.ranking import best

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

_NAMESPACE = UUID("6a3b8f0e-5d0c-4f6e-9d1b-2f6f7f0f4c11")
_BATCH = 256


def run_suite(
    suite: Suite,
    store: TraceStore,
    *,
    dataset: Dataset,
    artifact: Artifact | Recommender,
    base_url: str | None = None,
    encoder: Encoder | None = None,
    cache: Path | None = None,
    only: Sequence[str] = (),
    max_concurrency: int = 32,
    on_progress: Callable[[SuiteProgress], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    systems: Mapping[str, Callable[[Setting], AnySystem]] = SYSTEMS,
) -> str:
    """Run what of a suite is not stored yet, and measure every run as it ends.

    Seen items are masked for every system alike: lists are cut here, agents retrieve with the recommender's own mask.

    Args:
        suite: What to run.
        store: Where every run goes, under the label that is returned.
        dataset: The suite's data.
        artifact: The recommender of all systems: the TRM, or one of your own. What needs the TRM's weights (the
            similarity reward, the measures of a list's diversity and popularity) is left out for another.
        base_url: A model server, for the agents; None where the suite has none.
        encoder: The artifact's own; None makes it by its id. For another recommender: what compares preferences in the
            diversity reward; None leaves that reward out.
        cache: Folder that keeps text embeddings, for the systems without a language model: an encoder that has nothing
            to encode is not even loaded. None keeps nothing.
        only: Names of entries to run; empty runs all.
        max_concurrency: Agents at once.
        on_progress: Called after each run, or batch of runs.
        on_note: Called with a sentence about what was left out of the requests, and about what the guards rely on.
        systems: What names in the suite mean.

    Returns:
        The label that the runs are stored under (`load_results`).

    Raises:
        ConfigError: an unknown system, a recommender that has learned targets of the suite or does not report what it
            has learned, no server for the agents.
        ServerLostError: the server became unavailable.
    """
    recommender, for_agents = _recommenders(artifact, encoder, cache)
    if suite.requests in (None, MADE_TEST):  # a file's targets are of no split: its pairs alone decide
        check_holdout(recommender, dataset, suite.split)
    requests = suite_requests(suite, dataset, recommender.catalogue)
    answered = make_cases(dataset, suite.split) if requests is None else held_out_cases(recommender, requests.cases)
    if not answered:
        raise ConfigError(
            f"No conversation of the requests of {suite.name} lies in the fold that the recommender's training left "
            "out, so it may have learned them all. Name other requests, or train it without another fold."
        )
    cases = draw_cases(suite, answered)
    if requests is None:
        check_cases(cases, dataset, suite.split)
        check_disjoint(evaluated_pairs(cases), learned_pairs(recommender, dataset), by="the recommender")
    else:
        outside = len(requests.cases) - len(answered)
        learned = [f"{outside} cases lie outside the fold that the recommender's training left out."] if outside else []
        for note in (*check_request_cases(recommender, dataset, cases), *learned, *requests.notes):
            (on_note or (lambda _: None))(note)
    setting = Setting(suite=suite, dataset=dataset, recommender=recommender, cases=cases)
    label = suite_label(suite, dataset, recommender.identity.fingerprint, cases)
    every = make_entry_systems(setting, systems, only)
    made = [(entry, system) for entry, system in every if not only or entry.name in only]
    has_signals = any(entry.signals for entry, _ in made)
    harness = _Harness(
        label=label,
        setting=setting,
        for_agents=for_agents,
        with_signals=with_signals(replace(setting, recommender=for_agents)) if has_signals else for_agents,
        store=store,
        done=measured_runs(store, label),
        scorer=RunScorer(setting, for_agents.encoder if isinstance(for_agents, Retriever) else encoder),
        on_progress=on_progress or (lambda _: None),
        shuffled_of=shuffled_entries(every),
    )
    for entry, system in made:
        if isinstance(system, System):
            harness.run_scored(entry, system)
    agents = [(entry, system) for entry, system in made if isinstance(system, AgentSystem)]
    if agents and base_url is None:
        raise ConfigError(
            f"The suite {suite.name} has agents ({', '.join(entry.name for entry, _ in agents)}), which need a model. "
            "Start one with `deeprec llm serve` and give its address (`--base-url`, `base_url`), let --serve start "
            "one, or run the other systems alone (`--only`, `only`)."
        )
    if agents:
        asyncio.run(harness.run_agents(agents, str(base_url), max_concurrency))
    for entry, system in made:
        if isinstance(system, DerivedSystem):
            harness.run_derived(entry, system, source_entry(suite, entry, system))
    return label


def _recommenders(
    artifact: Artifact | Recommender, encoder: Encoder | None, cache: Path | None
) -> tuple[Recommender, Recommender]:
    """The recommender of the systems without a language model, and that of the agents.

    The first keeps text embeddings in the cache. Agents encode one phrase at a time, and would read the cache's files
    for each.
    """
    if not isinstance(artifact, Artifact):
        return artifact, artifact
    encoder = encoder or encoder_of_artifact(str(artifact.config["encoder_id"]))
    for_agents = Retriever(artifact, encoder)
    return (for_agents if cache is None else Retriever(artifact, CachedEncoder(encoder, cache))), for_agents


@dataclass(frozen=True, slots=True, kw_only=True)
class _Harness:
    label: str
    setting: Setting
    for_agents: Recommender
    with_signals: Recommender
    """The same, where a row names signals with them."""
    store: TraceStore
    done: set[UUID]
    """Runs that are stored and measured."""
    scorer: RunScorer
    on_progress: Callable[[SuiteProgress], None]
    shuffled_of: Mapping[str, str]
    masks: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    """Constraints of cases, as JSON -> the items that pass, in catalogue order."""
    given: dict[str, Mapping[str, Case]] = field(default_factory=dict)
    """`Entry.words` -> the cases with these words, by key."""

    def run_scored(self, entry: Entry, system: System) -> None:
        """Lists of the best by score, seen and removed items masked."""
        cases = [case for case in self.setting.cases if self._id(entry, case, 0) not in self.done]
        counter, given = self._counter(entry, total=len(self.setting.cases), left=len(cases)), self._given(entry)
        catalogue, k = self.setting.recommender.catalogue, self.setting.suite.k
        rows_of = make_row_finder(catalogue)
        for start in range(0, len(cases), _BATCH):
            batch = cases[start : start + _BATCH]
            began = time.perf_counter()
            lists, heard = [], [given[case.key] for case in batch]
            for case, scores in zip(batch, np.array(system.score(heard), dtype=np.float64), strict=True):
                scores[rows_of([*case.history, *catalogue.removed])] = -np.inf
                scores[~self._allowed(case)] = -np.inf
                lists.append([ScoredItem(catalogue.ids[row], float(scores[row])) for row in best(scores, k)])
            each_ms = (time.perf_counter() - began) * 1000 / len(batch)
            self.store.write_runs(
                [
                    self._listed(entry, case, listed, each_ms, oracle=system.oracle)
                    for case, listed in zip(batch, lists, strict=True)
                ]
            )
            counter.add(len(batch))

    def run_derived(self, entry: Entry, system: DerivedSystem, source: Entry) -> None:
        """Lists that are read out of stored runs."""
        pairs, left = self._pairs(entry, source)
        counter = self._counter(entry, total=len(pairs), left=len(left))
        for case, seed in left:
            parent = self._id(source, case, seed)
            if parent not in self.done:
                continue  # its source did not end; the next session may have it
            run = self.store.run(parent)
            ranked = system.rank(run)[: self.setting.suite.k]
            listed = [ScoredItem(item_id, 1 / rank) for rank, item_id in enumerate(ranked, start=1)]
            self.store.write_runs([self._listed(entry, case, listed, run.latency_ms or 0.0, seed=seed, source=run)])
            counter.add(1)

    async def run_agents(
        self, agents: Sequence[tuple[Entry, AgentSystem]], base_url: str, max_concurrency: int
    ) -> None:
        """The graph, for many users at once."""
        for entry, system in agents:
            config = system.config
            name = entry.model or (await find_shipped_adapter(base_url, None) if config.prompts == "words" else None)
            async with _policy_of(base_url, name) as policy:
                check_model(self.store, self.label, entry, policy)
                if entry.protocol == "tagged":
                    await self._run_agent(entry, system, policy, policy, max_concurrency)
                    continue
                chat = make_chat_model(
                    base_url,
                    (await policy.connect()).name,
                    temperature=config.temperature,
                    top_p=config.top_p,
                    timeout_s=config.max_seconds,
                )
                try:
                    await self._run_agent(entry, system, policy, chat, max_concurrency)
                finally:
                    await chat.root_async_client.close()

    async def _run_agent(
        self,
        entry: Entry,
        system: AgentSystem,
        policy: CompletionPolicy,
        model: CompletionPolicy | BaseChatModel,
        max_concurrency: int,
    ) -> None:
        recommender = self.with_signals if entry.signals else self.for_agents
        check_settings(self.store, self.label, entry, system.config, self.for_agents.identity)
        messages = make_test_messages(self.setting.dataset, self.setting.suite.split) if entry.asked else {}
        pairs, left = self._pairs(entry, entry)
        counter, given = self._counter(entry, total=len(pairs), left=len(left)), self._given(entry)
        for seed in entry_seeds(self.setting.suite, entry):
            cases = [case for case, of in left if of == seed]

            def ended(index: int, _: str, seed: int = seed, cases: Sequence[Case] = cases) -> None:
                run_id = self._id(entry, cases[index], seed)
                self.scorer.store_scores(self.store, self.store.run(run_id), cases[index])
                self.done.add(run_id)
                counter.add(1)

            await run_on_server(
                build_graph(
                    model,
                    _variant(recommender, system, seed),
                    config=system.config,
                    recorder=SqlRecorder(self.store),
                ),
                [
                    make_agent_request(
                        given[case.key],
                        suite=self.label,
                        split=self.setting.suite.split,
                        seed=run_seed(self.label, case.key, seed),
                        run_id=self._id(entry, case, seed),
                        system=entry.name,
                        shuffled_of=self.shuffled_of.get(entry.name),
                        message=messages.get(case.user),
                    )
                    for case in cases
                ],
                policy=policy,
                store=self.store,
                max_concurrency=max_concurrency,
                on_ended=ended,
            )

    def _listed(
        self,
        entry: Entry,
        case: Case,
        listed: Sequence[ScoredItem],
        latency_ms: float,
        *,
        oracle: bool = False,
        seed: int = 0,
        source: RunTrace | None = None,
    ) -> RunTrace:
        run = make_listed_run(
            self._id(entry, case, seed),
            self._given(entry)[case.key],
            listed,
            k=self.setting.suite.k,
            latency_ms=latency_ms,
            identity=self.setting.recommender.identity,
            source=source,
            seed=seed,
            split=self.setting.suite.split,
            suite=self.label,
            system=entry.name,
            oracle=oracle,
        )
        return self.scorer.with_scores(run, case, source)

    def _pairs(self, entry: Entry, source: Entry) -> tuple[list[tuple[Case, int]], list[tuple[Case, int]]]:
        """Every case with every seed of `source`, and those of them that `entry` has no run of."""
        pairs = [(case, seed) for seed in entry_seeds(self.setting.suite, source) for case in self.setting.cases]
        return pairs, [pair for pair in pairs if self._id(entry, *pair) not in self.done]

    def _given(self, entry: Entry) -> Mapping[str, Case]:
        """Key of a case -> the case as the entry's system gets it: with its own words, another one's, or none."""
        if entry.words not in self.given:
            cases = self.setting.cases
            if entry.words == "other":
                cases = with_other_words(cases)
            elif entry.words == "none":
                cases = [replace(case, message=None) for case in cases]
            self.given[entry.words] = {
                case.key: changed for case, changed in zip(self.setting.cases, cases, strict=True)
            }
        return self.given[entry.words]

    def _allowed(self, case: Case) -> NDArray[np.bool_]:
        """The items that pass the constraints of a case, (items,) in catalogue order."""
        named = json.dumps(case.where, sort_keys=True)
        if named not in self.masks:
            catalogue = self.setting.recommender.catalogue
            self.masks[named] = (
                AttributeIndex(catalogue).filter(case.where).mask if case.where else np.ones(len(catalogue), np.bool_)
            )
        return self.masks[named]

    def _id(self, entry: Entry, case: Case, seed: int) -> UUID:
        way = (*([entry.protocol] if entry.protocol != "tagged" else []), *(["asked"] if entry.asked else []))
        way = (*way, *([] if entry.words == "own" else [f"words: {entry.words}"]))
        own: dict[str, object] = {"agent": dict(entry.agent)} if entry.agent else {}
        own |= {"signals": True} if entry.signals else {}
        way = (*way, *([json.dumps(own, sort_keys=True)] if own else []))
        names = (self.label, entry.name, entry.system, entry.model or "", case.key, str(seed), *way)
        return uuid5(_NAMESPACE, "|".join(names))

    def _counter(self, entry: Entry, *, total: int, left: int) -> ProgressCounter:
        return ProgressCounter(entry.name, total=total, stored=total - left, report=self.on_progress)


def _variant(recommender: Recommender, system: AgentSystem, seed: int) -> Recommender:
    """The recommender as a system has it."""
    if system.is_shuffled:
        return ShuffledHistoryOnly(recommender, seed=seed)
    return recommender if system.hears_preference else HistoryOnly(recommender, hears_words=system.hears_words)


@asynccontextmanager
async def _policy_of(base_url: str, name: str | None) -> AsyncIterator[CompletionPolicy]:
    """A client of the server's only model, or of the model or the adapter of that name."""
    async with CompletionPolicy(base_url, name, timeout_s=MAX_REQUEST_SECONDS) as policy:
        await policy.connect()
        yield policy
