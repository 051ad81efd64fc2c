"""Which requests training may use, and what it learns from them. The training is skipped without the extra `[trm]`."""

import json
from pathlib import Path
from typing import Any

import pytest

from deeprec.trm_tool import (
    DataError,
    Dataset,
    HashingEncoder,
    Query,
    RequestRefusal,
    Retriever,
    TrainingConfig,
    TRMConfig,
    collect_requests,
    load_artifact,
    train_trm,
)
from deeprec.trm_tool.data import ConversationFold, Request, read_fold

SMALL = TRMConfig(width=16, inner=32, layers=1, experts=2, max_length=4)
WORDS = ("zanzibar", "periwinkle", "quagmire", "umbrella", "xylophone", "bramble", "lighthouse", "cinnamon")


def request(conversation: str, **values: Any) -> Request:
    return Request(**{"conversation": conversation, "message": "something new", **values})


def reasons(dataset: Dataset, *requests: Request, holdout: int = 2, **options: Any) -> dict[str, int]:
    fine = request("fine", targets=dataset.catalogue.ids[:1])
    return dict(collect_requests(dataset, holdout, [fine, *requests], **options).refused)


def test_what_is_held_out_of_the_same_person_is_not_trained_on(dataset: Dataset) -> None:
    user = dataset.users[0]
    *early, valid, test = dataset.sequences[user]
    assert reasons(
        dataset,
        request("a", person=user, targets=(early[0], test)),
        request("b", person=user, targets=(valid,)),
        request("c", person=user, targets=(early[0],), history=(test,)),
        request("d", person=user, targets=(early[0],)),
        request("e", person="a stranger", targets=(test,), history=(valid,)),
        request("f", targets=(test,)),
    ) == {RequestRefusal.HELD_OUT_TARGET: 2, RequestRefusal.HELD_OUT_HISTORY: 1}
    third = request("g", person=user, targets=(early[-1],))
    assert reasons(dataset, third) == {}
    assert reasons(dataset, third, holdout=3) == {RequestRefusal.HELD_OUT_TARGET: 1}


def test_requests_that_teach_nothing_are_counted(dataset: Dataset) -> None:
    item, other = dataset.catalogue.ids[:2]
    assert reasons(
        dataset,
        request("a"),
        request("b", targets=("gone",)),
        request("c", targets=(item,), message="\N{POPCORN}"),
        request("d", targets=(item,), message="", history=(other,)),
        request("e", targets=(item, "gone"), history=("gone too",)),
    ) == {
        RequestRefusal.NO_TARGET: 1,
        RequestRefusal.UNKNOWN_TARGETS: 1,
        RequestRefusal.NOTHING_ASKED: 1,
    }
    with pytest.raises(DataError, match=r"no request to train on: 0 of 1 requests.*1 with no target"):
        collect_requests(dataset, 2, [request("a")])


def test_a_fold_and_a_tenth_of_the_conversations_are_kept_out_of_training(dataset: Dataset) -> None:
    requests = [request(f"c{number}", targets=dataset.catalogue.ids[:1]) for number in range(200)]
    fold = ConversationFold(number=2, of=5)
    found = collect_requests(dataset, 2, requests, without_fold=fold)
    kept = {each.conversation for each in (*found.training, *found.validation)}
    assert kept == {each.conversation for each in requests if each.conversation not in fold}
    assert found.refused == {RequestRefusal.OTHER_FOLD: 200 - len(kept)}
    assert 5 < len(found.validation) < 30
    assert not {each.conversation for each in found.training} & {each.conversation for each in found.validation}
    assert json.loads(json.dumps(found.to_dict()))["read"] == 200


