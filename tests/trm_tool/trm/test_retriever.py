from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deeprec.trm_tool import (
    Catalogue,
    ConfigError,
    Dataset,
    HashingEncoder,
    PreferenceAwareTRM,
    Query,
    Retrieved,
    Retriever,
    ScoredItem,
    UnknownItemError,
    encode_preferences,
    load_artifact,
)
from tests.growth import MOST, times_as_long

HISTORY = ("900", "893", "753")


def ids(found: Retrieved) -> list[str]:
    return [item.id for item in found]


def test_items_come_best_first_with_their_scores(retriever: Retriever) -> None:
    found = retriever.retrieve(HISTORY, k=10)
    scores = [item.score for item in found]
    assert len(set(ids(found))) == 10
    assert scores == sorted(scores, reverse=True)
    assert all(-1.001 <= score <= 1.001 for score in scores)
    assert all(type(item.score) is float for item in found)
    assert found.unenforced == ()


def test_scores_are_those_of_the_model(retriever: Retriever, artifact_folder: Path) -> None:
    artifact = load_artifact(artifact_folder)
    rows = torch.full((1, artifact.model.config.max_length), -1)
    rows[0, :3] = torch.from_numpy(artifact.catalogue.rows(HISTORY))
    preference = torch.from_numpy(encode_preferences(HashingEncoder(), artifact.catalogue, ["comedy"]))
    for trust, effective in ((None, artifact.config["trust"]), (0.9, 0.9)):
        scores = (artifact.model.query(rows, preference, trust=effective) @ artifact.model.item_vectors().T)[0]
        found = retriever.retrieve(HISTORY, "comedy", k=50, trust=trust, include_seen=True)
        assert ids(found) == [artifact.catalogue.ids[row] for row in torch.argsort(scores, descending=True)]
        assert found[0].score == pytest.approx(float(scores.max()), abs=1e-6)


def test_trust_is_the_weight_of_the_preference(retriever: Retriever) -> None:
    without = retriever.retrieve(HISTORY, k=50)
    assert retriever.retrieve(HISTORY, "comedy", k=50, trust=0) == without
    assert retriever.retrieve(HISTORY, "comedy", k=50, trust=0.1) != without
    both = [Query(history=HISTORY, preference="comedy", trust=trust) for trust in (0.0, 0.7)]
    one_by_one = [retriever.retrieve(HISTORY, "comedy", k=50, trust=trust) for trust in (0.0, 0.7)]
    assert [ids(found) for found in retriever.retrieve_batch(both, k=50)] == [ids(found) for found in one_by_one]
    # Without a history the preference decides alone, unless its trust is 0.
    assert ids(retriever.retrieve([], "comedy", k=50, trust=0.1)) == ids(retriever.retrieve([], "comedy", k=50))
    assert retriever.retrieve([], "comedy", k=50, trust=0) == retriever.retrieve([], k=50)


def test_a_text_alone_is_a_query_even_where_validation_trusts_no_preference(artifact_folder: Path) -> None:
    artifact = load_artifact(artifact_folder)
    distrusting = Retriever(replace(artifact, config=artifact.config | {"trust": 0.0}))
    assert distrusting.retrieve(HISTORY, "comedy", k=5) == distrusting.retrieve(HISTORY, k=5)
    assert ids(distrusting.retrieve([], "comedy", k=50)) == ids(Retriever(artifact).retrieve([], "comedy", k=50))


def test_words_move_the_answer_beside_the_preference_each_by_its_own_trust(artifact_folder: Path) -> None:
    artifact = load_artifact(artifact_folder)
    retriever = Retriever(replace(artifact, config=artifact.config | {"trust": 0.2, "words_trust": 0.9}))
    heard = retriever.retrieve(HISTORY, "comedy", words="a horror film", k=50)
    model, catalogue = artifact.model, artifact.catalogue
    state = model.encode_histories(torch.from_numpy(catalogue.rows(HISTORY)).unsqueeze(0))
    comedy, horror = (
        model.adapt_preference(torch.from_numpy(encode_preferences(HashingEncoder(), catalogue, [text])))
        for text in ("comedy", "a horror film")
    )
    scores = (model.combine(state, comedy, 0.2, horror, 0.9) @ model.item_vectors().T)[0]
    assert heard[0].score == pytest.approx(float(scores[catalogue.rows([heard[0].id])[0]]))
    assert retriever.retrieve(HISTORY, "comedy", words="a horror film", words_trust=0, k=50) == retriever.retrieve(
        HISTORY, "comedy", k=50
    )
    assert ids(heard) != ids(retriever.retrieve(HISTORY, "comedy", words="a horror film", words_trust=0.2, k=50))
    # Without a history the words alone decide, and of two texts the one that is trusted more.
    alone = retriever.retrieve([], words="a horror film", k=50)
    assert alone == retriever.retrieve([], "a horror film", k=50)
    closer = [
        sum(abs(ids(other).index(item) - position) for position, item in enumerate(ids(alone)))
        for other in (
            retriever.retrieve([], "comedy", words="a horror film", k=50),
            retriever.retrieve([], "a horror film", words="comedy", k=50),
        )
    ]
    assert closer[0] < closer[1]


