"""Knowledge runs: for each person the policy writes several pieces of knowledge, each logged as a run of its own kind.

A knowledge run has one turn and asks no recommender. It keeps the tokens of its prompt and of its answer with their
log-probabilities, as every run of a token policy does, so that trainers learn from it without tokenising again.
"""

from __future__ import annotations

import asyncio
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from deeprec.agent import (
    CompletionPolicy,
    PolicyRejectedError,
    PolicyUnavailableError,
    SamplingConfig,
    SqlRecorder,
    TraceStore,
)
from deeprec.agent.policy.completion import Completion, ServedModel
from deeprec.agent.policy.token_policy import TokenPolicy
from deeprec.agent.policy.weight_fingerprints import same_weights
from deeprec.agent.traces import RunFilter, RunOutcome, RunRecord, TurnRecord
from deeprec.agent.traces.records import Outcome
from deeprec.evals.requests.agent_requests import run_seed
from deeprec.evals.requests.cases import SPLITS, Case
from deeprec.evals.suites.served_runs import ServerLostError
from deeprec.training.feedback.knowledge import (
    catalogue_factors,
    knowledge_pattern,
    offered_factors,
    read_knowledge,
)
from deeprec.training.feedback.knowledge_prompt import KNOWLEDGE_VERSION, knowledge_messages
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.errors import ConfigError

