"""The page of conversations as an application: who may use it, what it takes, and that nobody sees another's thread."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.agent.shopping.lamp_shop import catalogue
from tests.agent.ui.pages import page_of
from tests.small_recommender import HeldUp

HERE = "http://localhost:8600"


@pytest.fixture
def recommender() -> HeldUp:
    return HeldUp(catalogue())


@pytest.fixture
def page(recommender: HeldUp) -> Any:
    return page_of(recommender)


@pytest.fixture
def person(page: Any) -> Iterator[TestClient]:
    with TestClient(page, HERE) as client:
        client.get("/c/talk")
        yield client


def parts(person: TestClient, **headers: str) -> list[dict[str, Any]]:
    """What the events of the last turn bring."""
    text = person.get("/c/talk/events", headers=headers).text
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


def say(person: TestClient, message: str | None = None, **edit: Any) -> list[dict[str, Any]]:
    asked = {} if message is None else {"message": message}
    assert person.post("/c/talk/turns", json=asked | ({"edit": edit} if edit else {})).status_code == 202
    return parts(person)


def test_a_turn_comes_in_parts_and_the_page_has_the_same_afterwards(person: TestClient) -> None:
    came = say(person, "a black lamp, not over 50")
    assert "Cole desk lamp" not in came[0]["html"]
    assert [part.get("place") for part in came] == ["log", "steps", "steps", "steps", "log", "known", None]
    assert "Understood" in came[2]["html"]
    assert "Bram desk lamp" in came[3]["html"]
    assert "price ≤ 50" in came[5]["html"]
    assert came[-1] == {"end": "The answer is ready.", "feedback": {}}
    page = person.get("/c/talk").text
    for part in (came[0], came[4], came[5]):
        assert " ".join(part["html"].split()) in " ".join(page.split())


def test_events_go_on_behind_the_last_one_that_arrived(person: TestClient) -> None:
    came = say(person, "a rug")
    assert parts(person, **{"Last-Event-ID": "1"}) == came[2:]
    assert parts(person, **{"Last-Event-ID": "-1; 7"}) == came
    assert person.get("/c/another/events").status_code == 204


def test_a_chip_takes_its_constraint_back_and_buttons_say_what_somebody_thinks(person: TestClient) -> None:
    shown = say(person, "a rug, not over 50")[-3]["html"]
    edits = [json.loads(found.replace("&#34;", '"')) for found in re.findall('data-edit="([^"]*)"', shown)]
    kinds = [*edits[0].get("feedback", []), *edits[1].get("feedback", []), *edits[2].get("actions", [])]
    assert [each["kind"] for each in kinds] == ["liked", "disliked", "add_to_cart"]
    assert all(each["item_ids"] == kinds[0]["item_ids"] for each in kinds)
    came = say(person, **edits[0])
    assert came[-1]["feedback"] == {kinds[0]["item_ids"][0]: ["liked"]}
    known = say(person, changes=[{"kind": "relax", "attribute": "price", "maximum": 50}])[-2]["html"]
    assert "price" not in known


def test_two_people_at_one_address_have_nothing_in_common(page: Any, person: TestClient) -> None:
    say(person, "a rug, not over 50")
    with TestClient(page, HERE) as other:
        assert "50" not in other.get("/c/talk").text.replace("4000", "")
        assert other.get("/c/talk/events").status_code == 204
        assert other.cookies["deeprec-ui"] != person.cookies["deeprec-ui"]
        stranger = TestClient(page, HERE)  # without a cookie
        assert stranger.post("/c/talk/turns", json={"message": "a rug"}).status_code == 403


def test_the_page_keeps_to_itself(person: TestClient) -> None:
    answered = person.get("/c/new")
    policy = answered.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"<script>|<style|style=|https?://|\son\w+=", answered.text)
    cookie = TestClient(person.app, HERE).get("/c/new").headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=lax"} <= set(cookie.split("; "))
    assert len(cookie.split("; ")[0]) > 50
    assert "Secure" in TestClient(person.app, HERE.replace("http", "https")).get("/c/new").headers["Set-Cookie"]
    start = person.get("/", follow_redirects=False)
    assert start.status_code == 303
    assert re.fullmatch(r"/c/[\w-]{12}", start.headers["Location"])
    for name, kind in (("ui.css", "text/css"), ("ui.js", "text/javascript"), ("icon.svg", "image/svg+xml")):
        assert person.get(f"/static/{name}").headers["Content-Type"].startswith(kind)
    assert person.get("/static/app.py").status_code == 404


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9", "[::1]:8600"])
def test_names_of_this_machine_are_answered(page: Any, host: str) -> None:
    assert TestClient(page, HERE).get("/c/x", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["rebound.example", "127.0.0.1.rebound.example:8600", "192.168.0.7", ""])
def test_another_name_that_leads_here_is_not(page: Any, host: str) -> None:
    assert TestClient(page, HERE).get("/c/x", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://other.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:9999"}, 403),
        ({"Origin": HERE}, 202),
        ({"Sec-Fetch-Site": "same-origin"}, 202),
        ({"Content-Type": "text/plain"}, 400),
    ],
)
def test_a_page_of_another_site_cannot_post(person: TestClient, headers: dict[str, str], status: int) -> None:
    body = json.dumps({"message": "a rug"})
    sent = {"Content-Type": "application/json", **headers}
    assert person.post("/c/talk/turns", content=body, headers=sent).status_code == status


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"message": "  "}',
        b'{"message": 3}',
        b'{"edit": []}',
        b'{"message": "' + b"a" * 4001 + b'"}',
        b'{"message": "' + b"a" * 70_000 + b'"}',
        b"[" * 60_000,
    ],
)
def test_what_is_no_turn_is_refused(person: TestClient, body: bytes) -> None:
    answered = person.post("/c/talk/turns", content=body, headers={"Content-Type": "application/json"})
    assert answered.status_code == 400
    assert "Send JSON" in answered.text


@pytest.mark.parametrize("odd", [{"changes": 3}, {"feedback": [{"kind": "liked", "item_ids": ["nowhere"]}]}, {"x": []}])
def test_an_edit_that_makes_no_sense_changes_nothing(person: TestClient, odd: Any) -> None:
    say(person, "a rug")
    came = say(person, **odd)
    assert came[-1] == {"end": "The answer is ready.", "feedback": {}}


def test_hostile_text_is_text(person: TestClient) -> None:
    hostile = "<img src=x onerror=alert(1)>\u202e\ud800 {{7*7}} a lamp"
    body = json.dumps({"message": hostile})
    assert person.post("/c/talk/turns", content=body, headers={"Content-Type": "application/json"}).status_code == 202
    came = parts(person)
    page = person.get("/c/talk").text
    for html in (came[0]["html"], page):
        assert "<img" not in html
        assert "\u202e" not in html
        assert "&lt;img src=x onerror=alert(1)&gt;" in html
        assert "{{7*7}}" in html


def test_a_stop_cancels_the_answer_and_the_conversation_goes_on(person: TestClient, recommender: HeldUp) -> None:
    say(person, "a rug, not over 50")
    recommender.waits.set()
    recommender.started.clear()
    assert person.post("/c/talk/turns", json={"message": "only white"}).status_code == 202
    assert recommender.started.wait(10)
    busy = person.post("/c/talk/turns", json={"message": "and cheap"})
    assert (busy.status_code, busy.text[:27]) == (409, "An answer is being written ")
    page = person.get("/c/talk").text
    assert 'data-running="true"' in page
    assert "only white" not in page  # its events bring it
    assert person.post("/c/talk/stop").status_code == 204
    came = parts(person)
    assert came[-1]["end"].startswith("Stopped.")
    assert "price ≤ 50" in came[-2]["html"]
    page = person.get("/c/talk").text
    assert "only white" in page
    assert "This message has no answer" in page
    recommender.waits.clear()
    assert say(person, "black")[-1]["end"] == "The answer is ready."
    assert person.post("/c/talk/stop").status_code == 204  # nothing runs


def test_an_answer_that_fails_says_so_and_shows_nothing_of_the_error(
    person: TestClient, recommender: HeldUp, caplog: pytest.LogCaptureFixture
) -> None:
    recommender.error = RuntimeError("a secret of the server")
    came = say(person, "a rug")
    assert came[-1]["end"] == "The answer failed: An unexpected error; the server's log has it."
    assert "secret" not in json.dumps(came)
    assert "a secret of the server" in caplog.text
    recommender.error = None
    assert say(person, "a rug")[-1]["end"] == "The answer is ready."


def test_with_a_key_nothing_is_reached_without_it(recommender: HeldUp) -> None:
    page = page_of(recommender, key="a long key")
    with TestClient(page, "http://shop.example") as person:
        for path in ("/", "/c/talk", "/c/talk/runs/7"):
            asked = person.get(path, headers={"Accept": "text/html"}, follow_redirects=False)
            assert (asked.status_code, asked.headers["Location"]) == (303, "/key")
        for refused in (
            person.get("/c/talk/events"),
            person.post("/c/talk/turns", json={"message": "a rug"}),
            person.get("/c/talk", headers={"Authorization": "Bearer a long kex"}),
        ):
            assert (refused.status_code, refused.text) == (401, "The key is missing or wrong.")
        assert person.post("/key", data={"key": "wrong"}).status_code == 403
        assert "deeprec-ui-key" not in person.cookies
        assert person.post("/key", data={"key": "a long key"}, follow_redirects=False).status_code == 303
        assert "a long key" not in str(dict(person.cookies))
        assert person.get("/c/talk").status_code == 200
        assert say(person, "a rug")[-1]["end"] == "The answer is ready."
        proof = person.cookies["deeprec-ui-key"]
        thief = TestClient(page, "http://shop.example", cookies={"deeprec-ui": "x" * 43, "deeprec-ui-key": proof})
        assert thief.get("/c/talk/events").status_code == 401  # the proof is of one browser
    bearer = TestClient(page, "http://shop.example", headers={"Authorization": "Bearer a long key"})
    assert bearer.get("/c/talk").status_code == 200


@pytest.mark.parametrize("conversation", ["%3Cb%3E", "%E2%80%AE", "..%2e", "a" * 65, "a%20b"])
def test_an_address_that_the_page_does_not_make_has_no_conversation(person: TestClient, conversation: str) -> None:
    for answered in (
        person.get(f"/c/{conversation}"),
        person.get(f"/c/{conversation}/events"),
        person.post(f"/c/{conversation}/turns", json={"message": "a rug"}),
    ):
        assert (answered.status_code, answered.headers["Content-Type"][:10]) == (404, "text/plain")