def test_words_count_as_a_preference_where_training_gave_them_no_trust_of_their_own(artifact_folder: Path) -> None:
    artifact = load_artifact(artifact_folder)
    old = Retriever(replace(artifact, config={k: v for k, v in artifact.config.items() if k != "words_trust"}))
    assert old.retrieve(HISTORY, words="comedy", k=50) == old.retrieve(HISTORY, "comedy", k=50)


@pytest.mark.parametrize("words", [None, "", " \n", "\x00\u200b", "\N{POPCORN}\N{GHOST}!", "… — ?"])
def test_what_holds_no_letter_and_no_digit_is_no_words(retriever: Retriever, words: str | None) -> None:
    assert retriever.retrieve(HISTORY, words=words, k=20) == retriever.retrieve(HISTORY, k=20)
    assert retriever.retrieve((), words=words, k=20) == retriever.retrieve((), k=20)


@pytest.mark.parametrize("words", ["コメディ映画", "смешное", "1994"])
def test_words_of_any_script_are_read(retriever: Retriever, words: str) -> None:
    assert retriever.retrieve(HISTORY, words=words, k=50) != retriever.retrieve(HISTORY, k=50)


@pytest.mark.parametrize("trust", [-0.1, 1.5, float("nan"), float("inf")])
def test_a_trust_outside_its_range_is_refused(retriever: Retriever, trust: float) -> None:
    with pytest.raises(ConfigError, match="trust is"):
        retriever.retrieve(HISTORY, "comedy", k=5, trust=trust)


def test_what_was_seen_comes_back_only_when_asked_for(retriever: Retriever) -> None:
    assert not set(HISTORY) & set(ids(retriever.retrieve(HISTORY, k=50)))
    assert len(retriever.retrieve(HISTORY, k=50)) == 47
    assert len(retriever.retrieve(HISTORY, k=50, include_seen=True)) == 50


def test_all_of_a_long_history_is_masked_and_its_end_is_read(retriever: Retriever, catalogue: Catalogue) -> None:
    long = catalogue.ids[:30]  # the tiny model reads 8
    assert not set(long) & set(ids(retriever.retrieve(long, k=50)))
    of_long = retriever.retrieve(long, k=50, include_seen=True)
    assert ids(of_long) == ids(retriever.retrieve(long[-8:], k=50, include_seen=True))


def test_the_order_of_a_history_matters(retriever: Retriever) -> None:
    assert ids(retriever.retrieve(HISTORY, k=20)) != ids(retriever.retrieve(HISTORY[::-1], k=20))


def test_excluded_items_do_not_come_back(retriever: Retriever) -> None:
    first = ids(retriever.retrieve(HISTORY, k=3))
    assert ids(retriever.retrieve(HISTORY, k=2, exclude={first[0]})) == first[1:]


def test_a_preference_changes_the_ranking_and_a_blank_one_does_not(retriever: Retriever) -> None:
    without = retriever.retrieve(HISTORY, k=20)
    assert ids(retriever.retrieve(HISTORY, "horror; 1990s", k=20)) != ids(without)
    for blank in (None, "", " \n\t", "\x00\u200b"):
        assert retriever.retrieve(HISTORY, blank, k=20) == without


def test_an_enormous_preference_is_read_up_to_its_limit(retriever: Retriever) -> None:
    long = "comedy " * 285 + "horror " * 1_000_000

    def retrieve(text: str) -> list[ScoredItem]:
        return retriever.retrieve(HISTORY, text, k=5)

    read = long[:2000]
    assert retrieve(long) == retrieve(read)
    assert times_as_long(lambda: retrieve(long), lambda: retrieve(read), most=MOST) <= MOST


