"""The ways to fool oneself, one after another. Each test fails when the guard that it names is taken out.

What training itself reads is guarded beside it: `test_held_out_items_never_enter_a_window` in
tests/trm_tool/test_train.py, `test_no_held_out_item_is_ever_a_target` in tests/trm_tool/test_written_preferences.py,
and tests/training/test_instances.py.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from deeprec.agent import AgentConfig, CompletionPolicy, TraceStore, build_graph, fill_list, make_chat_model
from deeprec.agent.traces import RecommendationRecord
from deeprec.evals import (
    SYSTEMS,
    Case,
    DerivedSystem,
    ShownRun,
    ShuffledHistoryOnly,
    all_attributes,
    check_cases,
    check_disjoint,
    compare_systems,
    hit_reward,
    make_cases,
    make_report,
    measure_order,
    measure_run,
    ndcg_at_k,
    rank_reward,
    recall_at_k,
    reciprocal_rank,
    render_html,
    suite_label,
)
from deeprec.trm_tool import (
    Artifact,
    CachedEncoder,
    Catalogue,
    ConfigError,
    Dataset,
    HashingEncoder,
    Item,
    Retriever,
    TextEncoder,
    TextRole,
    read_atomic_files,
)
from tests.conftest import WriteAtomic, tiny_interactions
from tests.evals.metrics.test_rewards import make_trace
from tests.evals.suites.test_harness import make_suite, run, traces_of
from tests.tiny_server import MODEL, TinyServer


class TestTitlesDecideNoHit:
    """The catalogue calls 900 and 886 "Toy Story", and 893 "Toy Story 2"."""

    def test_an_item_of_the_same_title_or_one_that_holds_it_is_no_hit(self, catalogue: Catalogue) -> None:
        assert [catalogue.item(item).title for item in ("900", "886", "893")] == [
            "Toy Story",
            "Toy Story",
            "Toy Story 2",
        ]
        trace = make_trace(["886", "893"], target="900")
        measures = measure_run(replace(trace, recommended=trace.written))
        assert (measures["rr_written"], measures["rr_filled"], hit_reward(trace)) == (0.0, 0.0, 0.0)

    def test_an_id_inside_an_id_is_no_hit(self) -> None:
        trace = make_trace(["900", "90"], target="0")
        assert (measure_run(trace)["rr_written"], measure_run(trace)["found"], hit_reward(trace)) == (0.0, 0.0, 0.0)

    @pytest.mark.parametrize("metric", [recall_at_k, ndcg_at_k, reciprocal_rank])
    def test_text_in_the_place_of_ids_is_refused(self, metric: Any) -> None:
        with pytest.raises(TypeError, match="Give a list of item ids"):
            metric("Toy Story 2", {"900"}, 5)
        with pytest.raises(TypeError, match="Give a set of item ids"):
            metric(["900"], "Toy Story", 5)


class TestRepeatsCountOnce:
    def test_a_repeat_is_one_hit_and_takes_one_place(self) -> None:
        assert recall_at_k(["900", "900"], {"900", "893"}, 5) == 0.5
        assert ndcg_at_k(["893", "893", "900"], {"900"}, 2) == pytest.approx(1 / math.log2(3))
        trace = make_trace(["893", "893", "900"], target="900")
        measures = measure_run(replace(trace, recommended=trace.written))
        assert (measures["rr_written"], measures["listed"], measures["repeated"]) == (0.5, 2.0, 1.0)
        assert rank_reward(trace) == pytest.approx(1.8)

    def test_no_repeat_is_shown_to_a_person(self) -> None:
        written = [
            RecommendationRecord(rank=rank, item_id=item, source="written")
            for rank, item in enumerate(["893", "893", "900"], start=1)
        ]
        found: list[Any] = [
            {"item_id": item, "retrieval": 0, "score": 0.5, "fused": 1 / place}
            for place, item in enumerate(["886", "900", "893"], start=1)
        ]
        shown = fill_list(written, found, (), k=3, fallback=False)
        assert [(place.rank, place.item_id) for place in shown] == [(1, "893"), (2, "900"), (3, "886")]


class Recording(Retriever):
    """Keeps what it is asked."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__(artifact, HashingEncoder())
        self.asked: list[Any] = []

    def retrieve(self, history: Any, preference: Any = None, **settings: Any) -> Any:
        self.asked.append((tuple(history), preference, settings))
        return super().retrieve(history, preference, **settings)


