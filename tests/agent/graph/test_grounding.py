from deeprec.agent import Candidate, RankedItem, fill_list, ground


def candidates(*fused: float) -> list[Candidate]:
    return [
        Candidate(item_id=f"item{at}", retrieval=at % 2, score=0.5, fused=value)
        for at, value in enumerate(fused, start=1)
    ]


def test_numbers_name_candidates_and_the_rest_is_counted() -> None:
    places, ungrounded = ground([2, 9, 1, 0, 2], candidates(0.1, 0.2))
    assert [place.item_id for place in places] == ["item2", "item1", "item2"]
    assert [place.rank for place in places] == [1, 2, 3]
    assert ungrounded == 2


def test_a_filled_list_keeps_the_written_places_once_and_goes_on_by_fused_rank() -> None:
    found = candidates(0.1, 0.4, 0.2, 0.3)
    written, _ = ground([3, 3, 1], found)
    filled = fill_list(written, found, [], k=4, fallback=False)
    assert [(place.item_id, place.source) for place in filled] == [
        ("item3", "written"),
        ("item1", "written"),
        ("item2", "filled"),
        ("item4", "filled"),
    ]
    assert [place.rank for place in filled] == [1, 2, 3, 4]


def test_a_list_is_cut_at_k() -> None:
    found = candidates(0.1, 0.2, 0.3)
    written, _ = ground([1, 2, 3], found)
    assert len(fill_list(written, found, [], k=2, fallback=False)) == 2


OWN: list[RankedItem] = [{"item_id": "item1", "score": 0.9}, {"item_id": "b", "score": 0.8}]


def test_without_candidates_the_recommender_ranks() -> None:
    filled = fill_list([], [], OWN, k=1, fallback=False)
    assert [(place.item_id, place.source, place.retrieval) for place in filled] == [("item1", "fallback", None)]


def test_a_fallback_keeps_what_retrievals_found_and_goes_on_with_the_recommenders_ranking() -> None:
    filled = fill_list([], candidates(0.1, 0.2), OWN, k=4, fallback=True)
    assert [(place.rank, place.item_id, place.source) for place in filled] == [
        (1, "item2", "filled"),
        (2, "item1", "filled"),
        (3, "b", "fallback"),
    ]


def test_the_recommenders_own_list_counts_as_one_more_retrieval_as_deep_as_asked() -> None:
    found = candidates(1 / 61, 1 / 62)
    deep: list[RankedItem] = [{"item_id": name, "score": 0.5} for name in ("b", "item2", "c")]
    for own_k, listed in ((0, ["item1", "item2"]), (1, ["item1", "b", "item2"]), (3, ["item2", "item1", "b", "c"])):
        filled = fill_list([], found, deep, k=9, fallback=False, own_k=own_k)
        assert [place.item_id for place in filled] == listed
    assert {place.item_id: place.source for place in filled} == {
        "item2": "filled",
        "item1": "filled",
        "b": "fallback",
        "c": "fallback",
    }
    written, _ = ground([1], found)
    assert [place.item_id for place in fill_list(written, found, deep, k=3, fallback=False, own_k=3)] == [
        "item1",
        "item2",
        "b",
    ]
    fallen = fill_list([], found, deep, k=9, fallback=True, own_k=1)
    assert [place.item_id for place in fallen] == ["item1", "b", "item2", "c"]