PROTOCOL = "knowledge"
"""The protocol of knowledge runs, and the system under which they are stored."""
NO_RECOMMENDER = "none"
"""The fingerprint of a recommender in the lineage of runs that ask none."""
_NAMESPACE = UUID("2f6a1f0e-51c3-4d0b-9a53-6f2f5e3c8d11")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeConfig:
    """How knowledge is written.

    Raises:
        ConfigError: a value is out of its range.
    """

    label: str
    """The suite under which the runs are stored. With person, message and target it identifies a group."""
    split: str
    """The split of the targets: `learn`, `train`, `valid` or `test` (`knowledge_cases`)."""
    group_size: int = 4
    """Pieces of knowledge for each person."""
    guided: bool = True
    """Whether the server holds the policy to the factors and their values."""
    temperature: float = 1.0
    max_tokens: int = 64
    """Tokens of one piece, at most."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.group_size < 1:
            raise ConfigError(f"KnowledgeConfig.group_size is {self.group_size}; a person has one piece or more.")
        if self.group_size > 1 and not self.temperature > 0:
            raise ConfigError(
                f"KnowledgeConfig.temperature is {self.temperature}, so that all {self.group_size} pieces of a person "
                "would be alike. Set it above 0 (training reads runs of temperature 1), or ask for one piece."
            )
        self.sampling(0)

    def sampling(self, seed: int) -> SamplingConfig:
        """How one piece is sampled."""
        return SamplingConfig(temperature=self.temperature, max_tokens=self.max_tokens, seed=seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeRuns:
    """What became of the pieces of knowledge."""

    label: str
    runs: tuple[UUID, ...]
    """All of the collection, group by group."""
    new: int
    """Those that this call made."""


async def collect_knowledge(
    policy: TokenPolicy,
    dataset: Dataset,
    store: TraceStore,
    cases: Sequence[Case],
    config: KnowledgeConfig,
    *,
    max_concurrency: int = 32,
    on_ended: Callable[[int, int], None] | None = None,
) -> KnowledgeRuns:
    """Have a policy write knowledge about people, and go on where an earlier call stopped.

    Run by run it is logged what was asked and what was written. A run whose answer is no knowledge ends `malformed`,
    with the reason. The target stands in the lineage alone; prompts show the history and the message.

    Args:
        policy: The language model.
        dataset: Its catalogue has the factors. No recommender is asked.
        store: Logs the runs.
        cases: People, with their histories, messages and targets.
        config: How many pieces, how they are sampled, and where they are stored.
        max_concurrency: Pieces in flight at once.
        on_ended: Called with the number of runs that have ended and the number of all: at the start, and after each.

    Raises:
        ConfigError: the catalogue has no factors, a case is given twice, or runs under the label are of another policy,
            other settings or other data.
        ServerLostError: the server became unavailable. What has ended is stored; the same call resumes.
    """
    if len({(case.key, case.target) for case in cases}) < len(cases):
        raise ConfigError("A case is given twice. Give each once, and a larger group_size for more pieces of it.")
    collector = _Collector(policy, dataset, config)
    pairs = [(case, sample) for case in cases for sample in range(config.group_size)]
    ids = [collector.run_id(case, sample) for case, sample in pairs]
    ended = {run_id for page in store.run_ids(RunFilter(label=config.label, ended=True)) for run_id in page}
    left = [(case, sample) for run_id, (case, sample) in zip(ids, pairs, strict=True) if run_id not in ended]
    done = len(ids) - len(left)
    report = on_ended or (lambda done, total: None)
    report(done, len(ids))
    waiting = iter(left)
    try:
        asked = collector.asked(await policy.connect())
        check_earlier_runs(store, config.label, {**asked, "max_tokens": config.max_tokens})
        if left and isinstance(policy, CompletionPolicy):
            await policy.find_logprobs_mode()
    except PolicyUnavailableError as error:
        raise ServerLostError(f"The model's server is unavailable: {error}") from error

    async def work(recorder: SqlRecorder) -> None:
        nonlocal done
        for case, sample in waiting:  # shared: each worker takes the next
            await collector.run(recorder, case, sample)
            done += 1
            report(done, len(ids))

    with SqlRecorder(store) as recorder:
        workers = [asyncio.ensure_future(work(recorder)) for _ in range(max(1, max_concurrency))]
        try:
            await asyncio.gather(*workers)
        except PolicyUnavailableError as error:
            raise ServerLostError(f"The model's server is unavailable: {error}") from error
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
    return KnowledgeRuns(label=config.label, runs=tuple(ids), new=len(left))


def check_earlier_runs(store: TraceStore, label: str, asked: Mapping[str, Any]) -> None:
    """Check that knowledge runs of a suite are of the policy and the settings that are asked for, where both are known.

    Args:
        store: The store of the runs.
        label: The suite.
        asked: Columns of runs -> what they have to be; None is not known. `max_tokens` is looked up in their settings.

    Raises:
        ConfigError: names a run that differs, and in what.
    """
    names = [name for name in asked if name != "max_tokens"]
    with store.snapshot() as snapshot:
        for run in snapshot.runs(("run_id", "config", *names), RunFilter(label=label, kind="knowledge")):
            own = {name: getattr(run, name) for name in names} | {"max_tokens": run.config.get("max_tokens")}
            for name, value in asked.items():
                is_known = name == "adapter" or None not in (value, own[name])  # no adapter is one, too
                is_same = same_weights if name == "base_fingerprint" else operator.eq
                if is_known and not is_same(own[name], value):
                    raise ConfigError(
                        f"The suite {label} has knowledge of another policy or other settings: {name} of run "
                        f"{run.run_id} is {own[name]}, and {value} is asked for. Choose another name (--name) or "
                        "another store (--store)."
                    )


class _Collector:
    def __init__(self, policy: TokenPolicy, dataset: Dataset, config: KnowledgeConfig) -> None:
        self._policy, self._config = policy, config
        self._catalogue, self._data = dataset.catalogue, dataset.fingerprint
        self._factors = catalogue_factors(self._catalogue)

    def asked(self, served: ServedModel) -> dict[str, Any]:
        """The columns that all runs of a suite have in common: policy, settings and data."""
        return {
            "policy_model": str(self._policy.model),
            "adapter": self._policy.adapter,
            "base_fingerprint": served.base_fingerprint,
            "adapter_fingerprint": served.adapter_fingerprint,
            "guided": self._config.guided,
            "sampling": {"temperature": self._config.temperature, "top_p": 1.0},
            "dataset_fingerprint": self._data,
        }

    def run_id(self, case: Case, sample: int) -> UUID:
        parts = (self._config.label, str(self._config.seed), case.key, case.target, str(sample))
        return uuid5(_NAMESPACE, "|".join(parts))

    async def run(self, recorder: SqlRecorder, case: Case, sample: int) -> None:
        """Write one piece of knowledge and log it."""
        run_id = self.run_id(case, sample)
        seed = run_seed(self._config.label, case.key, self._config.seed, sample)
        served = await self._policy.connect()
        await recorder.start_run(self._record(run_id, case, seed, served))
        turn = await recorder.load_turn(run_id, 0)  # of a process that was killed before the run's end
        if turn is None:
            offered = offered_factors(self._factors, self._catalogue, case.history)
            prompt = await self._policy.tokenize_chat(
                knowledge_messages(offered, self._catalogue, case.history, case.message)
            )
            try:
                written = await self._policy.complete(
                    prompt,
                    sampling=self._config.sampling(seed),
                    regex=knowledge_pattern(offered) if self._config.guided else None,
                )
            except PolicyRejectedError as error:
                why = f"{served.name} refused the prompt of {len(prompt)} tokens: {error}"
                await recorder.finish_run(run_id, RunOutcome(status="refused", detail=why[:500], latency_ms=0.0))
                return
            turn = self._turn(prompt, written)
            await recorder.record_turn(run_id, turn)
        status: Outcome = "finished" if turn.action == "knowledge" else "malformed"
        await recorder.finish_run(run_id, RunOutcome(status=status, detail=turn.detail, latency_ms=turn.latency_ms))

    def _turn(self, prompt: Sequence[int], written: Completion) -> TurnRecord:
        whole = written.text if written.finish_reason != "length" else re.sub(r"[^,;\n]*\Z", "", written.text)
        knowledge = read_knowledge(whole, self._factors)  # without the value that the limit of tokens cut
        problem = None if knowledge.problem is None else f"The knowledge cannot be used: {knowledge.problem}."
        return TurnRecord(
            position=0,
            node="reason",
            prompt_ids=tuple(prompt),
            completion_ids=written.token_ids,
            logprobs=written.logprobs,
            chained=True,
            text=written.text,
            action="knowledge" if problem is None else "malformed",
            preference=knowledge.preference,
            detail=problem,
            finish_reason=written.finish_reason,
            prompt_tokens=written.prompt_tokens,
            completion_tokens=written.completion_tokens,
            latency_ms=written.latency_ms,
        )

    def _record(self, run_id: UUID, case: Case, seed: int, served: ServedModel) -> RunRecord:
        config = self._config
        return RunRecord(
            run_id=run_id,
            user_id=case.user,
            history=case.history,
            message=case.message,
            target_id=case.target,
            protocol=PROTOCOL,
            protocol_version=KNOWLEDGE_VERSION,
            prompt_version=KNOWLEDGE_VERSION,
            k=0,
            adapter_version=self._policy.adapter,
            trm_fingerprint=NO_RECOMMENDER,
            trm_holdout=SPLITS.get(config.split),  # nobody who answered had learned the target
            logprobs_mode=self._policy.logprobs_mode if isinstance(self._policy, CompletionPolicy) else None,
            config={"group_size": config.group_size, "max_tokens": config.max_tokens, "where": case.where},
            seed=seed,
            split=config.split,
            suite=config.label,
            system=PROTOCOL,
            kind="knowledge",
            group_id=f"{config.label}/{case.key}",
            **self.asked(served),
        )
