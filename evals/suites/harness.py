"""Running a suite: every system for the same users, everything into the trace store, and on from where it stopped."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid5

import numpy as np

from deeprec.agent import (
    AgentInput,
    CompletionPolicy,
    Lineage,
    RunTrace,
    SqlRecorder,
    TraceStore,
    build_graph,
)
from deeprec.agent.traces import RecommendationRecord, RetrievalRecord, RewardRecord, RunRecord
from deeprec.evals.metrics import rewards, run_metrics
from deeprec.evals.metrics.rewards import Reward, make_rewards, score_run
from deeprec.evals.metrics.run_metrics import MeasureList, make_list_measures, measure_run, names_target
from deeprec.evals.recommenders.evaluation import check_artifact
from deeprec.evals.requests.cases import Case
from deeprec.evals.requests.leaks import check_cases, check_disjoint, evaluated_pairs, learned_pairs, weak_points
from deeprec.evals.suites.result_rows import CASE_SCHEME, ORACLE, TRUE_OF, model_name, models_of
from deeprec.evals.suites.results import measured_runs
from deeprec.evals.suites.served_runs import run_on_server
from deeprec.evals.suites.suite import Entry, Suite, entry_seeds, suite_cases, suite_label
from deeprec.evals.systems.recommender_variants import HistoryOnly, ShuffledHistoryOnly
from deeprec.evals.systems.suite_systems import SYSTEMS, AgentSystem, AnySystem, DerivedSystem, Setting
from deeprec.evals.systems.system import System
from deeprec.trm_tool import Artifact, CachedEncoder, ConfigError, Dataset, Encoder, Retriever, ScoredItem, make_encoder
from deeprec.trm_tool.trm.ranking import best

_NAMESPACE = UUID("6a3b8f0e-5d0c-4f6e-9d1b-2f6f7f0f4c11")
_BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteProgress:
    """How far a suite is."""

    system: str
    done: int
    """Runs of this system that are stored, those of an earlier session included."""
    total: int
    started_with: int
    """Of those, how many were stored already when this session began."""
    seconds: float
    """Since this session began with this system."""

    @property
    def seconds_left(self) -> float:
        """At the pace so far; NaN before the first run."""
        made = self.done - self.started_with
        return self.seconds / made * (self.total - self.done) if made else float("nan")


def run_suite(
    suite: Suite,
    store: TraceStore,
    *,
    dataset: Dataset,
    artifact: Artifact,
    base_url: str | None = None,
    encoder: Encoder | None = None,
    cache: Path | None = None,
    only: Sequence[str] = (),
    max_concurrency: int = 32,
    on_progress: Callable[[SuiteProgress], None] | None = None,
    systems: Mapping[str, Callable[[Setting], AnySystem]] = SYSTEMS,
) -> str:
    """Run what of a suite is not stored yet, and measure every run as it ends.

    Seen items are masked for every system alike: lists are cut here, agents search with the retriever's own mask.

    Args:
        suite: What to run.
        store: Where every run goes, under the label that is returned.
        dataset: The suite's data.
        artifact: The recommender of all systems.
        base_url: A model server, for the agents; None where the suite has none.
        encoder: The artifact's own; None makes it by its id.
        cache: Folder that keeps text embeddings, for the systems without a language model: an encoder that has nothing
            to encode is not even loaded. None keeps nothing.
        only: Names of entries to run; empty runs all.
        max_concurrency: Agents at once.
        on_progress: Called after each run, or batch of runs.
        systems: What names in the suite mean.

    Returns:
        The label that the runs are stored under (`load_results`).

    Raises:
        ConfigError: an unknown system, an artifact that has learned targets of the suite, no server for the agents.
        ServerLostError: the server went away.
    """
    check_artifact(artifact, dataset, suite.split)
    cases = suite_cases(suite, dataset)
    check_cases(cases, dataset, suite.split)
    check_disjoint(evaluated_pairs(cases), learned_pairs(artifact, dataset), by="the recommender")
    encoder = encoder or make_encoder(str(artifact.config["encoder_id"]))
    kept = encoder if cache is None else CachedEncoder(encoder, cache)
    setting = Setting(suite=suite, dataset=dataset, artifact=artifact, encoder=kept, cases=cases)
    label = suite_label(suite, dataset, artifact.fingerprint)
    made = _made(suite, setting, systems, only)
    harness = _Harness(
        label=label,
        setting=setting,
        encoder=encoder,
        store=store,
        done=measured_runs(store, label),
        rewards=make_rewards(artifact, encoder),
        measure_list=make_list_measures(artifact),
        weak_points=weak_points(artifact, dataset, cases),
        on_progress=on_progress or (lambda _: None),
    )
    for entry, system in made:
        if isinstance(system, System):
            harness.run_scored(entry, system)
    agents = [(entry, system) for entry, system in made if isinstance(system, AgentSystem)]
    if agents and base_url is None:
        raise ConfigError(
            f"The suite {suite.name} has agents ({', '.join(entry.name for entry, _ in agents)}), which need a model. "
            "Start one with `deeprec llm serve` and name it with --base-url, let --serve start one, or run the other "
            "systems with --only."
        )
    if agents:
        asyncio.run(harness.run_agents(agents, str(base_url), max_concurrency))
    for entry, system in made:
        if isinstance(system, DerivedSystem):
            harness.run_derived(entry, system, _source(suite, entry, system))
    return label


def _made(
    suite: Suite, setting: Setting, systems: Mapping[str, Callable[[Setting], AnySystem]], only: Sequence[str]
) -> list[tuple[Entry, AnySystem]]:
    unknown = [name for name in only if name not in {entry.name for entry in suite.systems}]
    if unknown:
        known = ", ".join(entry.name for entry in suite.systems)
        raise ConfigError(f"The suite {suite.name} has no system {unknown[0]!r}; it has {known}.")
    made = []
    for entry in suite.systems:
        if entry.system not in systems:
            raise ConfigError(f"{entry.system!r} is no system. Choose one of {', '.join(systems)}.")
        system = systems[entry.system](setting)
        if isinstance(system, DerivedSystem):
            _source(suite, entry, system)
        if not only or entry.name in only:
            made.append((entry, system))
    return made


def _source(suite: Suite, entry: Entry, system: DerivedSystem) -> Entry:
    """The entry whose runs are read: the one of that name, else the only one of that system."""
    found = [other for other in suite.systems if other.name == system.source]
    found = found or [other for other in suite.systems if other.system == system.source]
    if not found:
        raise ConfigError(f"{entry.name} is read out of the runs of {system.source}: add that to the suite.")
    if len(found) > 1:
        names = ", ".join(other.name for other in found)
        raise ConfigError(
            f"{entry.name} is read out of the runs of {system.source}, and the suite has {len(found)} of that system "
            f"({names}). Call the one that is meant {system.source}."
        )
    return found[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Harness:
    label: str
    setting: Setting
    encoder: Encoder
    """Of the agents, who encode a phrase at a time and would read a cache's files for each."""
    store: TraceStore
    done: set[UUID]
    """Runs that are stored and measured."""
    rewards: Mapping[str, Reward]
    measure_list: MeasureList
    weak_points: Mapping[str, float]
    on_progress: Callable[[SuiteProgress], None]

    def run_scored(self, entry: Entry, system: System) -> None:
        """Lists of the best by score, seen and removed items masked."""
        cases = [case for case in self.setting.cases if self._id(entry, case, 0) not in self.done]
        tell = self._teller(entry, len(self.setting.cases), len(self.setting.cases) - len(cases))
        catalogue, k = self.setting.artifact.catalogue, self.setting.suite.k
        removed = np.flatnonzero(~catalogue.available)
        for start in range(0, len(cases), _BATCH):
            batch = cases[start : start + _BATCH]
            began = time.perf_counter()
            runs = []
            for case, scores in zip(batch, np.array(system.score(batch), dtype=np.float64), strict=True):
                scores[np.concatenate((catalogue.rows(case.history), removed))] = -np.inf
                listed = [(catalogue.ids[row], float(scores[row])) for row in best(scores, k)]
                each_ms = (time.perf_counter() - began) * 1000 / len(batch)
                runs.append(self._listed(entry, case, listed, each_ms, oracle=system.oracle))
            self.store.write_runs(runs)
            tell(len(batch))

    def run_derived(self, entry: Entry, system: DerivedSystem, source: Entry) -> None:
        """Lists that are read out of stored runs."""
        pairs = [(case, seed) for seed in entry_seeds(self.setting.suite, source) for case in self.setting.cases]
        left = [pair for pair in pairs if self._id(entry, *pair) not in self.done]
        tell = self._teller(entry, len(pairs), len(pairs) - len(left))
        for case, seed in left:
            parent = self._id(source, case, seed)
            if parent not in self.done:
                continue  # its source did not end; the next session may have it
            run = self.store.run(parent)
            ranked = system.rank(run)[: self.setting.suite.k]
            listed = [(item_id, 1 / place) for place, item_id in enumerate(ranked, start=1)]
            made = self._listed(entry, case, listed, run.latency_ms or 0.0, seed=seed, source=run)
            self.store.write_runs([made])
            tell(1)

    async def run_agents(
        self, agents: Sequence[tuple[Entry, AgentSystem]], base_url: str, max_concurrency: int
    ) -> None:
        """The graph, for many users at once."""
        for entry, system in agents:
            async with await _policy_of(base_url, entry.model) as policy:
                self._check_model(entry, policy)
                await self._run_agent(entry, system, policy, max_concurrency)

    def _check_model(self, entry: Entry, policy: CompletionPolicy) -> None:
        """One row is one model: runs of another one neither count as this one's nor are mixed with them."""
        name = model_name(str(policy.model), policy.adapter)
        others = models_of(self.store, self.label, entry.name) - {name}
        if others:
            raise ConfigError(
                f"The stored runs of {entry.name} were written by {', '.join(sorted(others))}, and the server has "
                f"{name}. Serve the same model, or give {name} an entry of its own (`name: …`, `model: {name}`)."
            )

    async def _run_agent(
        self, entry: Entry, system: AgentSystem, policy: CompletionPolicy, max_concurrency: int
    ) -> None:
        pairs = [(case, seed) for seed in entry_seeds(self.setting.suite, entry) for case in self.setting.cases]
        left = [pair for pair in pairs if self._id(entry, *pair) not in self.done]
        tell = self._teller(entry, len(pairs), len(pairs) - len(left))
        places = {case: place for place, case in enumerate(self.setting.cases)}
        for seed in entry_seeds(self.setting.suite, entry):
            cases = [case for case, of in left if of == seed]

            def ended(index: int, _: str, seed: int = seed, cases: Sequence[Case] = cases) -> None:
                self._measure(self.store.run(self._id(entry, cases[index], seed)), cases[index])
                tell(1)

            await run_on_server(
                build_graph(
                    policy,
                    self._retriever(system, seed),
                    config=system.config,
                    recorder=SqlRecorder(self.store),
                ),
                [self._request(entry, case, seed, places[case]) for case in cases],
                policy=policy,
                store=self.store,
                max_concurrency=max_concurrency,
                on_ended=ended,
            )

    def _retriever(self, system: AgentSystem, seed: int) -> Retriever:
        artifact, encoder = self.setting.artifact, self.encoder
        if system.is_shuffled:
            return ShuffledHistoryOnly(artifact, encoder, seed=seed)
        return Retriever(artifact, encoder) if system.hears_preference else HistoryOnly(artifact, encoder)

    def _request(self, entry: Entry, case: Case, seed: int, place: int) -> AgentInput:
        return AgentInput(
            history=list(case.history),
            lineage=Lineage(
                run_id=str(self._id(entry, case, seed)),
                user_id=case.user,
                target_id=case.target,
                seed=seed * _SEEDS_APART + place,  # users must not share their draws
                split=self.setting.suite.split,
                suite=self.label,
                system=entry.name,
            ),
        )

    def _listed(
        self,
        entry: Entry,
        case: Case,
        listed: Sequence[tuple[str, float]],
        latency_ms: float,
        *,
        oracle: bool = False,
        seed: int = 0,
        source: RunTrace | None = None,
    ) -> RunTrace:
        """A run without a language model: one retrieval, and its list; or what its source searched, found and took."""
        places = tuple(
            RecommendationRecord(rank=rank, item_id=item_id, retrieval=0, score=score, source="written")
            for rank, (item_id, score) in enumerate(listed, start=1)
        )
        now = datetime.now(UTC)
        trace = RunTrace(
            run=RunRecord(
                run_id=self._id(entry, case, seed),
                user_id=case.user,
                history=case.history,
                target_id=case.target,
                protocol="none",
                protocol_version="1",
                prompt_version="none",
                guided=False,
                k=self.setting.suite.k,
                policy_model="none",
                trm_fingerprint=self.setting.artifact.fingerprint,
                trm_holdout=int(self.setting.artifact.config["holdout"]),
                dataset_fingerprint=str(self.setting.artifact.config["dataset_fingerprint"]),
                seed=seed,
                split=self.setting.suite.split,
                suite=self.label,
                system=entry.name + (ORACLE if oracle else ""),
                parent_id=None if source is None else source.run.run_id,
            ),
            status="finished",
            incomplete=False,
            detail=None,
            started_at=now if source is None else source.started_at,
            finished_at=now,
            latency_ms=latency_ms,
            ungrounded=0,
            pinned=False,
            redacted_at=None,
            turns=(),
            retrievals=(
                RetrievalRecord(
                    position=0,
                    turn=0,
                    k=self.setting.suite.k,
                    items=tuple(ScoredItem(item_id, score) for item_id, score in listed),
                    latency_ms=latency_ms,
                ),
            )
            if source is None
            else source.retrievals,
            written=places,
            recommended=places,
            rewards=(),
        )
        measures = self._measures(trace)
        if source is not None:
            told = measure_run(source)
            measures |= {name: told[name] for name in ("tokens", "prompt_tokens")}
        schemes = {run_metrics.SCHEME: measures, CASE_SCHEME: self._case(case)}
        return replace(
            trace,
            rewards=tuple(
                RewardRecord(scheme=scheme, component=component, value=value)
                for scheme, components in schemes.items()
                for component, value in components.items()
            ),
        )

    def _measure(self, trace: RunTrace, case: Case) -> None:
        run_id = trace.run.run_id
        self.store.write_rewards(run_id, rewards.SCHEME, score_run(trace, self.rewards))
        self.store.write_rewards(run_id, CASE_SCHEME, self._case(case))
        # The last: with it, the run counts as done.
        self.store.write_rewards(run_id, run_metrics.SCHEME, self._measures(trace))
        self.done.add(run_id)

    def _measures(self, trace: RunTrace) -> dict[str, float]:
        named = names_target(trace, self.setting.artifact.catalogue)
        return measure_run(trace, self.measure_list) | {"names_target": named}

    def _case(self, case: Case) -> dict[str, float]:
        catalogue = self.setting.artifact.catalogue
        [row] = catalogue.rows([case.target])
        return {
            "target_popularity": float(self.setting.artifact.popularity[row]),
            "history_length": float(len(case.history)),
            **self.weak_points,
            **{TRUE_OF + phrase: 1.0 for phrase in catalogue.phrases_of(case.target)},
        }

    def _id(self, entry: Entry, case: Case, seed: int) -> UUID:
        return uuid5(
            _NAMESPACE, "|".join((self.label, entry.name, entry.system, entry.model or "", case.user, str(seed)))
        )

    def _teller(self, entry: Entry, total: int, stored: int) -> Callable[[int], None]:
        made, began = Counter[str](), time.perf_counter()

        def tell(count: int) -> None:
            made["runs"] += count
            self.on_progress(
                SuiteProgress(
                    system=entry.name,
                    done=stored + made["runs"],
                    total=total,
                    started_with=stored,
                    seconds=time.perf_counter() - began,
                )
            )

        tell(0)
        return tell


_SEEDS_APART = 1_000_000


async def _policy_of(base_url: str, name: str | None) -> CompletionPolicy:
    """A client of the server's only model, or of the model or the adapter of that name."""
    policy = CompletionPolicy(base_url, name)
    try:
        await policy.connect()
    except BaseException:
        await policy.aclose()
        raise
    return policy