def test_without_a_history_the_preference_decides(retriever: Retriever) -> None:
    comedy = ids(retriever.retrieve((), "comedy", k=10))
    assert comedy != ids(retriever.retrieve((), "horror", k=10))
    assert len(comedy) == 10


def test_without_history_and_preference_popularity_decides(retriever: Retriever, dataset: Dataset) -> None:
    seen = [item for user in dataset.users for item in dataset.history(user, 2)]
    counts = np.array([seen.count(item) for item in dataset.catalogue.ids])
    by_popularity = [dataset.catalogue.ids[row] for row in np.argsort(-counts, kind="stable")]
    found = retriever.retrieve((), k=50)
    assert ids(found) == by_popularity  # ties in catalogue order, at the cut too
    assert ids(retriever.retrieve((), k=7)) == by_popularity[:7]
    assert found[0].score == 1.0


def test_a_person_not_in_the_data_is_served(retriever: Retriever, dataset: Dataset) -> None:
    stranger = ("564", "557", "900", "564")
    assert stranger not in dataset.sequences.values()
    assert len(retriever.retrieve(stranger, k=10)) == 10


def test_a_batch_answers_as_single_queries_do_in_one_forward_pass(
    retriever: Retriever, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = [
        Query(),
        Query(preference="comedy"),
        Query(history=HISTORY, preference="horror"),
        Query(history=HISTORY[:1], exclude=("893",)),
        Query(history=dataset.history("u1"), where={"studio": {"in": ["Fox"]}}, include_seen=True),
        Query(history=HISTORY, preference="horror", words="with my children"),
        Query(words="with my children"),
    ]
    passes = []
    forward = PreferenceAwareTRM.encode_histories

    def note(self: PreferenceAwareTRM, rows: torch.Tensor) -> torch.Tensor:
        passes.append(len(rows))
        return forward(self, rows)

    monkeypatch.setattr(PreferenceAwareTRM, "encode_histories", note)
    batch = retriever.retrieve_batch(queries, k=10)
    assert passes == [7]
    for query, found in zip(queries, batch, strict=True):
        (alone,) = retriever.retrieve_batch([query], k=10)
        assert ids(found) == ids(alone)
        assert [item.score for item in found] == pytest.approx([item.score for item in alone], abs=1e-6)
    assert retriever.retrieve_batch([], k=10) == []
    assert len(retriever.retrieve_batch([Query()] * 300, k=1)) == 300


def test_the_number_of_threads_is_left_as_it_was(retriever: Retriever) -> None:
    torch.set_num_threads(2)
    try:
        retriever.retrieve(HISTORY, "comedy", k=5)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_items_of_equal_score_come_in_catalogue_order(artifact_folder: Path) -> None:
    artifact = load_artifact(artifact_folder)
    with torch.no_grad():
        for parameter in artifact.model.parameters():
            parameter.zero_()
    found = Retriever(artifact).retrieve(HISTORY, "comedy", k=50, include_seen=True)
    assert ids(found) == list(artifact.catalogue.ids)


def test_ranks_agree_with_the_ranking(retriever: Retriever) -> None:
    query = Query(history=HISTORY, preference="comedy")
    ranking = ids(retriever.retrieve(HISTORY, "comedy", k=50))
    assert [retriever.rank_of(item, query) for item in ranking] == list(range(1, 48))
    assert retriever.rank_of("900", query) == 48  # masked: after all that may come back
    assert retriever.ranks_of(ranking[:3], [query] * 3).tolist() == [1, 2, 3]
    popular = ids(retriever.retrieve((), k=50))
    assert [retriever.rank_of(item, Query()) for item in popular] == list(range(1, 51))
    with pytest.raises(ConfigError, match="1 items for 0 queries"):
        retriever.ranks_of(["900"], [])


@pytest.mark.parametrize("k", [0, -1, 1.5, True, None])
def test_a_k_that_returns_nothing_is_refused(retriever: Retriever, k: int) -> None:
    with pytest.raises(ConfigError, match="k is"):
        retriever.retrieve(HISTORY, k=k)


@pytest.mark.slow
def test_ids_that_do_not_exist_are_named(retriever: Retriever) -> None:
    with pytest.raises(UnknownItemError, match="'Toy Story', 'x'"):
        retriever.retrieve(["900", "Toy Story", "x"], k=5, strict=True)
    with pytest.raises(UnknownItemError, match="'y'"):
        retriever.retrieve(HISTORY, k=5, exclude=["y"], strict=True)
    with pytest.raises(UnknownItemError, match="'z'"):
        retriever.rank_of("z", Query())
    with pytest.raises(ConfigError, match="history is the text '900,893'"):
        retriever.retrieve("900,893", k=5)
    with pytest.raises(UnknownItemError, match=r"'id 9' and 999990 more\. It has 50 items") as raised:
        retriever.retrieve([f"id {number}" for number in range(1_000_000)], k=5, strict=True)
    assert len(str(raised.value)) < 300


def test_ids_of_newer_items_are_skipped_and_named(retriever: Retriever) -> None:
    found = retriever.retrieve(["new-1", *HISTORY, "new-2", "new-1"], "horror", k=5, exclude={"new-3"})
    assert found == retriever.retrieve(HISTORY, "horror", k=5)
    assert found.unknown_items == ("new-1", "new-2", "new-3")
    assert retriever.retrieve(["new-1"], k=5) == retriever.retrieve([], k=5)
    with pytest.raises(UnknownItemError, match="Not in the catalogue: 900"):
        retriever.retrieve([900], k=5)  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="history is the text '900,893'"):
        retriever.retrieve("900,893", k=5)


