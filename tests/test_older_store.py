"""A trace store of an earlier version opens, and gives the figures that the earlier version computed from it."""

import gzip
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from deeprec.agent import Traces, TraceStore
from deeprec.agent.traces import CaseRecord, RunFilter, export_jsonl, export_preferences, import_jsonl
from deeprec.evals import diagnose, load_results, make_report
from deeprec.training import read_rewarded, read_rollouts, report_store, stage_reward
from deeprec.trm_tool import read_preference_file

FIXTURES = Path(__file__).parent / "fixtures"
EXPECTED = json.loads((FIXTURES / "store_before_rooms.figures.json").read_text())
EXPORT = FIXTURES / "store_before_rooms.jsonl.gz"
GROUP = UUID(int=0xA000)


def restore(path: Path) -> Path:
    """The store as the earlier version left it."""
    connection = sqlite3.connect(path)
    connection.executescript(gzip.decompress((FIXTURES / "store_before_rooms.sql.gz").read_bytes()).decode())
    connection.close()
    return path


@pytest.fixture(scope="module", params=["opened", "imported"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TraceStore]:
    """The store itself, and what an earlier version exported of it."""
    path = tmp_path_factory.mktemp("older") / "traces.db"
    if request.param == "opened":
        restore(path)
    with TraceStore(path) as opened:
        if request.param == "imported":
            report = import_jsonl(opened, EXPORT)
            assert (report.imported, report.known, report.conflicts) == (len(EXPECTED["summaries"]), 0, ())
        yield opened


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def test_the_report_comes_out_the_same(store: TraceStore) -> None:
    results = load_results(store, "tiny")
    assert figures(make_report(results).to_dict()) == figures(EXPECTED["report"])
    assert {system.name: list(system.made_by) for system in results.systems} == EXPECTED["made_by"]
    assert {user: as_stored(case) for user, case in results.cases.items()} == EXPECTED["cases"]


def figures(report: dict[str, Any]) -> Any:
    """A report without its sentences, whose wording may change; how many they are stays."""
    return {name: len(value) if name in ("warnings", "notes") else value for name, value in plain(report).items()} | {
        "protocol": None
    }


def as_stored(case: CaseRecord) -> dict[str, float]:
    """A case as the earlier version had it among the rewards."""
    facts = {name: float(value) for name, value in asdict(case).items() if name != "phrases" and value is not None}
    return facts | {f"is: {phrase}": 1.0 for phrase in case.phrases}


def test_the_diagnosis_comes_out_the_same(store: TraceStore) -> None:
    # A system's name has no mark of an oracle any more, so that `--system` takes the names of the diagnosis.
    systems = {name.removesuffix(" (oracle)"): runs for name, runs in EXPECTED["diagnosis"]["systems"].items()}
    assert plain(diagnose(store).to_dict()) == EXPECTED["diagnosis"] | {"systems": systems}


def test_rollouts_rewards_and_the_training_report_come_out_the_same(store: TraceStore) -> None:
    refused: list[list[str]] = []
    rollouts = list(read_rollouts(store, on_refused=lambda error: refused.append([str(error.run_id), error.reason])))
    assert sorted(refused) == EXPECTED["refused"]
    digests = []
    for rollout in rollouts:
        logprobs = [round(float(value), 5) for value in rollout.logprobs]
        sequence = ([int(token) for token in rollout.token_ids], [int(mask) for mask in rollout.env_mask], logprobs)
        digests.append([str(rollout.run_id), sha256(repr(sequence).encode()).hexdigest()])
    assert digests == EXPECTED["rollouts"]
    stage, where = stage_reward("interaction", preset="paper"), RunFilter(suite="s")
    rewarded = [
        [str(each.rollout.run_id), dict(sorted(each.components.items())), each.reward]
        for each in read_rewarded(store, where, stage=stage)
    ]
    assert plain(rewarded) == EXPECTED["rewards"]
    report = asdict(report_store(store, where, stage=stage))
    assert (len(report.pop("leaks")), report["groups"].pop("of_several_prompts")) == (1, 0)  # not yet in that version
    assert figures(report) == figures(EXPECTED["store_report"])


def test_listings_and_preferences_come_out_the_same(store: TraceStore, tmp_path: Path) -> None:
    newer = {"tenant": None}  # fields that came later say nothing about these runs
    known = EXPECTED["summaries"]
    assert plain([asdict(summary) for summary in store.runs()]) == [summary | newer for summary in known]
    export_preferences(store, tmp_path / "preferences.parquet")
    names = ("run_id", "turn", "retrieval", "preference")
    rows = read_preference_file(tmp_path / "preferences.parquet")
    assert [{name: getattr(row, name) for name in names} for row in rows] == EXPECTED["preferences"]


def test_what_names_said_stands_in_columns(store: TraceStore) -> None:
    runs = Traces(store).runs()
    assert set(runs[runs.oracle].system) == {"trm-oracle"}
    assert dict(runs.groupby("system").kind.first()) == {
        "trm": "scored",
        "trm-oracle": "scored",
        "fused": "derived",
        "one-retrieval": "agent",
        "one-retrieval-shuffled": "agent",
        "deeprec-guided": "agent",
    }
    assert runs[runs.system == "one-retrieval-shuffled"].shuffled_of.tolist() == ["one-retrieval"] * 2
    assert runs.shuffled_of.notna().sum() == 2
    assert set(Traces(store).rewards().scheme) == {"deeprec", "stage-interaction"}
    assert len(Traces(store).metrics(wide=True)) == len(Traces(store).cases()) == 12


def test_what_was_exported_before_is_the_same_as_what_is_stored(store: TraceStore, tmp_path: Path) -> None:
    report = import_jsonl(store, EXPORT)
    assert (report.imported, report.known, report.conflicts) == (0, len(EXPECTED["summaries"]), ())
    export_jsonl(store, tmp_path / "again.jsonl")
    with TraceStore(tmp_path / "again.db") as other:
        import_jsonl(other, tmp_path / "again.jsonl")
        assert repr(list(other.traces())) == repr(list(store.traces()))
    assert store.run(GROUP).turns[0].prompt_ids
