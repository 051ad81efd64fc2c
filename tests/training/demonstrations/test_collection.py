"""Demonstrations: what they ask for, that they are exact rollouts of which no target leaks, and what is left out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from deeprec.agent import AgentConfig, TraceStore
from deeprec.agent.traces import RunFilter, RunTrace
from deeprec.evals import make_request_cases
from deeprec.training import DemonstrationConfig, Demonstrations, RolloutError, collect_demonstrations, read_rollouts
from deeprec.trm_tool import Artifact, ConfigError, Dataset, HashingEncoder, Query, Retriever
from deeprec.trm_tool.data import ConversationFold, MadeRequestConfig, Request, RequestMaker, Said


@pytest.fixture(scope="module")
def retriever(artifact: Artifact) -> Retriever:
    return Retriever(artifact, HashingEncoder())


@pytest.fixture(scope="module")
def made(dataset: Dataset) -> list[Request]:
    config = MadeRequestConfig(second_wishes=0.0, negations=0.5, bounds=0.5)
    return list(RequestMaker(dataset, config).make())


@pytest.fixture(scope="module")
def shown(
    made: list[Request],
    retriever: Retriever,
    dataset: Dataset,
    chat_base: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[TraceStore, Demonstrations]]:
    """The demonstrations of all made requests, and their store."""
    with TraceStore(tmp_path_factory.mktemp("shown") / "traces.db") as store:
        yield store, collect_demonstrations(made, retriever, store, base=chat_base, dataset=dataset)


def asked(trace: RunTrace) -> list[str]:
    """The segments of the preference of a run."""
    return str(trace.turns[0].preference).split("; ")


def test_each_asks_for_what_was_said_and_raises_its_target(
    shown: tuple[TraceStore, Demonstrations], made: list[Request], retriever: Retriever
) -> None:
    store, report = shown
    traces = list(store.traces())
    assert (report.requests, report.runs, report.new) == (len(made), len(traces), len(traces))
    assert report.runs + sum(report.left_out.values()) == len(made)
    assert report.runs >= 3
    said = {request.message: request for request in made}
    before = []
    for trace in traces:
        [wish] = said[str(trace.run.message)].said or ()
        wanted = [part for part in asked(trace) if part in wish.wanted]
        refused = [part.removeprefix("not ") for part in asked(trace) if part.startswith("not ")]
        bounds = [part for part in asked(trace) if "=" in part]
        assert len(wanted) + len(refused) + len(bounds) == len(asked(trace))
        assert len(wanted) <= 4
        assert set(refused) <= set(wish.unwanted)
        assert {part.split()[0] for part in bounds} <= set(wish.where or {})
        target, query = str(trace.run.target_id), Query(history=trace.run.history, words=trace.run.message)
        assert set(wanted) <= set(retriever.catalogue.phrases_of(target))
        where: dict[str, Any] = dict(wish.where or {}) if bounds else {}
        if wanted and not refused:
            rank = retriever.rank_of(target, replace(query, preference="; ".join(wanted), where=where))
            assert rank < retriever.rank_of(target, query)
        before.append(1 / retriever.rank_of(target, query))
    assert report.mean_reciprocal_rank_before == pytest.approx(sum(before) / len(before))
    assert (report.mean_reciprocal_rank or 0) > sum(before) / len(before)


def test_the_runs_are_exact_rollouts_for_sft_and_none_for_grpo(
    shown: tuple[TraceStore, Demonstrations], chat_base: Path
) -> None:
    store, report = shown
    rollouts = list(read_rollouts(store, RunFilter(suite="demonstrations", status="finished"), allow_guided=True))
    assert len(rollouts) == report.runs
    tokenizer = AutoTokenizer.from_pretrained(str(chat_base))
    for rollout in rollouts:
        trace = store.run(rollout.run_id)
        written = tokenizer.decode(rollout.token_ids[rollout.env_mask == 1].tolist())
        listed = "".join(f"{number}\n" for number in range(1, 11))
        assert written == f"{trace.turns[0].preference}<|end_of_preference|>{listed}</recommendation_list>"
        assert [entry.item_id for entry in trace.written] == [item.id for item in trace.retrievals[0].items]
        assert (trace.run.policy_model, trace.run.system, trace.run.split) == ("demonstrator", "demonstrator", "train")
    refused: list[RolloutError] = []
    assert list(read_rollouts(store, on_refused=refused.append)) == []
    assert {error.reason for error in refused} == {"guided"}


@pytest.mark.slow
def test_another_target_changes_no_token_of_the_prompt(
    made: list[Request], retriever: Retriever, dataset: Dataset, chat_base: Path, store: TraceStore
) -> None:
    history, message = made[0].history, "a comedy or a drama"
    others = [each.id for each in dataset.catalogue if each.id not in dataset.sequences[str(made[0].person)]]
    twice = [
        Request(conversation=f"c{at}", person=made[0].person, history=history, message=message, targets=(target,))
        for at, target in enumerate(others[:15])
    ]
    named = DemonstrationConfig(closest=0)
    report = collect_demonstrations(twice, retriever, store, base=chat_base, dataset=dataset, config=named)
    assert report.runs > 1
    traces = list(store.traces())
    assert len({trace.turns[0].prompt_ids for trace in traces}) == 1
    assert {part for trace in traces for part in asked(trace)} <= {"comedy", "drama"}


@pytest.mark.slow
def test_what_was_stopped_goes_on_and_what_is_there_is_not_made_again(
    made: list[Request],
    shown: tuple[TraceStore, Demonstrations],
    retriever: Retriever,
    dataset: Dataset,
    chat_base: Path,
    store: TraceStore,
) -> None:
    class StoppedError(Exception):
        pass

    def stop(read: int, runs: int) -> None:
        if runs == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        collect_demonstrations(made, retriever, store, base=chat_base, dataset=dataset, on_progress=stop)
    begun = {trace.run.run_id: trace.started_at for trace in store.traces()}
    assert len(begun) == 2
    report = collect_demonstrations(made, retriever, store, base=chat_base, dataset=dataset)
    assert (report.runs, report.new) == (shown[1].runs, shown[1].new - 2)
    ended = {trace.run.run_id: trace.started_at for trace in store.traces()}
    assert {run_id: ended[run_id] for run_id in begun} == begun
    texts = [
        {trace.run.run_id: [turn.text for turn in trace.turns] for trace in each.traces()} for each in (store, shown[0])
    ]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"targets": ()}, "no target"),
        ({"targets": ("none of ours",)}, "targets that the catalogue lacks"),
        ({"message": " ?! "}, "no words"),
        ({"made": True, "source": "made in test words"}, "made in words that are kept for tests"),
        (
            {"person": "somebody"},
            "a person whom the data does not have, so that no split is known (name what is held out)",
        ),
        ({"targets": -1}, "a target that is held out"),
        ({"targets": -2}, "a target that is held out"),
        ({"targets": -4, "history": ()}, "a target that the recommender has learned"),
        ({"history": -1}, "a held-out item of the person in the history"),
    ],
)
def test_what_is_evaluated_on_is_left_out_and_counted(
    changes: dict[str, Any],
    reason: str,
    retriever: Retriever,
    dataset: Dataset,
    chat_base: Path,
    store: TraceStore,
) -> None:
    sequence = dataset.sequences["u1"]
    given = {
        name: (sequence[value],) if isinstance(value, int) and not isinstance(value, bool) else value
        for name, value in changes.items()
    }
    request = Request(
        **{"conversation": "c", "person": "u1", "message": "a comedy", "targets": (sequence[-3],), **given}
    )
    report = collect_demonstrations([request], retriever, store, base=chat_base, dataset=dataset)
    assert (dict(report.left_out), report.runs, report.cases) == ({reason: 1}, 0, 0)
    assert store.runs() == []


def test_a_fold_that_the_recommender_left_out_is_all_that_counts(
    made: list[Request], artifact: Artifact, dataset: Dataset, chat_base: Path, store: TraceStore
) -> None:
    fold = ConversationFold(number=1, of=2)
    folded = Retriever(replace(artifact, config=artifact.config | {"without_fold": str(fold)}), HashingEncoder())
    report = collect_demonstrations(made[:6], folded, store, base=chat_base, dataset=dataset)
    inside = sum(request.conversation in fold for request in made[:6])
    assert 0 < inside < 6
    assert (report.cases, report.left_out["a conversation that the recommender has learned"]) == (inside, 6 - inside)


def test_a_run_that_does_not_end_with_its_list_is_counted_and_not_kept(
    shown: tuple[TraceStore, Demonstrations],
    retriever: Retriever,
    dataset: Dataset,
    made: list[Request],
    chat_base: Path,
    store: TraceStore,
    tmp_path: Path,
) -> None:
    base = tmp_path / "short"
    shutil.copytree(chat_base, base)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 400}))
    [first] = [each for each in made if each.message == next(shown[0].traces()).run.message]
    report = collect_demonstrations([first], retriever, store, base=base, dataset=dataset)
    [(reason, count)] = report.left_out.items()
    assert (count, report.runs, store.runs()) == (1, 0, [])
    assert "fallback" in reason
    assert "served model takes 400" in reason


def test_held_out_requests_decide_over_people_whom_the_data_does_not_have(
    retriever: Retriever, dataset: Dataset, chat_base: Path, store: TraceStore
) -> None:
    phrase = dataset.catalogue.phrases_of("900")[0]
    of_theirs = Request(conversation="theirs", person="anna", message=f"some {phrase}", targets=("900",))
    again = replace(of_theirs, conversation="another")
    other = replace(of_theirs, conversation="other", person="ben")
    held_out = make_request_cases([of_theirs], dataset.catalogue, source="test").cases
    report = collect_demonstrations(
        [of_theirs, again, other], retriever, store, base=chat_base, dataset=dataset, held_out=held_out
    )
    assert report.left_out.get("a conversation that is held out") == 1
    assert report.left_out.get("a target that is held out") == 1
    assert report.cases == 1


@pytest.mark.slow
def test_leaks_that_are_allowed_are_stored_under_the_split_that_they_are_of(
    retriever: Retriever, dataset: Dataset, chat_base: Path, store: TraceStore
) -> None:
    splits = {}
    for user, sequence in list(dataset.sequences.items())[:4]:
        for split, target in {"test": sequence[-1], "valid": sequence[-2], "train": sequence[-3]}.items():
            phrases = retriever.catalogue.phrases_of(target)
            before = sequence[: sequence.index(target)]
            splits[f"{user} {split}"] = Request(
                conversation=f"{user} {split}",
                person=user,
                history=before,
                message=", ".join(phrases),
                targets=(target,),
            )
    report = collect_demonstrations(
        splits.values(), retriever, store, base=chat_base, dataset=dataset, allow_leaks=True
    )
    stored = [(str(trace.run.group_id).split("/", 1)[1].split()[1], trace.run.split) for trace in store.traces()]
    assert report.runs == len(stored)
    assert {split for _, split in stored} == {"test", "valid", "train"}
    assert all(split == expected for expected, split in stored)


def test_a_person_without_a_split_is_stored_without_one_where_leaks_are_allowed(
    retriever: Retriever, dataset: Dataset, chat_base: Path, store: TraceStore
) -> None:
    requests = [
        Request(conversation=f"c{at}", message=", ".join(dataset.catalogue.phrases_of(item.id)), targets=(item.id,))
        for at, item in enumerate(list(dataset.catalogue)[:8])
    ]
    assert collect_demonstrations(requests, retriever, store, base=chat_base, allow_leaks=True).runs
    assert {trace.run.split for trace in store.traces()} == {None}
    with pytest.raises(ConfigError, match="No data is named"):
        collect_demonstrations(requests, retriever, store, base=chat_base)


@pytest.mark.slow
def test_a_record_of_what_was_said_decides_over_the_words(
    retriever: Retriever, dataset: Dataset, chat_base: Path, store: TraceStore
) -> None:
    requests = [
        Request(
            conversation=f"c{at}",
            message="a comedy, but nothing scary and no war",
            targets=(item.id,),
            said=(Said(wanted=("drama",), unwanted=("horror",)),),
        )
        for at, item in enumerate(list(dataset.catalogue)[:12])
    ]
    report = collect_demonstrations(requests, retriever, store, base=chat_base, allow_leaks=True)
    segments = {part for trace in store.traces() for part in asked(trace)}
    assert report.runs
    assert segments <= {"drama", "not horror"}
    assert "drama" in segments


@pytest.mark.slow
def test_words_alone_give_what_they_name_refuse_and_bound(
    retriever: Retriever, dataset: Dataset, chat_base: Path, store: TraceStore
) -> None:
    message = "a comedy or action, no horror please, and under 20 dollars"
    requests = [
        Request(conversation=f"c{at}", message=message, targets=(item.id,))
        for at, item in enumerate(list(dataset.catalogue)[:12])
    ]
    config = DemonstrationConfig(closest=0)
    collect_demonstrations(requests, retriever, store, base=chat_base, allow_leaks=True, config=config)
    found = {str(trace.run.target_id): asked(trace) for trace in store.traces()}
    assert {part for parts in found.values() for part in parts} == {"comedy", "action", "not horror", "price <= 20"}
    for target, parts in found.items():
        phrases = dataset.catalogue.phrases_of(target)
        assert ("not horror" in parts) == ("horror" not in phrases)
        assert ("price <= 20" in parts) == (float(str(dataset.catalogue.item(target).attributes["price"])) <= 20)
    hard = [trace.retrievals[0].constraints for trace in store.traces()]
    assert all(hard)  # the run itself holds the items to them


def test_other_settings_and_another_recommender_have_a_suite_of_their_own(
    retriever: Retriever, artifact: Artifact, dataset: Dataset, chat_base: Path, store: TraceStore
) -> None:
    other = Retriever(replace(artifact, fingerprint="another"), HashingEncoder())
    suites = [
        collect_demonstrations([], asked, store, base=chat_base, dataset=dataset, config=config).suite
        for asked, config in (
            (retriever, None),
            (retriever, DemonstrationConfig()),
            (retriever, DemonstrationConfig(closest=5)),
            (retriever, DemonstrationConfig(agent=replace(DemonstrationConfig().agent, k=5))),
            (other, None),
        )
    ]
    assert suites[0] == suites[1]
    assert len(set(suites)) == 4
    assert all(suite.startswith("demonstrations@") for suite in suites)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"name": "a@b"}, "without @"),
        ({"max_phrases": 0}, "from 1 to 6"),
        ({"closest": -1}, "Give 0 or more"),
        ({"agent": AgentConfig()}, "a guided run of one retrieval"),
        (
            {"agent": AgentConfig(guided=True, prompts="words", min_retrievals=1, max_retrievals=1, k=101)},
            "up to number 100",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        DemonstrationConfig(**settings)


def test_a_recommender_that_saw_the_targets_or_other_data_is_refused(
    made: list[Request], artifact: Artifact, dataset: Dataset, chat_base: Path, store: TraceStore
) -> None:
    for changes, why in (({"holdout": 2}, "--holdout 3"), ({"dataset_fingerprint": "other"}, "trained on other data")):
        other = Retriever(replace(artifact, config=artifact.config | changes), HashingEncoder())
        with pytest.raises(ConfigError, match=why):
            collect_demonstrations(made, other, store, base=chat_base, dataset=dataset)


def test_a_model_without_a_chat_template_is_refused(
    made: list[Request], retriever: Retriever, dataset: Dataset, tiny_base: Path, store: TraceStore, tmp_path: Path
) -> None:
    for base, why in ((tiny_base, "no chat template"), (tmp_path, "cannot be read as a language model")):
        with pytest.raises(ConfigError, match=why):
            collect_demonstrations(made, retriever, store, base=base, dataset=dataset)