@pytest.mark.parametrize(
    ("ids_given", "message"),
    [
        ([900], "Not in the catalogue: 900"),
        ([None], "Not in the catalogue: None"),
        (["9\x1b[2J\ud800"], r"Not in the catalogue: '9\x1b[2J\ud800'"),
        (["x" * 1_000_000], "Not in the catalogue: 'xxx"),
        ([["900"]], "is [['900']]. Give a list of item ids"),
        (None, "is None. Give a list of item ids"),
        (900, "is 900. Give a list of item ids"),
        (b"900", "Not in the catalogue: 57"),
    ],
)
def test_what_is_no_list_of_ids_is_refused(retriever: Retriever, ids_given: object, message: str) -> None:
    for query in ({"history": ids_given}, {"history": (), "exclude": ids_given}):
        with pytest.raises((UnknownItemError, ConfigError)) as raised:
            retriever.retrieve(**query, k=5, strict=True)  # type: ignore[arg-type]
        assert message in str(raised.value)
        assert len(str(raised.value)) < 300
        assert str(raised.value).isprintable()


@pytest.mark.parametrize("k", [50, 51, 10**30])
def test_a_k_above_the_catalogue_returns_all_of_it(retriever: Retriever, k: int) -> None:
    for diversity in (0.0, 0.5):
        assert sorted(ids(retriever.retrieve((), k=k, diversity=diversity))) == sorted(retriever.catalogue.ids)


@pytest.mark.parametrize(
    "hostile", ["\ud800", "com\ud800edy", "\x00\x1b[2J", "\u202e\u200b", "\r\n", "𝔘" * 5000, "\U000e0101"]
)
def test_no_character_of_a_preference_breaks_anything(retriever: Retriever, hostile: str) -> None:
    found = retriever.retrieve(HISTORY, hostile, k=5, where={"studio": {"not_in": [hostile]}})
    assert len(found) == 5
    assert all(np.isfinite(item.score) for item in found)


def test_another_encoder_than_the_trained_one_is_refused(artifact_folder: Path) -> None:
    artifact = load_artifact(artifact_folder)
    with pytest.raises(ConfigError, match="trained with the text encoder 'hashing-32'; 'hashing-16' would not fit"):
        Retriever(artifact, HashingEncoder(16))
    retriever = Retriever(artifact, _Impostor())
    with pytest.raises(ConfigError, match=r"vectors 7 wide"):
        retriever.retrieve(HISTORY, "comedy", k=5)


class _Impostor:
    id, width = "hashing-32", 7

    def encode(self, texts: Sequence[str], *, role: str = "item") -> np.ndarray:
        return np.zeros((len(texts), 7), dtype=np.float32)


def test_a_catalogue_that_nobody_touched_can_be_searched(artifact_folder: Path) -> None:
    artifact = load_artifact(artifact_folder)
    untouched = Retriever(replace(artifact, popularity=np.zeros(50)))
    found = untouched.retrieve((), k=3)
    assert [(item.id, item.score) for item in found] == [("900", 0.0), ("893", 0.0), ("886", 0.0)]


