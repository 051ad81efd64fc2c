import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from deeprec.agent.cli.main import app
from deeprec.evals import evaluate_written, written_table
from deeprec.trm_tool import (
    Artifact,
    ConfigError,
    DataError,
    Dataset,
    Query,
    Retriever,
    write_preference_file,
)
from tests.written_rows import written

WITHOUT, WITH, DIFFERENCE = "TRM, the same users", "TRM + preferences written in logged runs", "difference, paired"


def test_a_users_score_is_the_mean_over_that_users_preferences(
    artifact: Artifact, dataset: Dataset, retriever: Retriever
) -> None:
    texts = {user: ("comedy", "horror; 1980s", "2000s")[: 1 + number % 3] for number, user in enumerate(dataset.users)}
    rows = [
        written(dataset, user=user, before=1, split="test", preference=text)
        for user, own in texts.items()
        for text in own
    ]
    found = evaluate_written(artifact, dataset, rows)
    assert (found.cases, found.read, found.used, found.refused) == (12, 24, 24, {})
    for masked in (True, False):

        def hits(preferences: tuple[str | None, ...], user: str, masked: bool = masked) -> float:
            query = [
                Query(history=dataset.history(user, 1), preference=p, include_seen=not masked) for p in preferences
            ]
            ranks = retriever.ranks_of([dataset.target(user, 1)] * len(query), query)
            return float(np.mean(ranks <= 20))

        alone = np.array([hits((None,), user) for user in dataset.users])
        with_preferences = np.array([hits(texts[user], user) for user in dataset.users])
        by_system = {row.system: row.metrics["recall@20"] for row in found.scores if row.masked == masked}
        assert list(by_system) == [WITHOUT, WITH, DIFFERENCE]
        assert by_system[WITHOUT].mean == pytest.approx(alone.mean())
        assert by_system[WITH].mean == pytest.approx(with_preferences.mean())
        assert by_system[DIFFERENCE].mean == pytest.approx((with_preferences - alone).mean())
        assert {interval.n for interval in by_system.values()} == {12}
        assert not np.array_equal(alone, with_preferences)  # else nothing was shown


def test_without_trust_a_preference_changes_nothing(artifact: Artifact, dataset: Dataset) -> None:
    rows = [written(dataset, user=user, before=1) for user in dataset.users]
    assert evaluate_written(artifact, dataset, rows).trust == artifact.config["trust"]
    untrusted = evaluate_written(artifact, dataset, rows, trust=0.0)
    assert "trusted 0:" in untrusted.protocol
    for row in untrusted.scores:
        if row.system == DIFFERENCE:
            assert {interval.mean for interval in row.metrics.values()} == {0.0}


def test_rows_of_other_positions_and_of_recommenders_that_knew_the_target_do_not_count(
    artifact: Artifact, dataset: Dataset
) -> None:
    rows = [
        written(dataset, before=1, split="test"),
        written(dataset, before=2, split="valid"),
        written(dataset, before=0),
        written(dataset, user="u2", before=1, trm_holdout=0),
        written(dataset, user="u3", before=1, dataset_fingerprint="cd" * 32),
        written(dataset, user="u4", before=1, history_sha256="0" * 64),
    ]
    found = evaluate_written(artifact, dataset, iter(rows))
    assert (found.cases, found.read, found.used) == (1, 6, 1)
    assert found.refused == {
        "a target that is not the split's": 2,
        "a recommender that had learned the target": 1,
        "a recommender of other data": 1,
        "a history that is not the beginning of the user's": 1,
    }
    assert evaluate_written(artifact, dataset, rows, split="valid").cases == 1


def test_a_target_seen_before_is_no_hit_when_seen_items_are_masked(artifact: Artifact, dataset: Dataset) -> None:
    again = dataclasses.replace(dataset, sequences=dataset.sequences | {"u1": ("900", "893", "886", "900")})
    rows = [written(again, before=1, preference="comedy")]
    for row in evaluate_written(artifact, again, rows).scores:
        if row.masked:
            assert row.metrics["recall@20"].mean == 0