SEARCH = (
    {"name": "retrieve_items", "arguments": '{"preference": "comedy"}'},
    "<think>x</think>\n<|begin_of_preference|>comedy<|end_of_preference|>",
)
LIST = (
    {"name": "recommend_items", "arguments": '{"numbers": [1, 2]}'},
    "<recommendation_list>\n1\n2\n</recommendation_list>",
)
"""As the tools protocol has it, and the tagged one."""


class TestTheTargetIsNotShown:
    @pytest.mark.slow
    @pytest.mark.parametrize("protocol", ["tagged", "tools"])
    @pytest.mark.parametrize("guided", [True, False])
    async def test_another_target_changes_nothing_that_the_model_or_the_recommender_is_asked(
        self, protocol: str, guided: bool, server: TinyServer, artifact: Artifact, dataset: Dataset
    ) -> None:
        """Prompt, tool descriptions, phrases on offer, seeds, searches: all as if the target were another item."""
        config = AgentConfig(guided=guided, k=3, retrieve_k=4, max_turn_tokens=400, min_retrievals=1, max_retrievals=2)
        history = list(dataset.history("u1", 1))
        seen = []
        for target in (dataset.target("u1", 1), "900", None):
            server.requests.clear()
            if not guided:
                server.script = [
                    {"tool_calls": [{"id": "1", "type": "function", "function": call}]} if protocol == "tools" else text
                    for call, text in (SEARCH, LIST)
                ]
            retriever = Recording(artifact)
            policy = (
                CompletionPolicy(server.base_url, MODEL)
                if protocol == "tagged"
                else make_chat_model(server.base_url, MODEL)
            )
            lineage: Any = {"seed": 3, "user_id": "u1", "split": "test"} | ({"target_id": target} if target else {})
            await build_graph(policy, retriever, config=config).ainvoke({"history": history, "lineage": lineage})
            await (policy.aclose() if isinstance(policy, CompletionPolicy) else policy.root_async_client.close())
            sent = re.sub(r"call_lc_run-[\w-]+", "call", json.dumps(server.requests))  # a number drawn for each call
            assert len(server.requests) >= 2
            assert len(retriever.asked) >= 2
            seen.append((sent, retriever.asked))
        assert seen[0] == seen[1] == seen[2]

    def test_a_case_whose_history_goes_on_to_the_target_is_refused(self, dataset: Dataset) -> None:
        cases = make_cases(dataset)
        check_cases(cases, dataset, "test")
        for wrong in (
            replace(cases[3], history=(*cases[3].history, cases[3].target)),
            replace(cases[3], history=cases[3].history[:-1]),
            replace(cases[3], target=cases[3].history[0]),
            replace(cases[3], user="nobody"),
        ):
            with pytest.raises(ConfigError, match=r"does not belong to the split test: .* has \d+ items where"):
                check_cases([*cases[:3], wrong], dataset, "test")
        with pytest.raises(ConfigError, match="does not belong to the split valid"):
            check_cases(cases, dataset, "valid")

    def test_a_suite_on_such_cases_is_not_run(self, store: TraceStore, dataset: Dataset, artifact: Artifact) -> None:
        class OneTooMany(Dataset):
            def history(self, user: str, holdout: int = 0) -> tuple[str, ...]:
                return super().history(user, holdout - (holdout == 1))

        with pytest.raises(ConfigError, match="does not belong to the split test"):
            run(make_suite(), store, as_kind(OneTooMany, dataset), artifact)
        assert store.runs() == []

    def test_the_oracle_gets_attributes_and_never_the_title(self) -> None:
        film = Item(id="1", title="Heat", text="", attributes={"tags": ("Heat", "Crime")})
        catalogue = Catalogue([film], {"tags": "tags"})
        assert list(all_attributes([Case(user="u", history=(), target="1")], catalogue).values()) == ["crime"]

    @pytest.mark.parametrize("kept", ["in memory", "on disk"])
    def test_a_cached_preference_is_found_by_its_own_text(
        self, kept: str, artifact: Artifact, dataset: Dataset, tmp_path: Path
    ) -> None:
        class Remembering(TextEncoder):
            """The cache of a sentence encoder, without its model."""

            def _run(self, texts: list[str], role: TextRole) -> Any:
                return HashingEncoder().encode(texts, role=role)

        preferences = list(all_attributes(make_cases(dataset), artifact.catalogue).values())
        encoder = Remembering("hashing-32") if kept == "in memory" else CachedEncoder(HashingEncoder(), tmp_path)
        encoder.encode(preferences, role="preference")
        warm, fresh = Retriever(artifact, encoder), Retriever(artifact, HashingEncoder())
        for user, preference in zip(dataset.users, [*preferences[1:], "a quiet evening"], strict=True):
            history = dataset.history(user, 1)
            assert warm.retrieve(history, preference, k=5) == fresh.retrieve(history, preference, k=5)
            assert warm.retrieve(history, preference[:-1], k=5) == fresh.retrieve(history, preference[:-1], k=5)

    def test_a_preference_that_names_the_target_is_counted_in_the_report(
        self, store: TraceStore, dataset: Dataset, artifact: Artifact, server: TinyServer
    ) -> None:
        suite = make_suite("trm", "deeprec-free", users=1, max_retrievals=2)
        results = run(suite, store, dataset, artifact, only=["trm"])
        [target] = results.system("trm").targets
        preference = f"like {artifact.catalogue.item(target).title.upper()}"
        searches = f"<think>x</think>\n<|begin_of_preference|>{preference}<|end_of_preference|>"
        server.script = [searches, searches, "<recommendation_list>\n1\n2\n3\n4\n5\n</recommendation_list>"]
        results = run(suite, store, dataset, artifact, base_url=server.base_url)
        assert all("names_target" in system.measures for system in results.systems)
        assert results.system("deeprec-free").measures["names_target"].tolist() == [1.0]
        [line] = [line for line in make_report(results).warnings if "title" in line]
        assert line.startswith("For 1 of 1 users a preference of deeprec-free holds the target's title")

    def test_a_target_that_was_in_the_history_all_along_is_reported(
        self, store: TraceStore, dataset: Dataset, artifact: Artifact
    ) -> None:
        again = dict(dataset.sequences)
        again["u1"] = (*again["u1"][:-1], again["u1"][0])
        results = run(make_suite(), store, as_kind(Dataset, dataset, sequences=again), artifact)
        assert all(system.measures["in_history"].sum() == 1 for system in results.systems)
        assert results.system("trm").measures["recall@5 filled"][list(results.systems[0].users).index("u1")] == 0
        assert "1 targets are in the history that was shown: masked, no system can find them." in (
            make_report(results).warnings
        )