def matching(retriever: Retriever, where: dict[str, object]) -> set[str]:
    return set(ids(retriever.retrieve((), k=50, where=where)))  # type: ignore[arg-type]


def test_constraints_hold(retriever: Retriever, catalogue: Catalogue) -> None:
    def those(test: object) -> set[str]:
        return {item.id for item in catalogue if test(item.attributes)}  # type: ignore[operator]

    assert matching(retriever, {"release_year": {"min": 1980, "max": 1989}}) == those(
        lambda a: 1980 <= a.get("release_year", 0) <= 1989
    )
    assert matching(retriever, {"release_year": {"in": [1980, "1981"]}}) == those(
        lambda a: a.get("release_year") in (1980, 1981)
    )
    # An item without the attribute fails `in`, `min` and `max`, and passes `not_in`.
    assert matching(retriever, {"release_year": {"not_in": [1980]}}) == those(lambda a: a.get("release_year") != 1980)
    assert matching(retriever, {"studio": {"not_in": ["FOX"]}}) == those(lambda a: a.get("studio") != "Fox")
    assert matching(retriever, {"class": {"in": ["comedy", "horror"]}}) == those(
        lambda a: set(a["class"]) & {"Comedy", "Horror"}
    )
    both = {"class": {"in": ["comedy"], "not_in": ["action"]}, "price": {"max": 10}}
    assert matching(retriever, both) == those(
        lambda a: "Comedy" in a["class"] and "Action" not in a["class"] and a["price"] <= 10
    )
    assert matching(retriever, {"class": {"in": ["no such"]}}) == set()
    assert len(matching(retriever, {})) == 50


