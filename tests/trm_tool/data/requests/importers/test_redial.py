"""Dialogues in ReDial's shape, all of them made up, become requests over a small folder in MovieLens' shape."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deeprec.trm_tool import ConfigError, DataError
from deeprec.trm_tool.data import DialogueOptions, Request, import_requests, read_requests
from tests.command_line import run_command

MOVIES = """movieId,title,genres
1,"Lantern, The (1988)",Horror
2,Small Robots II (1996),Animation|Sci-Fi
3,Café of Sighs (1971),Romance
4,"Château des rêves, Le (a.k.a. Castle of Dreams) (1963)",Drama
5,Quiet (1999),Drama
6,Quiet (2007),Comedy
7,Last One (2000),Film-Noir
"""
LINKS = "movieId,imdbId,tmdbId\n1,0000011,1\n2,0000012,2\n3,0000013,3\n5,0000015,5\n6,0000016,6\n7,0000017,\n"
NAMES = {
    "101": "The Lantern  (1988)",
    "102": "Small Robots II (1996)",
    "103": "Cafe of Sighs (1971)",
    "104": "Castle of Dreams (1963)",
    "105": "Quiet",
    "107": "Last One (2000)",
    "109": "Not Here (2016)",
}
SEEKER, RECOMMENDER = 50, 60


def dialogue(*lines: tuple[int, str], liked: dict[str, int] | None = None, **other: Any) -> dict[str, Any]:
    """A dialogue as published; `liked` is the seeker's form, and a film that it gives as 9 was not suggested."""
    form = {
        film: {"suggested": int(answer != 9), "seen": 2, "liked": 1 if answer == 9 else answer}
        for film, answer in (liked or {}).items()
    }
    return {
        "movieMentions": NAMES,
        "respondentQuestions": [],
        "messages": [
            {"timeOffset": 10 * n, "text": text, "senderWorkerId": sender, "messageId": n}
            for n, (sender, text) in enumerate(lines)
        ],
        "conversationId": "c1",
        "respondentWorkerId": RECOMMENDER,
        "initiatorWorkerId": SEEKER,
        "initiatorQuestions": form or [],
        **other,
    }


TALK = dialogue(
    (RECOMMENDER, "Hi! @107 is my favourite"),
    (SEEKER, "I loved @101 , not @105"),
    (RECOMMENDER, "Like @101 ? Try @102 or @109"),
    (SEEKER, "I saw @102 , anything like @103 ?"),
    (RECOMMENDER, "Then @104 and again @102"),
    (RECOMMENDER, "and @107"),
    liked={"101": 1, "102": 1, "104": 0, "105": 0},
)

Import = Callable[..., tuple[list[Request], dict[str, int], dict[str, int]]]


@pytest.fixture
def run_import(tmp_path: Path) -> Import:
    """Import dialogues, and return the requests, what was left out, and how films were found."""
    movielens = tmp_path / "movielens"
    movielens.mkdir()
    (movielens / "ratings.csv").write_text("userId,movieId,rating,timestamp\n")
    (movielens / "movies.csv").write_text(MOVIES, encoding="utf-8")

    def run(
        *lines: object,
        links: str = "",
        films: dict[str, Any] | None = None,
        drop: bool = False,
        keep_names: bool = True,
    ) -> tuple[list[Request], dict[str, int], dict[str, int]]:
        if links:
            (movielens / "links.csv").write_text(links)
        if films is not None:
            (tmp_path / "id2info.json").write_text(json.dumps(films))
        text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
        (tmp_path / "talks.jsonl").write_text(text, encoding="utf-8")
        out = tmp_path / "requests.jsonl"
        report = import_requests(
            tmp_path / "talks.jsonl",
            out,
            catalogue=movielens,
            dialogues=DialogueOptions(keep_names=keep_names),
            drop_bad_rows=drop,
        )
        assert report.format == "redial"
        requests = list(read_requests(out))
        assert (report.requests, report.targets) == (len(requests), sum(len(each.targets) for each in requests))
        return requests, report.left_out | report.dropped, report.linked

    return run