def test_what_a_person_takes_in_the_fold_that_is_left_out_is_not_trained_on(dataset: Dataset) -> None:
    fold = ConversationFold(number=1, of=5)
    inside = next(name for name in map(str, range(100)) if name in fold)
    outside = [name for name in map(str, range(100)) if name not in fold]
    item, other = dataset.catalogue.ids[:2]
    assert reasons(
        dataset,
        request(outside[0], person="ann", targets=(item,)),
        request(outside[1], person="ann", targets=(other,), history=(item,)),
        request(outside[2], person="ann", targets=(other,)),
        request(outside[3], person="bob", targets=(item,)),
        request(outside[4], targets=(item,)),
        request(inside, person="ann", targets=(item,)),
        without_fold=fold,
    ) == {RequestRefusal.TARGET_OF_FOLD: 2, RequestRefusal.OTHER_FOLD: 1} | (
        {RequestRefusal.OTHER_FOLD: 2} if "fine" in fold else {}
    )


@pytest.fixture(scope="module")
def requests(dataset: Dataset) -> list[Request]:
    """Words that no item has, each for one item, by people with and without a history."""
    ids = dataset.catalogue.ids
    return [
        Request(
            conversation=f"c{number}",
            message=f"I am looking for a {WORDS[number % 8]}",
            history=() if number % 3 else ids[30:33],
            targets=(ids[number % 8],),
        )
        for number in range(160)
    ]


@pytest.fixture(scope="module")
def heard(dataset: Dataset, requests: list[Request], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    pytest.importorskip("recbole", reason="needs the extra [trm]")
    out = tmp_path_factory.mktemp("heard") / "artifact"
    fold = ConversationFold(number=1, of=5)
    metrics = train_trm(
        dataset,
        out,
        config=SMALL,
        encoder=HashingEncoder(),
        epochs=8,
        training=TrainingConfig(batch_size=2, learning_rate=0.02),
        requests=requests,
        without_fold=fold,
    )
    return out, metrics


def ranks(retriever: Retriever, requests: list[Request], **given: Any) -> Any:
    queries = [Query(**{"history": each.history, "words": each.message, **given}) for each in requests]
    return retriever.ranks_of([each.targets[0] for each in requests], queries)


@pytest.mark.slow
def test_words_are_learned_from_what_people_took_and_nothing_is_said_without_them(
    heard: tuple[Path, Any], dataset: Dataset, requests: list[Request]
) -> None:
    out, metrics = heard
    retriever = Retriever.load(out)
    unseen = [each for each in requests if each.conversation in read_fold("1/5")]
    without = ranks(retriever, unseen, words=None).mean()
    assert ranks(retriever, unseen, words_trust=1.0).mean() < without / 2
    assert ranks(retriever, unseen, history=(), words_trust=1.0).mean() < without / 2
    assert metrics["requests"]["refused"] == {RequestRefusal.OTHER_FOLD: len(unseen)}


@pytest.mark.slow
def test_the_artifact_says_how_far_words_are_trusted_and_which_conversations_are_fair(heard: tuple[Path, Any]) -> None:
    out, metrics = heard
    config = load_artifact(out).config
    assert config["without_fold"] == "1/5"
    trust = metrics["requests"]["trust"]
    # Too few held-out requests with a history and words: the trust is that of a preference.
    assert (config["words_trust"], trust["recall_at_10"]) == (config["trust"], ())
    card = (out / "README.md").read_text()
    assert f"training read {metrics['requests']['training']} requests in words, without the conversations of" in card


@pytest.mark.slow
def test_held_out_requests_choose_the_trust_in_words(dataset: Dataset, tmp_path: Path) -> None:
    pytest.importorskip("recbole", reason="needs the extra [trm]")
    ids = dataset.catalogue.ids
    some = [
        Request(
            conversation=f"c{number}", message=f"a {WORDS[number % 8]}", history=ids[30:33], targets=(ids[number % 8],)
        )
        for number in range(700)
    ]
    metrics = train_trm(dataset, tmp_path / "a", config=SMALL, encoder=HashingEncoder(), epochs=3, requests=some)
    trust = metrics["requests"]["trust"]
    assert trust["requests"] >= 50
    best = max(trust["recall_at_10"])
    assert trust["recall_at_10"][trust["trusts"].index(trust["chosen"])] == best
    assert load_artifact(tmp_path / "a").words_trust == trust["chosen"]
