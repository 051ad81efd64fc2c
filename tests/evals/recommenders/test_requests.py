"""A recommender on requests: history, words and both, on conversations that its training left out."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from deeprec.agent.cli.main import app
from deeprec.evals import RequestScores, evaluate_requests
from deeprec.trm_tool import Artifact, ConfigError, Query, Retriever, load_artifact
from deeprec.trm_tool.data import Request, read_fold, write_requests


@pytest.fixture
def requests(retriever: Retriever) -> list[Request]:
    ids = retriever.catalogue.ids
    return [
        Request(
            conversation=f"c{number // 2}",
            turn=number % 2,
            message="" if number % 5 == 0 else "a horror film",
            history=() if number % 4 == 0 else ids[:3],
            targets=ids[5 + number % 20 : 6 + number % 20 + number % 2],
        )
        for number in range(60)
    ]


def rows_of(scores: tuple[RequestScores, ...]) -> dict[str, RequestScores]:
    return {row.row: row for row in scores}


def test_each_row_asks_with_its_own_part_and_masks_the_history(retriever: Retriever, requests: list[Request]) -> None:
    found = evaluate_requests([retriever], requests)
    assert (len(found.cases), found.conversations) == (90, 30)  # one case for each request and target
    targets = [target for request in requests for target in request.targets]
    asked = [request for request in requests for _ in request.targets]
    expected = {
        "history": [Query(history=each.history) for each in asked],
        "words": [Query(words=each.message, exclude=each.history) for each in asked],
        "both": [Query(history=each.history, words=each.message) for each in asked],
    }
    rows = rows_of(found.scores)
    for name, queries in expected.items():
        ranks = retriever.ranks_of(targets, queries)
        np.testing.assert_array_equal(rows[name].ranks, ranks)
        assert rows[name].metrics["recall@10"].mean == pytest.approx((ranks <= 10).mean())
    assert len({rows[name].metrics["ndcg@10"].mean for name in expected}) == 3
    gain = rows["both"].above_history["recall@10"]
    assert gain.mean == pytest.approx(
        rows["both"].metrics["recall@10"].mean - rows["history"].metrics["recall@10"].mean
    )
    assert rows["history"].above_history == {}


def test_artifacts_answer_for_their_folds_and_are_pooled(artifact: Artifact, requests: list[Request]) -> None:
    folds = [
        Retriever(replace(artifact, config=artifact.config | {"without_fold": f"{number}/3"})) for number in (1, 2, 3)
    ]
    first = evaluate_requests(folds[:1], requests)
    assert {case.conversation for case in first.cases} == {
        each.conversation for each in requests if each.conversation in read_fold("1/3")
    }
    pooled = evaluate_requests(folds, requests)
    assert (len(pooled.cases), pooled.conversations) == (90, 30)
    assert "folds 1/3, 2/3, 3/3" in pooled.protocol
    whole = evaluate_requests([Retriever(artifact)], requests)
    for one, other in zip(pooled.scores, whole.scores, strict=True):
        assert sorted(one.ranks) == sorted(other.ranks)
    with pytest.raises(ConfigError, match="Two artifacts answer for fold 1/3"):
        evaluate_requests([folds[0], folds[0]], requests)


@pytest.mark.parametrize("others", [("1/5", "1/4"), ("1/5", None), (None, "1/5")])
def test_folds_that_overlap_are_not_pooled(
    artifact: Artifact, requests: list[Request], others: tuple[str | None, str | None]
) -> None:
    configs = [artifact.config | ({"without_fold": fold} if fold else {}) for fold in others]
    retrievers = [Retriever(replace(artifact, config=config)) for config in configs]
    with pytest.raises(ConfigError, match=r"An artifact without .* would answer for the same conversations twice"):
        evaluate_requests(retrievers, requests)


def test_an_artifact_that_may_have_read_the_requests_is_noted(artifact: Artifact, requests: list[Request]) -> None:
    trained = Retriever(replace(artifact, metrics={"requests": {"read": 3}}))
    [note] = evaluate_requests([trained], requests).notes
    assert "left no fold out; nothing proves that these were not among them" in note
    assert evaluate_requests([Retriever(artifact)], requests).notes == ()


def test_the_command_prints_the_rows_and_writes_json(
    artifact_folder: Path, requests: list[Request], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    file = tmp_path / "requests.jsonl"
    write_requests(file, requests, catalogue=load_artifact(artifact_folder).catalogue)
    start = ["trm", "eval", str(artifact_folder), "--requests", str(file)]
    shown = CliRunner().invoke(app, start)
    assert shown.exit_code == 0, shown.output
    for part in ("history", "words", "both", "both less history", "90 cases of 30 conversations"):
        assert part in shown.output
    written = json.loads(CliRunner().invoke(app, [*start, "--json"]).stdout)
    assert [row["row"] for row in written["scores"]] == ["history", "words", "both"]
    assert (written["cases"], written["conversations"]) == (90, 30)
    two = CliRunner().invoke(app, ["trm", "eval", str(artifact_folder), str(artifact_folder)])
    assert isinstance(two.exception, ConfigError)
    assert "--requests alone pools folds" in str(two.exception)