def test_nothing_to_report_on_is_a_mistake(artifact: Artifact, dataset: Dataset) -> None:
    with pytest.raises(DataError, match=r"None of 1 .* test case of tiny \(1 with a target that is not the split's\)"):
        evaluate_written(artifact, dataset, [written(dataset, before=2)])
    with pytest.raises(DataError, match="None of 0 written preferences"):
        evaluate_written(artifact, dataset, [])


def test_an_artifact_that_learned_the_targets_is_refused(artifact: Artifact, dataset: Dataset) -> None:
    learned = dataclasses.replace(artifact, config=artifact.config | {"holdout": 0})
    with pytest.raises(ConfigError, match="Train it again with `--holdout 1`"):
        evaluate_written(learned, dataset, [written(dataset, before=1)])


def test_who_wrote_is_reported_and_cannot_write_to_the_terminal(artifact: Artifact, dataset: Dataset) -> None:
    rows = [
        written(dataset, before=1),
        written(
            dataset, user="u2", before=1, policy_model="\x1b[31mred", adapter="a", adapter_version="4", guided=False
        ),
    ]
    found = evaluate_written(artifact, dataset, rows)
    assert found.policies == {"SmolLM2-135M-Instruct, guided": 1, "[31mred, adapter a 4, free": 1}
    notes = " ".join(found.notes)
    assert "SmolLM2-135M-Instruct, guided (1)" in notes
    assert "10 of 12 users have no such preference" in notes
    assert "2 users are too few" in notes
    assert "\x1b" not in notes


def test_the_table_and_the_json_hold_every_row(artifact: Artifact, dataset: Dataset) -> None:
    found = evaluate_written(artifact, dataset, [written(dataset, user=user, before=1) for user in dataset.users])
    console = Console(width=160, record=True)
    console.print(written_table(found))
    page = console.export_text()
    assert "12 for 12 test users" in page
    assert all(page.count(name) == 2 for name in (WITHOUT, WITH, DIFFERENCE))
    result = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [row["system"] for row in result["scores"]] == [WITHOUT, WITH, DIFFERENCE] * 2
    assert {"mean", "low", "high", "n"} == set(result["scores"][0]["metrics"]["ndcg@10"])


class TestCommand:
    def test_the_report_stands_below_the_table_and_in_the_json(
        self, artifact_folder: Path, atomic_folder: Path, dataset: Dataset, tmp_path: Path
    ) -> None:
        rows = [written(dataset, user=user, before=1) for user in dataset.users]
        write_preference_file(tmp_path / "written.parquet", [*rows, written(dataset, before=2)])
        start = ["trm", "eval", str(artifact_folder), "--data", str(atomic_folder)]
        start += ["--preferences", str(tmp_path / "written.parquet")]
        page = CliRunner(env={"COLUMNS": "200"}).invoke(app, start, catch_exceptions=False).stdout
        assert page.index("with 95% intervals") < page.index("12 for 12 test users") < page.index(WITH)
        assert "that do not count here: 1 with a target that is not the split's." in page
        result = json.loads(CliRunner().invoke(app, [*start, "--json"], catch_exceptions=False).stdout)
        assert result["written_preferences"]["used"] == 12
        plain = json.loads(CliRunner().invoke(app, [*start[:-2], "--json"], catch_exceptions=False).stdout)
        assert "written_preferences" not in plain

    def test_a_bad_file_is_named_before_anything_is_measured(
        self, artifact_folder: Path, atomic_folder: Path, tmp_path: Path
    ) -> None:
        arguments = ["trm", "eval", str(artifact_folder), "--data", str(atomic_folder), "--preferences"]
        for name, words in (("absent.parquet", "absent.parquet does not exist"), (".", "traces export --preferences")):
            outcome = CliRunner().invoke(app, [*arguments, str(tmp_path / name)])
            assert isinstance(outcome.exception, DataError)
            assert words in str(outcome.exception)