def test_a_turn_that_recommends_a_film_for_the_first_time_is_a_request(run_import: Import) -> None:
    requests, left_out, _ = run_import(TALK)
    assert requests == [
        Request(
            conversation="c1",
            turn=2,
            person="50",
            history=("1",),  # Quiet (105) was named and not liked
            message="I loved The Lantern (1988) , not Quiet",
            targets=("2",),
            shown=("2",),
            chosen=("2",),
            source="redial",
        ),
        Request(
            conversation="c1",
            turn=4,
            person="50",
            history=("1", "2", "3"),
            message="I loved The Lantern (1988) , not Quiet I saw Small Robots II (1996) , anything like Cafe of Sighs "
            "(1971) ?",
            targets=("4",),
            shown=("4",),
            chosen=(),
            source="redial",
        ),
    ]
    assert left_out == {
        "turns before the seeker wrote anything": 1,
        "turns whose films were all named before": 1,
        "films of a request that the catalogue lacks, beside others": 1,
        "films of a history that the catalogue lacks": 1,
    }


def test_the_words_lose_the_names_of_films_on_request(run_import: Import) -> None:
    requests, _, _ = run_import(TALK, keep_names=False)
    assert [request.message for request in requests] == [
        "I loved , not",
        "I loved , not I saw , anything like ?",
    ]
    assert requests[0].history == ("1",)


def test_films_are_found_by_imdb_id_before_title_and_year(run_import: Import) -> None:
    films = {
        "101": {"name": "Lamp (1901)", "imdb_id": "tt0000011"},
        "105": {"name": "Quiet", "imdb_id": "tt0000016"},
        "109": {"name": "Last One", "imdb_id": "tt0099999"},  # another film of that title
        "104": {"name": "Castle of Dreams (1963)", "imdb_id": "tt0099998"},
    }
    talk = dialogue((SEEKER, "Hello"), (RECOMMENDER, "@101 @105 @109 @104 @103"))
    [request], _, linked = run_import(talk, links=LINKS, films=films)
    assert request.targets == ("1", "6", "4", "3")
    assert linked == {"by IMDb id": 2, "not in the catalogue": 1, "by title and year": 2}
    assert request.chosen is None  # the form is empty


def test_a_title_that_several_items_have_is_not_guessed(run_import: Import) -> None:
    talk = dialogue((SEEKER, "Hello"), (RECOMMENDER, "@105 or @102 or @107"), liked={"107": 9})
    [request], left_out, linked = run_import(talk)
    assert (request.targets, request.shown) == (("2",), ("2", "7"))
    assert linked == {"with several items of that title": 1, "by title and year": 2}
    only = dialogue((SEEKER, "Hello"), (RECOMMENDER, "@107"), (SEEKER, "I found that"), liked={"107": 9})
    _, left_out, _ = run_import(talk, only | {"conversationId": "c2"})
    assert left_out["turns whose films the seeker's form reports as not suggested"] == 1
    assert left_out["dialogues without a request"] == 1


def test_two_ids_of_one_film_are_named_once(run_import: Import) -> None:
    talk = dialogue(
        (SEEKER, "I liked @101"), (RECOMMENDER, "@201 and @102"), movieMentions=NAMES | {"201": NAMES["101"]}
    )
    [request], _, _ = run_import(talk)
    assert (request.history, request.targets) == (("1",), ("2",))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (json.dumps(TALK)[:300], "talks.jsonl:2 is not a line of JSON"),
        ("[]", "talks.jsonl:2 has a problem: the line is not a dialogue"),
        (TALK, "talks.jsonl:2 repeats dialogue 'c1' of line 1"),
        (TALK | {"conversationId": None}, "conversationId is None, which is not an id"),
        (TALK | {"conversationId": "c2", "messages": "none"}, "messages is 'none', which is not a list"),
        (
            TALK | {"conversationId": "c2", "messages": [{"text": 5}]},
            r"messages[0] is {'text': 5}, which has no `text`",
        ),
        (TALK | {"conversationId": "c2", "initiatorQuestions": "yes"}, "initiatorQuestions is 'yes'"),
        (TALK | {"conversationId": "c2", "movieMentions": 3}, "movieMentions is 3"),
    ],
)
def test_a_dialogue_that_cannot_be_used_is_named_or_left_out(run_import: Import, line: object, why: str) -> None:
    with pytest.raises(DataError) as error:
        run_import(TALK, line)
    assert why in str(error.value)
    assert "\n" not in str(error.value)
    requests, left_out, _ = run_import(TALK, line, drop=True)
    assert len(requests) == 2
    assert sum(left_out.values()) == 5


