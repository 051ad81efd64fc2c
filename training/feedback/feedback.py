"""Recommender feedback: knowledge is written, scored by the ranking that it leads to, learned from, and written again.

    untuned policy ─► knowledge ─► augmented recommenders ─► scores ─► pairs ─► DPO ─► tuned policy
                                                                                          │
                              table of rows ◄─ re-aligned recommenders ◄─ its knowledge ◄─┘

All that happened is on disk: the runs and their scores in the trace store, recommenders and adapter under the folder.
A step whose result is there is not done again, so the same command goes on after an interruption.

Source:
    Sun et al. 2024, arXiv:2410.05939.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from deeprec.agent import CompletionPolicy, PolicyUnavailableError, TraceStore, load_adapter, make_server
from deeprec.agent.policy.weight_fingerprints import fingerprint_adapter
from deeprec.agent.traces import RunFilter
from deeprec.evals.suites.served_runs import ServerLostError
from deeprec.evals.suites.suite import MAX_REQUEST_SECONDS
from deeprec.training.feedback.augmented_recommenders import train_augmented
from deeprec.training.feedback.collection import KnowledgeConfig, check_earlier_runs, collect_knowledge
from deeprec.training.feedback.feedback_config import FeedbackConfig, begun_settings, keep_settings
from deeprec.training.feedback.feedback_report import FeedbackReport, measure_feedback, shown
from deeprec.training.feedback.knowledge import catalogue_factors, read_knowledge
from deeprec.training.feedback.knowledge_cases import LEARN, knowledge_cases
from deeprec.training.feedback.knowledge_runs import KnowledgeRun, read_knowledge_runs
from deeprec.training.feedback.knowledge_scores import KNOWLEDGE_SCHEME, SCORE, score_knowledge
from deeprec.training.feedback.reranking import choose_trust
from deeprec.training.loop.messages import report_tenths
from deeprec.training.loop.start_checks import check_base
from deeprec.training.pairs.pairing import StoredReward, make_pairs
from deeprec.training.pairs.rollout_pairs import read_rollout_pairs
from deeprec.training.rollouts.instances import SPLIT
from deeprec.training.trainers.dpo import train_dpo
from deeprec.training.trainers.first_answers import FirstAnswer
from deeprec.training.trainers.launcher import refuse_several
from deeprec.training.trainers.lock_files import lock_file
from deeprec.training.trainers.policy_model import read_base_fingerprint
from deeprec.training.trainers.trainer_config import DpoConfig
from deeprec.trm_tool import Dataset, Encoder
from deeprec.trm_tool.folders import write_file
from deeprec.trm_tool.recommender import BatchRecommender

UNTUNED, TUNED = "untuned", "tuned"
RESULTS = "results.json"
LOCK = "feedback.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackResult:
    """What recommender feedback came to."""

    adapter: Path
    """The tuned policy."""
    recommenders: Mapping[str, Path]
    """Backbone -> the recommender that was re-aligned on the tuned policy's knowledge."""
    report: FeedbackReport


def run_feedback(
    config: FeedbackConfig,
    out: Path,
    *,
    store: TraceStore,
    dataset: Dataset,
    encoder: Encoder,
    base: Path | str,
    base_url: str | None = None,
    cache: Path | None = None,
    say: Callable[[str], None] = print,
) -> FeedbackResult:
    """Tune a policy by the rankings that its knowledge leads to, re-align the recommenders on it, and measure both.

    Args:
        config: The settings.
        out: Recommenders, adapter, logs and results. The same call goes on with what is there.
        store: Logs the knowledge runs; keeps scores and pairs.
        dataset: People, their sequences, and a catalogue with attributes.
        encoder: Of items and knowledge.
        base: The language model's folder or id.
        base_url: A server that serves `base` with LoRA and sees `out`; None starts one for as long as it is needed.
        cache: Folder that keeps text embeddings.
        say: Called with a line for each thing that happened.

    Raises:
        ConfigError: the settings do not fit what `out` holds, another process works in it, the catalogue has no
            factors, the server has another base model, the store has the knowledge of another folder's adapter under
            the same name, or no pair could be made: the message counts the groups whose scores are all equal, or too
            close.
        ServerLostError: the server became unavailable; the same call goes on.
    """
    refuse_several("The recommender feedback")
    catalogue_factors(dataset.catalogue)  # before anything is started
    base_fingerprint = read_base_fingerprint(base, begun=begun_settings(out).get("base_fingerprint"))
    course = config.course(
        dataset_fingerprint=dataset.fingerprint, base_fingerprint=base_fingerprint, encoder_id=encoder.id
    )
    with ExitStack() as stack:
        stack.enter_context(lock_file(out / LOCK, busy=f"Another process runs the recommender feedback in {out}."))
        keep_settings(course, out)
        feedback = _Feedback(
            config=config,
            out=out,
            store=store,
            dataset=dataset,
            encoder=encoder,
            base=base,
            base_fingerprint=base_fingerprint,
            cache=cache,
            say=say,
            label=config.label(course),
            stack=stack,
            given_url=base_url,
        )
        say(f"knowledge is stored under {feedback.label}")
        return feedback.run()