def as_kind(kind: type[Dataset], dataset: Dataset, **changes: Any) -> Dataset:
    return kind(**{field.name: getattr(dataset, field.name) for field in fields(Dataset)} | changes)


class TestNoTestPairIsLearned:
    def test_a_shared_pair_is_refused_and_the_item_with_another_user_is_not(self) -> None:
        evaluated = [("ann", "7"), ("bob", "9")]
        check_disjoint(evaluated, [("ann", "9"), ("bob", "7")], by="the policy")
        with pytest.raises(ConfigError, match=r"1 pairs .* learned by the policy, such as user 'bob' and item '9'"):
            check_disjoint(evaluated, iter([("ann", "9"), ("bob", "9")]), by="the policy")

    def test_a_recommender_that_was_trained_on_the_targets_is_refused(
        self, store: TraceStore, dataset: Dataset, artifact: Artifact
    ) -> None:
        leaky = replace(artifact, config={**artifact.config, "holdout": 0})
        with pytest.raises(ConfigError, match="holdout 0"):
            run(make_suite(), store, dataset, leaky)

    def test_a_recommender_whose_holdout_does_not_hold_is_refused(
        self, store: TraceStore, dataset: Dataset, artifact: Artifact
    ) -> None:
        class HoldsNothingBack(Dataset):
            def history(self, user: str, holdout: int = 0) -> tuple[str, ...]:
                return self.sequences[user] if holdout == 2 else super().history(user, holdout)

        with pytest.raises(ConfigError, match="12 pairs of user and target are evaluated and were learned by the rec"):
            run(make_suite(), store, as_kind(HoldsNothingBack, dataset), artifact)

    def test_targets_that_training_chose_by_are_reported(
        self, store: TraceStore, dataset: Dataset, artifact: Artifact
    ) -> None:
        warnings = [
            make_report(run(make_suite(split=split), store, dataset, artifact)).warnings for split in ("valid", "test")
        ]
        chosen = [[line for line in lines if "chose the recommender's epoch" in line] for lines in warnings]
        assert [len(lines) for lines in chosen] == [1, 0]

    def test_a_recommender_of_other_data_is_reported(
        self, store: TraceStore, dataset: Dataset, artifact: Artifact
    ) -> None:
        other = replace(artifact, config={**artifact.config, "dataset_fingerprint": "another"})
        for trained, lines in ((artifact, 0), (other, 1)):
            warnings = make_report(run(make_suite(name=f"s{lines}"), store, dataset, trained)).warnings
            assert (
                len([line for line in warnings if "nothing proves that it did not learn the targets" in line]) == lines
            )


