"""Every figure of a diagnosis, computed by hand on a small real store."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from deeprec.agent import Traces, TraceStore
from deeprec.agent.traces import (
    CaseRecord,
    RecommendationRecord,
    RetrievalRecord,
    RunFilter,
    RunOutcome,
    RunRecord,
    TurnRecord,
)
from deeprec.evals import Diagnosis, diagnose, plot_diagnosis, proportion_interval
from deeprec.trm_tool import ConfigError, HashingEncoder, ScoredItem
from tests.command_line import answer_of, refusal_of

Search = tuple[str | None, Sequence[str]]


class Logged:
    """Writes runs that are described by what matters of them."""

    def __init__(self, store: TraceStore) -> None:
        self.store, self.count = store, 0

    def run(
        self,
        *searches: Search,
        writes: Sequence[str] = (),
        target: str | None = "t",
        status: str | None = "finished",
        detail: str | None = None,
        ungrounded: int = 0,
        shown: Sequence[str] | None = None,
        k: int = 3,
        tokens: int = 10,
        turn_ms: float = 500.0,
        run_ms: float = 2000.0,
        malformed: int = 0,
        **lineage: Any,
    ) -> UUID:
        """A run of some searches, `malformed` bad turns and, where it `writes`, a list. `status` None: it goes on."""
        self.count += 1
        run_id = UUID(int=self.count)
        self.store.start_run(
            RunRecord(
                run_id=run_id,
                target_id=target,
                protocol="tagged",
                protocol_version="1",
                prompt_version="1",
                guided=False,
                k=k,
                policy_model="tiny",
                trm_fingerprint="ab",
                **lineage,
            )
        )
        position = 0
        for _ in range(malformed):
            self._turn(run_id, position, "malformed", None, tokens, turn_ms)
            position += 1
        for number, (preference, items) in enumerate(searches):
            self._turn(run_id, position, "retrieve", preference, tokens, turn_ms)
            found = tuple(ScoredItem(item, 1.0 - rank / 10) for rank, item in enumerate(items))
            retrieval = RetrievalRecord(
                position=number, turn=position, preference=preference, k=10, items=found, latency_ms=1.0
            )
            self.store.record_retrieval(run_id, retrieval)
            position += 1
        if writes or ungrounded:
            self._turn(run_id, position, "recommend", None, tokens, turn_ms)
        if status is not None:
            self.store.finish_run(
                run_id,
                RunOutcome(
                    status=status,  # type: ignore[arg-type]
                    detail=detail,
                    written=_places(writes),
                    recommended=_places(writes if shown is None else shown),
                    ungrounded=ungrounded,
                    latency_ms=run_ms,
                ),
            )
        return run_id

    def _turn(self, run_id: UUID, position: int, action: Any, preference: str | None, tokens: int, ms: float) -> None:
        turn = TurnRecord(
            position=position,
            node="rank" if action == "recommend" else "reason",
            action=action,
            preference=preference,
            prompt_tokens=100,
            completion_tokens=tokens,
            latency_ms=ms,
        )
        self.store.record_turn(run_id, turn)


def _places(items: Sequence[str]) -> tuple[RecommendationRecord, ...]:
    return tuple(
        RecommendationRecord(rank=rank, item_id=item, retrieval=0, source="written")
        for rank, item in enumerate(items, start=1)
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "traces.db"


@pytest.fixture
def logged(path: Path) -> Iterator[Logged]:
    with TraceStore(path) as store:
        yield Logged(store)


def test_systems_that_are_taken_together_are_reported(
    logged: Logged, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logged.run(("x", ["a"]), system="trm")
    logged.run(("x", ["a"]), system="mine")
    logged.run(("x", ["a"]), system="mine")
    logged.run(("x", ["a"]), system="gone", fork={"turn": None})
    assert diagnose(logged.store).systems == {"mine": 2, "trm": 1}
    shown = " ".join(answer_of(capsys, "eval", "diagnose", "--store", path).split())
    assert "left out below: 1 forks and replays" in shown
    assert "--system picks one: mine (2), trm (1)" in shown
    assert "several systems" not in answer_of(capsys, "eval", "diagnose", "--store", path, "--system", "mine")


def test_endings_are_shares_of_all_runs_with_their_commonest_details(logged: Logged) -> None:
    for tokens in ("1,000", "2000"):
        logged.run(("x", ["a"]), status="budget", detail=f"all {tokens} tokens spent")
    logged.run(("x", ["a"]), status="budget", detail="the context is full")
    logged.run(("x", ["a"]), status="malformed", detail="3 malformed outputs, the last: no '<search>' or '<list>'")
    logged.run(("x", ["a"]), writes=["a"])
    logged.run(status=None)
    lost = logged.run(("x", ["a"]), writes=["a"])
    logged.store.mark_incomplete(lost)
    logged.run(("x", ["a"]), writes=["a"], parent_id=UUID(int=5), fork={"turn": 0, "preference": "y"})
    diagnosis = diagnose(logged.store)
    assert (diagnosis.runs, diagnosis.counted) == (8, 5)
    assert diagnosis.left_out == {"forks": 1, "running": 1, "incomplete": 1}
    endings = {ending.status: ending for ending in diagnosis.endings}
    assert {status: ending.runs for status, ending in endings.items()} == {
        "finished": 2,
        "malformed": 1,
        "budget": 3,
        "fallback": 0,
        "running": 1,
    }
    assert endings["budget"].share == proportion_interval(3, 7)
    assert endings["fallback"].share.mean == 0
    assert endings["budget"].details == (("all N tokens spent", 2), ("the context is full", 1))
    assert endings["malformed"].details == (("N malformed outputs, the last: no '…' or '…'", 1),)
    assert diagnosis.incomplete == proportion_interval(1, 7)


def test_the_ceiling_is_when_the_target_was_first_retrieved(logged: Logged) -> None:
    logged.run(("x", ["a", "t"]), ("y", ["t"]), writes=["t"])  # turn 1
    logged.run(("x", ["a"]), ("y", ["b", "t"]), writes=["a"], shown=["a", "t"])  # turn 2, filled in
    logged.run(("x", ["t"]), malformed=1, writes=["t"])  # the first turn was malformed: turn 2
    logged.run(("x", ["a"]), ("y", ["a"]), ("z", ["a"]), writes=["a"])  # never, in three turns
    logged.run(("x", ["t"]), target=None, writes=["t"])  # no target: not counted
    target = diagnose(logged.store).target
    assert [(point.turn, point.first_found) for point in target.ceiling] == [(1, 1), (2, 2), (3, 0)]
    assert [point.found for point in target.ceiling] == [
        proportion_interval(1, 4),
        proportion_interval(3, 4),
        proportion_interval(3, 4),
    ]
    assert target.found == proportion_interval(3, 4)
    assert target.written == proportion_interval(2, 4)
    assert target.shown == proportion_interval(3, 4)
    assert target.written_of_found == proportion_interval(2, 3)


def test_preferences_are_compared_within_a_run(logged: Logged) -> None:
    logged.run(("Sci-Fi; 1980s", ["a", "b"]), ("sci-fi;  1980s", ["b", "c"]), ("sci-fi; drama", ["a", "d"]))
    logged.run(("comedy", ["a"]), ("horror", ["b", "a"]))
    logged.run(("comedy", ["a"]))  # alone: no distance, no repeat
    logged.run((None, ["a"]), target=None)  # redacted
    found = diagnose(logged.store).preferences
    assert (found.searches, found.distinct, found.distinct_is_floor) == (6, 4, False)
    assert found.commonest[:2] == (("comedy", 2), ("sci-fi; 1980s", 2))
    # Phrases: {sci-fi, 1980s} twice, {sci-fi, drama}: (0 + 2/3 + 2/3) / 3 = 4/9; then 1. Mean 13/18.
    assert found.phrase_distance.mean == pytest.approx(13 / 18)
    assert found.phrase_distance.n == 2
    # Words: {sci, fi, 1980s} twice, {sci, fi, drama}: (0 + 1/2 + 1/2) / 3 = 1/3; then 1. Mean 2/3.
    assert found.word_distance.mean == pytest.approx(2 / 3)
    assert math.isnan(found.cosine_distance.mean)
    assert (found.repeated.mean, found.repeated.n) == (pytest.approx(1 / 3), 3)
    # Later items: b c, a d of the first run: 2 of 4 seen; b a of the second: 1 of 2.
    assert (found.items_seen.mean, found.items_seen.n) == (0.5, 6)


def test_an_encoder_gives_distances_between_embeddings(logged: Logged) -> None:
    encoder = HashingEncoder(width=64)
    logged.run(("space opera", ["a"]), ("SPACE OPERA", ["a"]), ("quiet drama", ["a"]))
    found = diagnose(logged.store, encoder=encoder).preferences.cosine_distance
    first, second = encoder.encode(["space opera", "quiet drama"], role="preference").astype(float)
    assert found.mean == pytest.approx(2 / 3 * (1 - float(first @ second)), abs=1e-6)
    assert found.n == 1


def test_copying_is_order_against_the_recommenders_own(logged: Logged) -> None:
    first, second = ("x", ["a", "b", "c"]), ("y", ["c", "b", "d"])
    # Fused: b 2/62, c 1/61 + 1/63, then a 1/61, d 1/63. c: .03227, b: .03226. So c, b, a, d.
    logged.run(first, second, writes=["a", "b", "c"])  # the first retrieval; 3 of 3 of the fused top in another order
    logged.run(first, second, writes=["c", "b", "b"])  # the fused order; c and b of the first's a, b: one of two
    logged.run(first, second, writes=["d", "c"])  # none of a, b; one of c, b
    logged.run(first, writes=["a"])  # one item has no order
    logged.run(first, status="fallback", shown=["a", "b"])  # nothing written
    found = diagnose(logged.store).copying
    assert (found.overlap_first.mean, found.overlap_first.n) == (pytest.approx((1 + 0.5 + 0) / 3), 3)
    assert found.same_first == proportion_interval(1, 3)
    assert found.overlap_fused.mean == pytest.approx((1 + 1 + 0.5) / 3)
    assert found.same_fused == proportion_interval(1, 3)


def test_entries_are_ungrounded_or_repeated(logged: Logged) -> None:
    search = ("x", ["a", "b", "c", "d"])
    logged.run(search, writes=["a", "b", "c"])  # 3 entries, nothing wrong
    logged.run(search, writes=["a", "a", "z"], ungrounded=2)  # 5 entries: 3 name nothing found, 1 of 2 again
    logged.run(("x", ["a", "b"]), writes=["b", "a"])  # shorter than k, but all that there is
    logged.run(search, status="budget")  # no list
    lists = diagnose(logged.store).lists
    assert lists.wrote == proportion_interval(3, 4)
    assert (lists.length.n, lists.length.median, lists.length.largest) == (3, 3, 5)
    assert lists.full == proportion_interval(2, 3)
    assert (lists.ungrounded.mean, lists.ungrounded.n) == (pytest.approx(3 / 10), 10)
    assert lists.lists_ungrounded == proportion_interval(1, 3)
    assert (lists.repeated.mean, lists.repeated.n) == (pytest.approx(1 / 7), 7)
    assert lists.lists_repeated == proportion_interval(1, 3)


def test_positions_are_those_at_which_candidates_were_shown(logged: Logged) -> None:
    letters = list("abcdefghij")
    logged.run(("x", letters), ("y", ["j", "k"]), writes=["k", "a"])  # 11 candidates: places 1 and 0
    logged.run(("x", list("abc")), writes=["b", "b", "zz"])  # place .5 of three
    logged.run(("x", ["a"]), writes=["a"])  # nothing to choose from
    found = diagnose(logged.store).positions
    assert (found.mean.mean, found.mean.n) == (0.5, 3)
    assert (found.first_choice.mean, found.first_choice.n) == (0.75, 2)
    assert (found.first_five.mean, found.first_five.n) == (pytest.approx(2 / 3), 3)
    assert found.first_five_by_chance == pytest.approx((2 * 5 / 11 + 1) / 3)
    assert found.histogram == (1, 0, 0, 0, 0, 1, 0, 0, 0, 1)
    assert (found.retrieval_rank.n, found.retrieval_rank.median) == (3, 2)  # k and b were second, a first


def test_costs_are_per_run_and_per_turn(logged: Logged) -> None:
    logged.run(("x", ["a"]), writes=["a"], tokens=10, turn_ms=500, run_ms=1500)
    logged.run(("x", ["a"]), ("y", ["a"]), writes=["a"], tokens=40, turn_ms=1000, run_ms=4500)
    cost = diagnose(logged.store).cost
    assert (cost.run_tokens.mean, cost.run_tokens.median, cost.run_tokens.largest) == (70, 70, 120)
    assert cost.run_tokens.p95 == pytest.approx(115)
    assert (cost.run_tokens_read.mean, cost.run_ms.median) == (250, 3000)
    assert (cost.run_turns.largest, cost.run_retrievals.largest) == (3, 2)
    assert (cost.turn_tokens.n, cost.turn_tokens.median, cost.turn_ms.median) == (5, 40, 1000)
    assert cost.tokens_per_second.mean == pytest.approx(140 / 4)  # 140 tokens in 4 seconds
    assert cost.turn_tokens_per_second.median == 40


def test_nothing_to_count_is_nan_and_never_nought(logged: Logged) -> None:
    diagnosis = diagnose(logged.store)
    assert diagnosis.runs == 0
    assert diagnosis.target.ceiling == ()
    assert diagnosis.worth_reading == ()
    shares = [
        diagnosis.endings[0].share,
        diagnosis.incomplete,
        diagnosis.target.found,
        diagnosis.preferences.repeated,
        diagnosis.preferences.word_distance,
        diagnosis.copying.same_first,
        diagnosis.copying.overlap_fused,
        diagnosis.lists.ungrounded,
        diagnosis.lists.wrote,
        diagnosis.positions.mean,
        diagnosis.cost.tokens_per_second,
    ]
    assert all(math.isnan(share.mean) and share.n == 0 for share in shares)
    assert math.isnan(diagnosis.positions.first_five_by_chance)
    assert math.isnan(diagnosis.cost.run_ms.median)
    json.dumps(diagnosis.to_dict(), allow_nan=False)


def worth(diagnosis: Diagnosis) -> dict[str, tuple[UUID, str]]:
    return {run.reason: (run.run_id, run.why) for run in diagnosis.worth_reading}


def test_runs_worth_reading_have_a_reason_each(logged: Logged) -> None:
    missed = logged.run(("x", ["a", "t"]), ("w", ["b"]), writes=["b", "a"])
    refined = logged.run(("x", ["a"]), ("like \x1b[31mHeat", ["b", "t"]), writes=["t"])
    gained = logged.run(("x", ["a", "b", "t"]), ("v", ["c"]), writes=["t", "a"])
    same = logged.run(("x", ["a"]), ("X ", ["a", "b"]), target=None, writes=["b"])
    copied = logged.run(("x", ["a", "b"]), ("y", ["c"]), target=None, writes=["a", "b"])
    made_up = logged.run(("x", ["a", "b"]), target=None, writes=["b"], ungrounded=4)
    broken = logged.run(malformed=3, status="malformed", detail="3 malformed outputs", target=None)
    fell = logged.run(("x", ["a"]), status="fallback", detail="the server is gone", target=None)
    long = logged.run(("x", ["a", "b"]), target=None, writes=["b"], tokens=5000)
    assert worth(diagnose(logged.store)) == {
        "found at once, not listed": (
            missed,
            "the first retrieval had the target at rank 2, and the model's list leaves it out",
        ),
        "found after refining": (
            refined,
            "the target was found only in turn 2 with “like \\x1b[31mHeat”, at rank 2",
        ),
        "biggest gain in rank": (gained, "the target rose from rank 3 to 1 in the list"),
        "searched for the same": (same, "all 2 retrievals had the preference “x”"),
        "copied the recommender": (
            copied,
            "the list is the first retrieval in its order; 1 items found later have no place in it",
        ),
        "ungrounded items": (made_up, "4 of 5 entries of the list name nothing that was found"),
        "malformed": (broken, "3 malformed outputs"),
        "fell back": (fell, "the server is gone"),
        "most tokens": (long, "10,000 tokens written in 2 turns"),
    }


def test_reasons_take_turns_and_the_list_is_the_same_each_time(logged: Logged) -> None:
    for rank in range(1, 6):
        items = [f"i{number}" for number in range(1, rank)] + ["t", "z"]
        logged.run(("x", items), writes=["z"])  # the target at ranks 1 to 5, left out
    late = logged.run(("x", ["a"]), ("y", ["t"]), writes=["t"])
    short = diagnose(logged.store, worth=3).worth_reading
    assert [run.reason for run in short] == [
        "found at once, not listed",
        "found after refining",
        "most tokens",
    ]
    assert short[0].run_id == UUID(int=1)  # it was at rank 1
    assert short[1].run_id == late
    everything = diagnose(logged.store, worth=50).worth_reading
    # In turns: 1, late, 2 for its tokens; 3, 4 for its tokens; 5.
    assert [run.run_id.int for run in everything if run.reason.startswith("found at once")] == [1, 3, 5]
    assert len({run.run_id for run in everything}) == len(everything) == 6
    assert diagnose(logged.store, worth=50) == diagnose(logged.store, worth=50)
    assert diagnose(logged.store, worth=0).worth_reading == ()
    with pytest.raises(ConfigError):
        diagnose(logged.store, worth=-1)


def test_a_filter_and_traces_choose_what_is_diagnosed(logged: Logged) -> None:
    logged.run(("x", ["t"]), writes=["t"], suite="a")
    logged.run(("x", ["b"]), writes=["b"], suite="b")
    with Traces(logged.store) as traces:
        diagnosis = diagnose(traces, RunFilter(suite="b"))
    assert (diagnosis.runs, diagnosis.target.found.mean) == (1, 0)


@pytest.mark.slow
def test_figures_are_drawn_without_global_state(logged: Logged, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib (the extra [plots])")
    import matplotlib
    from matplotlib._pylab_helpers import Gcf

    before = dict(matplotlib.rcParams)
    empty = plot_diagnosis(diagnose(logged.store))
    logged.run(("x", ["a", "t"]), ("y", ["c"]), writes=["t", "c"])
    logged.run(("x", ["a", "b"]), status="budget", detail="all 3 retrievals spent")
    figures = plot_diagnosis(diagnose(logged.store))
    assert list(figures) == list(empty) == ["endings", "ceiling", "positions", "cost"]
    for name, figure in [*figures.items(), *((f"empty-{name}", figure) for name, figure in empty.items())]:
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 3_000
    heights = [bar.get_height() for bar in figures["endings"].axes[0].patches]
    assert heights == [0.5, 0.0, 0.5, 0.0]  # finished, malformed, budget, fallback
    assert list(figures["ceiling"].axes[0].lines[0].get_ydata()) == [0.5, 0.5]
    assert figures["positions"].axes[0].patches[5].get_height() == 0.5  # t was second of three
    grey = {bar.get_facecolor()[:3] for figure in figures.values() for axes in figure.axes for bar in axes.patches}
    assert all(red == green == blue for red, green, blue in grey)
    assert not Gcf.get_all_fig_managers()
    assert dict(matplotlib.rcParams) == before


@pytest.mark.slow
def test_the_command_prints_tables_json_and_figures(
    logged: Logged, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    logged.run(("[bold]x\x1b[31m", ["a", "t"]), ("y", ["c"]), writes=["t", "c"], suite="one")
    logged.run(("x", ["a"]), status="budget", detail="all 3 [red]retrievals spent", suite="two")
    shown_text = answer_of(capsys, "eval", "diagnose", "--store", path)
    assert "found by turn 1" in shown_text
    assert "all N [red]retrievals spent (1)" in shown_text
    assert "[bold]x\\x1b[31m" in shown_text
    assert "\x1b[31m" not in shown_text
    figures = tmp_path / "figures"
    answer = json.loads(
        answer_of(capsys, "eval", "diagnose", "--store", path, "--suite", "one", "--plots", figures, "--json")
    )
    assert (answer["runs"], answer["target"]["found"]["mean"]) == (1, 1.0)
    assert answer["preferences"]["cosine_distance"]["mean"] is None
    assert sorted(file.name for file in figures.iterdir()) == [
        "ceiling.png",
        "cost.png",
        "endings.png",
        "positions.png",
    ]
    assert answer_of(capsys, "eval", "diagnose", "--store", path, "--suite", "none").strip() == "No run matches."


def test_a_missing_store_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refusal_of(capsys, "eval", "diagnose", "--store", tmp_path / "none.db")


def test_what_was_misheard_is_named_with_its_words(
    store: TraceStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logged = Logged(store)
    said = {"wanted": ["comedy", "1990s"], "unwanted": ["horror"], "where": []}
    measures = {"words_precision": 0.5, "words_recall": 1 / 3}
    for preference, message in (("comedy; drama", "a funny one"), ("comedy; drama", "good for a laugh")):
        run_id = logged.run((preference, ["a"]), message=message)
        store.write_case(run_id, CaseRecord(history_length=1, conversation=f"c{run_id}", turn=0, words=3, said=said))
        store.write_metrics(run_id, measures)
    other_words = logged.run(("western", ["a"]), message="another person's words")
    store.write_case(other_words, CaseRecord(history_length=1, conversation="c", turn=0, words=3, said=said))
    store.write_metrics(other_words, {"words_precision": 1.0, "words_recall": 1.0})
    unmeasured = logged.run(("western", ["a"]), message="something")
    assert store.run(unmeasured).metrics == {}
    words = diagnose(store).words
    assert words is not None
    assert (words.runs, words.precision.mean, words.recall.mean) == (3, pytest.approx(2 / 3), pytest.approx(5 / 9))
    [misheard] = words.misheard
    assert (misheard.phrase, misheard.runs, misheard.words) == ("drama", 2, "a funny one")
    assert dict(misheard.others) == {"1990s": 2, "not horror": 2}
    assert {(found.phrase, found.runs) for found in words.missed} == {("1990s", 2), ("not horror", 2)}
    shown = answer_of(capsys, "eval", "diagnose", "--store", str(tmp_path / "traces.db"))
    assert "drama" in shown
    assert "a funny one" in shown


@pytest.mark.parametrize("said", [{"wanted": 5, "unwanted": {"a": 1}}, [1]])
def test_an_imported_case_of_an_odd_shape_has_nothing_misheard(store: TraceStore, said: Any) -> None:
    run_id = Logged(store).run(("comedy", ["a"]), message="a funny one")
    store.write_case(run_id, CaseRecord(history_length=1, conversation="c", turn=0, words=3, said=said))
    store.write_metrics(run_id, {"words_precision": 0.5, "words_recall": 0.5})
    words = diagnose(store).words
    assert words is not None
    assert (words.misheard, words.missed) == ((), ())


def test_runs_without_a_message_have_no_figures_of_words(store: TraceStore) -> None:
    Logged(store).run(("western", ["a"]))
    assert diagnose(store).words is None
    assert "words" not in diagnose(store).to_dict()