@dataclass(kw_only=True)
class _Feedback:
    config: FeedbackConfig
    out: Path
    store: TraceStore
    dataset: Dataset
    encoder: Encoder
    base: Path | str
    base_fingerprint: str
    cache: Path | None
    say: Callable[[str], None]
    label: str
    stack: ExitStack
    given_url: str | None
    recommenders: dict[str, BatchRecommender] = field(default_factory=dict)
    """Policy and backbone -> the recommender that was trained on the policy's knowledge."""

    def run(self) -> FeedbackResult:
        config = self.config
        for split, size in ((LEARN, 1), (SPLIT, config.group_size), ("valid", 1), ("test", config.group_size)):
            self.write_knowledge(UNTUNED, split, size)
        for backbone in config.backbones:
            self.train_recommender(UNTUNED, backbone)
            self.score(backbone)
        self.tune()
        for split in (LEARN, "valid", "test"):
            self.write_knowledge(TUNED, split, 1)
        for backbone in config.backbones:
            self.train_recommender(TUNED, backbone)
        report = measure_feedback(
            self.dataset,
            config,
            self.recommenders,
            {
                (policy, split): self.runs(policy, split)
                for policy, splits in ((UNTUNED, (SPLIT, "valid", "test")), (TUNED, ("valid", "test")))
                for split in splits
            },
        )
        write_file(self.out / RESULTS, json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n")
        return FeedbackResult(
            adapter=self.adapter,
            recommenders={each: self.recommender_path(TUNED, each) for each in config.backbones},
            report=report,
        )

    @property
    def adapter(self) -> Path:
        return self.out / "dpo" / "adapter"

    @cached_property
    def base_url(self) -> str:
        if self.given_url is not None:
            return self.given_url
        server = make_server(self.base, log=self.out / "server.log", max_num_seqs=self.config.concurrency)
        self.stack.enter_context(server)
        server.wait_healthy(on_progress=self.say)
        return server.base_url

    def suite(self, policy: str, split: str) -> str:
        return f"{self.label}/{policy}/{split}"

    def runs(self, policy: str, split: str) -> list[KnowledgeRun]:
        found = list(read_knowledge_runs(self.store, RunFilter(label=self.suite(policy, split))))
        return sorted(found, key=lambda run: (run.group_id, run.run_id))

    def write_knowledge(self, policy: str, split: str, group_size: int) -> None:
        """Have a policy write about the people of a split, unless it has."""
        config = self.config
        cases = knowledge_cases(
            self.dataset,
            split,
            people=config.test_people if split == "test" else config.people,
            requests=config.requests,
            seed=config.seed,
        )
        plan = KnowledgeConfig(
            label=self.suite(policy, split),
            split=split,
            group_size=group_size,
            guided=config.guided,
            seed=config.seed,
        )
        own: dict[str, str | None] = {"base_fingerprint": self.base_fingerprint}
        if policy == TUNED:
            own["adapter_fingerprint"] = fingerprint_adapter(self.adapter)
        check_earlier_runs(self.store, plan.label, own)
        ended = sum(len(page) for page in self.store.run_ids(RunFilter(label=plan.label, ended=True)))
        if ended >= len(cases) * group_size:
            return
        on_ended = report_tenths(self.say, f"{policy} knowledge ({split})")

        async def write() -> None:
            adapter = f"{self.label}-v1" if policy == TUNED else None
            try:
                await check_base(self.base_url, self.base, self.base_fingerprint)
                if adapter is not None:
                    await load_adapter(self.base_url, adapter, self.adapter.resolve())
            except PolicyUnavailableError as error:
                raise ServerLostError(f"The model's server is unavailable: {error}") from error
            async with CompletionPolicy(self.base_url, adapter=adapter, timeout_s=MAX_REQUEST_SECONDS) as asked:
                await collect_knowledge(
                    asked,
                    self.dataset,
                    self.store,
                    cases,
                    plan,
                    max_concurrency=config.concurrency,
                    on_ended=on_ended,
                )

        asyncio.run(write())

    def recommender_path(self, policy: str, backbone: str) -> Path:
        return self.out / "recommenders" / f"{policy}-{backbone}"

    def train_recommender(self, policy: str, backbone: str) -> None:
        """Train a recommender on a policy's knowledge about the split `learn`, unless it has been."""
        self.recommenders[f"{policy} {backbone}"] = train_augmented(
            backbone,
            self.recommender_path(policy, backbone),
            dataset=self.dataset,
            encoder=self.encoder,
            store=self.store,
            where=RunFilter(label=self.suite(policy, LEARN)),
            epochs=self.config.epochs,
            seed=self.config.seed,
            cache=self.cache,
            say=lambda line: self.say(f"{backbone} on {policy} knowledge: {line}"),
        )

    def scheme(self, backbone: str) -> str:
        """The scheme of a backbone's scores: those of another folder's recommender are not taken for them."""
        fingerprint = self.recommenders[f"{UNTUNED} {backbone}"].identity.fingerprint
        return f"{KNOWLEDGE_SCHEME}-{backbone}-{fingerprint[:8]}"

    def score(self, backbone: str) -> None:
        """Score the knowledge of the split `train` by the augmented recommender, under the trust of validation."""
        recommender = self.recommenders[f"{UNTUNED} {backbone}"]
        done = score_knowledge(
            self.store,
            RunFilter(label=self.suite(UNTUNED, SPLIT)),
            recommender=recommender,
            dataset=self.dataset,
            trust=choose_trust(recommender, self.runs(UNTUNED, "valid")),
            scheme=self.scheme(backbone),
        )
        self.say(
            f"{backbone} scored {done.runs} pieces of knowledge, {done.malformed} of them malformed; mean gain: "
            f"{shown(done.gain, 4, signed=True)}"
        )

    def tune(self) -> None:
        """Pair the best and the worst knowledge of each person by the first backbone, and train the policy on them."""
        config = self.config
        if self.adapter.is_dir():
            return
        made = make_pairs(
            self.store,
            RunFilter(label=self.suite(UNTUNED, SPLIT)),
            reward=StoredReward(scheme=self.scheme(config.backbones[0]), component=SCORE),
            name=self.label,
            margin=config.margin,
        )
        self.say(f"{made.pairs} pairs of {made.groups} groups; left out: {asdict(made)['left_out'] or 'none'}")
        factors = catalogue_factors(self.dataset.catalogue)
        on_step = report_tenths(self.say, "steps of DPO")
        train_dpo(
            read_rollout_pairs(self.store, self.label),
            base=self.base,
            out=self.out / "dpo",
            config=DpoConfig(
                epochs=config.dpo_epochs,
                learning_rate=config.learning_rate,
                seed=config.seed,
                device=config.device,
            ),
            answer=FirstAnswer(is_valid=lambda text: read_knowledge(text, factors).problem is None),
            on_step=lambda report: on_step(report.steps_done, report.steps),
        )


def summary(result: FeedbackResult) -> dict[str, Any]:
    """The result as JSON."""
    return {
        "adapter": str(result.adapter),
        "recommenders": {backbone: str(path) for backbone, path in result.recommenders.items()},
        **result.report.to_dict(),
    }