class TestSeenItemsAreMaskedForAllAlike:
    @pytest.mark.slow
    def test_no_system_lists_an_item_of_the_history(
        self, store: TraceStore, dataset: Dataset, artifact: Artifact, server: TinyServer
    ) -> None:
        results = run(
            make_suite("trm", "popularity", "one-retrieval"), store, dataset, artifact, base_url=server.base_url
        )
        assert all(system.measures["seen"].sum() == 0 for system in results.systems)
        for trace in store.traces():
            listed = {place.item_id for place in (*trace.recommended, *trace.written)}
            assert len(listed) >= 4
            assert not listed & set(trace.run.history)

    @pytest.mark.slow
    @pytest.mark.parametrize("baseline", ["trm", "unmasked"])
    def test_a_system_that_masks_otherwise_is_named_and_compared_with_none(
        self,
        baseline: str,
        store: TraceStore,
        dataset: Dataset,
        artifact: Artifact,
        server: TinyServer,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("deeprec.evals.suites.comparison.MIN_SLICE", 2)

        def unmasked(_: Any) -> DerivedSystem:
            return DerivedSystem(source="one-retrieval", rank=lambda trace: list(trace.run.history))

        suite = make_suite("trm", "popularity", "one-retrieval", "unmasked", baseline=baseline)
        systems = {**SYSTEMS, "unmasked": unmasked}
        results = run(suite, store, dataset, artifact, base_url=server.base_url, systems=systems)
        for pair in (("unmasked", "trm"), ("trm", "unmasked")):
            with pytest.raises(ConfigError, match="unmasked lists items of the history and trm does not"):
                compare_systems(*map(results.system, pair), ["ndcg@5 filled"])
        report = make_report(results, baseline=baseline)
        compared = {difference.first for difference in (*report.differences, *report.sliced)}
        assert compared == ({"popularity", "one-retrieval"} if baseline == "trm" else set())
        assert bool(report.sliced) == (baseline == "trm")
        assert [line for line in report.warnings if line.startswith("unmasked listed items that were in the history")]


class TestTiesInTime:
    def test_the_order_of_tied_rows_chooses_the_target_and_is_in_the_label(
        self, write_atomic: WriteAtomic, dataset: Dataset
    ) -> None:
        rows = tiny_interactions()
        last = [number for number, row in enumerate(rows) if row.startswith("u0\t")][-2:]
        assert len({rows[number].rsplit("\t", 1)[1] for number in last}) == 1
        rows[last[0]], rows[last[1]] = rows[last[1]], rows[last[0]]
        swapped = read_atomic_files(write_atomic(inter=rows))
        assert swapped.sequences["u0"][-2:] == dataset.sequences["u0"][:-3:-1]
        assert swapped.target("u0", 1) == dataset.target("u0", 2)
        assert swapped.tied_targets == dataset.tied_targets == 4
        assert suite_label(make_suite(), swapped, "f") != suite_label(make_suite(), dataset, "f")

    def test_every_report_says_how_ties_are_broken(
        self, store: TraceStore, dataset: Dataset, artifact: Artifact
    ) -> None:
        report = make_report(run(make_suite(), store, dataset, artifact))
        rule = "ties in time go by the order of the interaction file"
        assert rule in render_html(report)
        assert rule in report.to_dict()["protocol"]


@pytest.mark.slow
class TestTheOrderOfCandidates:
    @pytest.fixture
    def agents(
        self, store: TraceStore, dataset: Dataset, artifact: Artifact, server: TinyServer
    ) -> tuple[Any, TraceStore]:
        suite = make_suite("trm", "one-retrieval", "one-retrieval-shuffled", k=4)
        return run(suite, store, dataset, artifact, base_url=server.base_url), store

    def test_the_same_candidates_are_shown_in_an_order_drawn_for_each_user(self, agents: Any) -> None:
        _, store = agents
        own, drawn = (
            {trace.run.user_id: trace.retrievals[0].items for trace in traces_of(store, name)}
            for name in ("one-retrieval", "one-retrieval-shuffled")
        )
        assert own.keys() == drawn.keys()
        orders = Counter()
        for user, items in own.items():
            assert set(drawn[user]) == set(items)  # the scores too
            orders[tuple(items.index(item) for item in drawn[user])] += 1
        assert len(orders) > 6
        assert max(orders.values()) < 6

    def test_the_order_follows_the_seed_and_what_a_run_falls_back_on_keeps_the_recommenders(
        self, artifact: Artifact, dataset: Dataset
    ) -> None:
        plain = Retriever(artifact, HashingEncoder())
        drawn = [ShuffledHistoryOnly(plain, seed=seed) for seed in (0, 0, 1)]
        for user in dataset.users:
            history = dataset.history(user, 1)
            first, again, other = (tuple(kind.retrieve(history, "comedy", k=9)) for kind in drawn)
            assert first == again != other
            assert drawn[0].retrieve(history, None, k=9) == plain.retrieve(history, None, k=9)

    def test_a_model_that_copies_what_it_is_shown_is_reported(self, agents: Any) -> None:
        results, _ = agents
        copies = [
            [ShownRun(user=str(user), seed=0, shown=shown, written=shown[:2]) for user in range(9)]
            for shown in (("a", "b", "c"), ("c", "b", "a"))
        ]
        found = {"one-retrieval": measure_order(*copies)}
        [line] = [line for line in make_report(replace(results, orders=found)).warnings if "order in which" in line]
        assert "decides part of the ranking of one-retrieval" in line
        assert "tau of position shown and position written is 1.00 (p < .0001)" in line

    def test_the_report_says_what_the_order_decides(self, agents: Any) -> None:
        results, _ = agents
        found = results.orders["one-retrieval"]
        assert (found.pairs, found.left_out) == (12, 0)
        assert found.drawn.low < 0 < found.drawn.high  # a random regex heeds no order
        report = make_report(results)
        assert report.order_worth["one-retrieval"].second == "one-retrieval-shuffled"
        page, figures = render_html(report), report.to_dict()["orders"]["one-retrieval"]
        assert "What the order of the candidates decides" in page
        assert figures["pairs"] == 12
        assert figures["worth"]["measure"] == report.measure
