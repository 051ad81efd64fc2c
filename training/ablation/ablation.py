"""An ablation: each row is trained where it trains, and evaluated on the same people, into the store of one folder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deeprec.agent import TraceStore, load_adapter, make_server
from deeprec.evals.suites.harness import run_suite
from deeprec.evals.suites.suite import Entry, Suite
from deeprec.training.ablation.plan import FULL, AblationPlan
from deeprec.training.ablation.results import (
    LOCK_FILE,
    PLAN_FILE,
    STORE_FILE,
    TABLE_FILE,
    AblationResult,
    begun_fingerprints,
    check_plan,
    keep_plan,
    read_row,
    write_row,
)
from deeprec.training.ablation.row_settings import RowSettings, start_id
from deeprec.training.ablation.row_training import RowTrainer, TrainedPolicy
from deeprec.training.ablation.table import AblationTable, read_table, write_table
from deeprec.training.loop.messages import report_tenths
from deeprec.training.loop.start_checks import check_base
from deeprec.training.trainers.lock_files import lock_file
from deeprec.training.trainers.policy_model import read_base_fingerprint
from deeprec.trm_tool import Artifact, ConfigError, Dataset, Encoder, Retriever
from deeprec.trm_tool.errors import DeepRecError


def run_ablation(
    plan: AblationPlan,
    out: Path,
    *,
    rows: Sequence[str] = (),
    dataset: Dataset,
    artifact: Artifact,
    encoder: Encoder | None = None,
    base: Path | str,
    base_url: str | None = None,
    say: Callable[[str], None] = print,
) -> AblationTable:
    """Run rows of an ablation that are not done yet, and compare all that are.

    Args:
        plan: in the size that is run (`AblationPlan.sized`).
        out: the folder of the ablation: a trace store, the parts of trainings, the outcomes of rows, the table.
        rows: the rows to run; empty runs all, in the plan's order. A row that fails does not stop the others.
        dataset: people and targets.
        artifact: the recommender, trained with `--holdout 3`.
        encoder: its text encoder; None makes it by its id.
        base: the language model's folder or id.
        base_url: a server that serves `base` with LoRA and sees `out`; None starts one when a row needs it.
        say: called with a line for each thing that happened.

    Raises:
        ConfigError: the plan has no such row, or `out` was begun with another plan, or is used by another process.
    """
    settings = plan.settings()
    plan.check_rows(rows)
    fingerprints: dict[str, Any] = {
        "dataset": dataset.fingerprint,
        "recommender": artifact.fingerprint,
        "base": read_base_fingerprint(base, begun=begun_fingerprints(out).get("base")),
        "start": start_id(settings[FULL].config),
        **plan.file_ids(),
    }
    with lock_file(out / LOCK_FILE, busy=f"Another process runs the ablation in {out}."):
        keep_plan(plan, out, fingerprints)
        with TraceStore(str(out / STORE_FILE)) as store, ExitStack() as stack:
            ablation = _Ablation(
                plan=plan,
                out=out,
                store=store,
                dataset=dataset,
                recommender=Retriever(artifact, encoder),
                base=base,
                base_fingerprint=str(fingerprints["base"]),
                given_url=base_url,
                say=say,
                stack=stack,
            )
            for name in rows or settings:
                ablation.run(settings[name])
            table = read_table(plan, out, store)
        write_table(table, out)
    return table


def show_ablation(plan: AblationPlan, out: Path, *, say: Callable[[str], None] = print) -> AblationTable:
    """Read the table of the rows that are done, and write it unless another process runs the ablation.

    Args:
        plan: in the size that was run.
        out: the folder of the ablation.
        say: called with a line where the table could not be written.

    Raises:
        ConfigError: `out` holds no ablation, or one of another plan, or the outcome of a row cannot be read.
    """
    if not ((out / PLAN_FILE).is_file() and (out / STORE_FILE).is_file()):
        raise ConfigError(f"{out} holds no ablation yet. Run the command without --table first.")
    check_plan(plan, out)
    with TraceStore(str(out / STORE_FILE), create=False) as store:
        table = read_table(plan, out, store)
    try:
        with lock_file(out / LOCK_FILE, busy=f"Another process runs the ablation in {out}."):
            write_table(table, out)
    except ConfigError as error:
        say(f"{TABLE_FILE} was not written: {error}")
    return table


@dataclass(kw_only=True)
class _Ablation:
    plan: AblationPlan
    out: Path
    store: TraceStore
    dataset: Dataset
    recommender: Retriever
    base: Path | str
    base_fingerprint: str
    given_url: str | None
    say: Callable[[str], None]
    stack: ExitStack
    own_url: str | None = field(default=None)
    """The address of the server that was started here."""

    def run(self, settings: RowSettings) -> None:
        """Run a row to its end, unless it is done; a failure is kept as the row's outcome."""
        name = settings.name
        done = read_row(self.out, name)
        if done is not None and done.failed is None:
            self.say(f"{name}: done before")
            return
        self.say(f"{name}: begins")
        began, before = time.monotonic(), 0.0 if done is None else done.seconds
        try:
            result = self._run(settings)
        except Exception as error:  # one of a library too, such as a full memory, is that of this row alone
            why = str(error) if isinstance(error, DeepRecError) else f"{type(error).__name__}: {error}"
            self.say(f"{name}: failed: {why}")
            write_row(self.out, name, AblationResult(failed=why, seconds=before + time.monotonic() - began))
            self._stop_server()  # the next row begins with a new one
            return
        seconds = before + time.monotonic() - began
        write_row(self.out, name, replace(result, seconds=seconds))
        self.say(f"{name}: done in {seconds:,.0f} s")

    def _run(self, settings: RowSettings) -> AblationResult:
        row, version = settings.row, self.plan.test.version
        if row.policy == "none":
            return AblationResult(suite=self._evaluate(settings, None))
        trainer = RowTrainer(
            out=self.out,
            store=self.store,
            dataset=self.dataset,
            recommender=self.recommender,
            base=self.base,
            base_url=self.base_url,
            say=self.say,
        )
        trained: TrainedPolicy | None = None
        if settings.parts:
            trained = trainer.train(settings.parts[-1], version=version if row.policy == "stages" else "last")
        elif row.policy == "start" and settings.config.start is not None:
            trained = trainer.given(settings.config.start)
        model = asyncio.run(self._serve(trained))
        label = self._evaluate(settings, model)
        return AblationResult(suite=label, policy=model, preferred=None if trained is None else trained.preferred)

    async def _serve(self, trained: TrainedPolicy | None) -> str:
        """Have the server load a policy; returns the name to ask for it, that of the base model without one."""
        if trained is not None:
            await load_adapter(self.base_url(), trained.name, trained.folder)
            return trained.name
        return (await check_base(self.base_url(), self.base, self.base_fingerprint)).name

    def _evaluate(self, settings: RowSettings, model: str | None) -> str:
        """Run the row's system on the test people; returns the label of its runs."""
        name, test, config = settings.name, self.plan.test, settings.config
        agent = {setting: value for setting, value in config.agent.items() if setting != "k"}
        suite = Suite(
            name=f"{self.plan.name}-{name}",
            data=config.data,
            split="test",
            requests=config.requests and self.plan.test_requests,
            users=test.users,
            users_seed=test.users_seed,
            k=config.agent_config(guided=False).k,
            agent=agent | {"temperature": test.temperature},
            seeds=test.seeds,
            baseline=name,
            systems=(Entry(system=settings.row.system, name=name, model=model),),
        )
        report = report_tenths(self.say, f"test of {name}")
        return run_suite(
            suite,
            self.store,
            dataset=self.dataset,
            artifact=self.recommender,
            base_url=None if model is None else self.base_url(),
            max_concurrency=config.concurrency,
            on_progress=lambda progress: report(progress.done, progress.total),
        )

    def base_url(self) -> str:
        """The address of the model's server, which is started where none was named."""
        if self.given_url is not None:
            return self.given_url
        if self.own_url is None:
            config = self.plan.settings()[FULL].config
            server = make_server(
                self.base,
                log=self.out / "server.log",
                max_num_seqs=config.concurrency,
                dtype=config.dtype,
                vllm_args=config.server_args,
            )
            self.stack.enter_context(server)
            server.wait_healthy(on_progress=self.say)
            self.own_url = server.base_url
        return self.own_url

    def _stop_server(self) -> None:
        self.stack.close()
        self.own_url = None