def test_a_dialogue_may_lack_an_end_answers_and_known_people_and_hold_anything_as_text(run_import: Import) -> None:
    odd = "\x1b[31m \u202e " + "ö世" * 50_000
    talk = dialogue(
        (77, "who am I? @101"), (SEEKER, odd), (SEEKER, ""), (RECOMMENDER, "@102 @999 @"), initiatorQuestions=None
    )
    [request], _, _ = run_import(talk)
    assert (request.targets, len(request.message)) == (("2",), 8_000)
    assert "\x1b" not in request.message
    names = NAMES | {"108": "x" * 1_000_000}
    [request] = run_import(dialogue((SEEKER, "@108 " * 10_000), (RECOMMENDER, "@102"), movieMentions=names))[0]
    assert len(request.message) <= 8_000
    many = [(SEEKER, "more"), (RECOMMENDER, "hm")] * 4_000
    requests, _, _ = run_import(dialogue(*many, (RECOMMENDER, "@101")))
    assert len(requests[0].message) <= 8_000


def test_dialogues_without_a_request_are_an_error_that_counts_the_reasons(run_import: Import) -> None:
    with pytest.raises(DataError, match=r"gave no request \(1 turns whose films the catalogue lacks; 1 dialogues"):
        run_import(dialogue((SEEKER, "Hello"), (RECOMMENDER, "@109")))


def test_the_command_needs_a_catalogue_and_prints_what_it_left_out(
    run_import: Import, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_import(TALK)
    arguments = ["data", "import-requests", tmp_path / "talks.jsonl", "--out", tmp_path / "r.parquet"]
    code, _, err = run_command(capsys, *arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert "--catalogue" in err
    code, out, err = run_command(capsys, *arguments, "--catalogue", tmp_path / "movielens", "--no-names")
    assert (code, err) == (0, "")
    for part in ("Read talks.jsonl as redial: 2 requests of 1 conversations", "Left out: 1 turns before the seeker"):
        assert part in out
    code, out, _ = run_command(capsys, *arguments, "--catalogue", tmp_path / "movielens", "--json")
    assert json.loads(out)["requests"] == 2


def test_files_of_films_and_links_that_are_none_are_refused(run_import: Import, tmp_path: Path) -> None:
    run_import(TALK)
    (tmp_path / "films.json").write_text('{"1": "Alien"}')
    for options, error, why in (
        (DialogueOptions(films=tmp_path / "films.json"), DataError, "is not a file of films"),
        (DialogueOptions(films=tmp_path / "nowhere.json"), DataError, "nowhere.json cannot be read"),
        (DialogueOptions(links=tmp_path / "movielens" / "movies.csv"), DataError, "has no column 'imdbId'"),
    ):
        with pytest.raises(error, match=why):
            import_requests(
                tmp_path / "talks.jsonl", tmp_path / "r.jsonl", catalogue=tmp_path / "movielens", dialogues=options
            )
    with pytest.raises(ConfigError, match="There is no format 'chat'"):
        import_requests(tmp_path / "talks.jsonl", tmp_path / "r.jsonl", data_format="chat")  # type: ignore[arg-type]