def test_a_constraint_that_the_catalogue_cannot_hold_is_reported(retriever: Retriever) -> None:
    found = retriever.retrieve((), k=50, where={"colour": {"in": ["red"]}, "studio": {"in": ["Fox"]}})
    assert found.unenforced == ("colour",)
    assert 0 < len(found) < 50
    assert retriever.retrieve((), k=50, where={"colour": {"in": ["red"]}})[:] == retriever.retrieve((), k=50)[:]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"release_year": {"above": 1990}}, "where.release_year is {'above': 1990}; use in, not_in, min or max"),
        ({"release_year": {}}, "where.release_year is {}; use in"),
        ({"release_year": 1990}, "where.release_year is 1990; use in"),
        ({"release_year": {"min": "old"}}, "where.release_year.min is 'old'; give a number"),
        ({"release_year": {"min": True}}, "where.release_year.min is True"),
        ({"release_year": {"max": float("nan")}}, "where.release_year.max is nan"),
        ({"release_year": {"max": 10**400}}, "where.release_year.max is 1000"),
        ({"release_year": {"min": 2000, "max": 1990}}, "has min 2000 above max 1990"),
        ({"release_year": {"in": ["old"]}}, "lists ['old'], but release_year holds numbers"),
        ({"class": {"in": "Comedy"}}, "where.class.in is 'Comedy'; give a list"),
        ({"class": {"in": [["Comedy"]]}}, "where.class.in is [['Comedy']]; give a list"),
        ({"class": {"in": []}}, "where.class.in is empty, so that no item could pass"),
        ({"class": {"in": ["Comedy"], "not_in": ["COMEDY", "Drama"]}}, "has every value of in under not_in as well"),
        ({"release_year": {"in": [1990], "min": 2000}}, "lists only values outside its own min and max"),
        ({"release_year": {"in": [float("nan")]}}, "where.release_year.in is [nan]; give a list of words or finite"),
        (
            {"release_year": {"not_in": ["inf"]}},
            "where.release_year.not_in lists ['inf']; give numbers that are finite",
        ),
        ({"release_year": {"in": [10**5000]}}, "with a number too long to show; give a list"),
        ({"release_year": {"min": float("-inf")}}, "where.release_year.min is -inf; give a number"),
        ({"release_year": {"min": "1990"}}, "where.release_year.min is '1990', but release_year holds numbers"),
        ({"class": {"min": 3}}, "but class holds words"),
        ({"colour": {"like": "red"}}, "where.colour is {'like': 'red'}; use in"),
        ({3: {"in": []}}, "where has the key 3"),
        ([], "where is []; it must map"),
    ],
)
def test_a_condition_that_makes_no_sense_is_refused(retriever: Retriever, where: object, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        retriever.retrieve((), k=5, where=where)  # type: ignore[arg-type]
    assert message in str(raised.value)


def test_diversity_trades_fit_for_items_that_differ(retriever: Retriever, artifact_folder: Path) -> None:
    artifact = load_artifact(artifact_folder)
    vectors = artifact.model.item_vectors()

    def likeness(found: Retrieved) -> float:
        own = vectors[torch.from_numpy(artifact.catalogue.rows(ids(found)))]
        return float((own @ own.T).numpy()[np.triu_indices(len(found), 1)].mean())

    plain, some, most = (retriever.retrieve(HISTORY, "comedy", k=8, diversity=weight) for weight in (0, 0.7, 1))
    assert plain == retriever.retrieve(HISTORY, "comedy", k=8)
    assert likeness(most) < likeness(some) < likeness(plain)
    assert plain[0] == some[0] == most[0]  # the best comes first at any diversity
    fits = [sum(item.score for item in found) for found in (plain, some, most)]
    assert fits[0] > fits[1] > fits[2]


def test_diversity_is_maximal_marginal_relevance(retriever: Retriever, artifact_folder: Path) -> None:
    """Against the definition, item by item."""
    artifact = load_artifact(artifact_folder)
    vectors = dict(zip(artifact.catalogue.ids, artifact.model.item_vectors().numpy(), strict=True))
    left = {item.id: item.score for item in retriever.retrieve(HISTORY, "comedy", k=50)}
    expected: list[str] = []
    while left:
        worth = {
            item_id: 0.6 * score
            - 0.4 * max((float(vectors[item_id] @ vectors[other]) for other in expected), default=0)
            for item_id, score in left.items()
        }
        expected.append(max(worth, key=worth.__getitem__))
        del left[expected[-1]]
    assert ids(retriever.retrieve(HISTORY, "comedy", k=50, diversity=0.4)) == expected


def test_a_diverse_list_keeps_the_scores_and_the_constraints(retriever: Retriever) -> None:
    scores = {item.id: item.score for item in retriever.retrieve(HISTORY, k=50)}
    where = {"studio": {"not_in": ["Fox"]}}
    found = retriever.retrieve(HISTORY, k=10, diversity=0.5, where=where, exclude=["886"])
    assert found == retriever.retrieve(HISTORY, k=10, diversity=0.5, where=where, exclude=["886"])
    assert all(item.score == scores[item.id] for item in found)
    assert [item.score for item in found] != sorted((item.score for item in found), reverse=True)
    studios = {retriever.catalogue.item(item.id).attributes.get("studio") for item in found}
    assert "Fox" not in studios
    assert not {"886", *HISTORY} & set(ids(found))
    (batched,) = retriever.retrieve_batch([Query(history=HISTORY, diversity=0.5, where=where, exclude=["886"])], k=10)
    assert ids(batched) == ids(found)
    whole = retriever.retrieve((), k=50, diversity=0.5)  # by popularity, which ties
    assert sorted(ids(whole)) == sorted(retriever.catalogue.ids)


def test_beyond_the_pool_a_diverse_list_goes_on_by_score(retriever: Retriever, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deeprec.trm_tool.trm.retriever.POOL", 6)
    plain = ids(retriever.retrieve(HISTORY, k=10))
    diverse = ids(retriever.retrieve(HISTORY, k=10, diversity=0.9))
    assert diverse[6:] == plain[6:]
    assert diverse[:6] != plain[:6]
    assert sorted(diverse[:6]) == sorted(plain[:6])
    assert ids(retriever.retrieve(HISTORY, k=3, diversity=0.9)) == diverse[:3]


@pytest.mark.parametrize("preference", [7, ["comedy"], b"comedy", float("nan")])
def test_a_preference_that_is_no_text_is_refused(retriever: Retriever, preference: object) -> None:
    with pytest.raises(ConfigError, match=r"preference is .*Give words"):
        retriever.retrieve(HISTORY, preference, k=5)  # type: ignore[arg-type]


@pytest.mark.parametrize("diversity", [-0.1, 1.1, float("nan"), float("inf"), True, "0.5", None])
def test_a_diversity_that_is_no_weight_is_refused(retriever: Retriever, diversity: object) -> None:
    with pytest.raises(ConfigError, match=r"diversity is .*Give a weight from 0 \(off\) to 1"):
        retriever.retrieve(HISTORY, k=5, diversity=diversity)  # type: ignore[arg-type]
