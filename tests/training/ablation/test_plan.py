"""The plan of an ablation: rows that differ where they say so, parts that they share, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from deeprec.training import AblationPlan, load_ablation_plan, packaged_ablations
from deeprec.trm_tool import ConfigError

STAGES = [
    {"stage": "interaction", "steps": 1, "users": 2, "group_size": 3},
    {"stage": "recommendation", "steps": 2, "users": 2, "group_size": 3},
]
LOOP = {
    "artifact": "trm",
    "agent": {"k": 10, "max_retrievals": 2},
    "warm_start": {"users": 2, "group_size": 2, "best": 2},
    "stages": STAGES,
    "validation": {"users": 2, "every": 9},
}
ALONE = {"piece": "The method", "policy": "none", "system": "trm"}
ROWS = {"full": {"piece": "The full method"}, "recommender": ALONE}
SIZES = [(name, size) for name in packaged_ablations() for size in ("cpu", *load_ablation_plan(name).sizes)]


def make_plan(more: dict[str, Any] | None = None, **changes: Any) -> AblationPlan:
    return AblationPlan.model_validate({"name": "plan", "loop": LOOP, "rows": ROWS | (more or {})} | changes)


def row(**changes: Any) -> dict[str, Any]:
    return {"other": {"piece": "It", **changes}}


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_every_packaged_row_differs_from_the_full_method_where_it_says_so(name: str, size: str) -> None:
    plan = load_ablation_plan(name).sized(size)
    settings = plan.settings()
    full = settings["full"].config.model_dump()
    for row_name, own in settings.items():
        found = own.config.model_dump()
        changed = {field for field in full if found[field] != full[field]}
        assert changed == plan.rows[row_name].change.keys(), row_name
    effects = [repr(own.effect()) for own in settings.values()]
    assert len(set(effects)) == len(effects)


def test_the_packaged_plans_have_the_rows_that_issue_21_names() -> None:
    named = {
        *("full", "recommender", "untrained", "warm-start", "no-stage-1", "no-process", "no-pointwise"),
        *("no-listwise", "no-selection", "one-search", "turn-credit", "dpo"),
    }
    rows = {name: set(load_ablation_plan(name).rows) for name in packaged_ablations()}
    assert rows == {
        "made-requests": named | {"raw-words", "own-list", "reasoning"},
        "histories": named | {"deep-list", "no-reasoning"},
    }


def test_rows_of_the_packaged_plans_change_what_they_are_called_after() -> None:
    settings = load_ablation_plan("made-requests").settings()
    stages = {name: [plan.stage for plan in own.config.stages] for name, own in settings.items()}
    assert stages["no-stage-1"] == ["recommendation"]
    for name, stage, component in (
        ("no-process", "interaction", "found"),
        ("no-pointwise", "recommendation", "hit"),
        ("no-listwise", "recommendation", "rank"),
    ):
        full, own = (
            next(plan for plan in settings[each].config.stages if plan.stage == stage) for each in ("full", name)
        )
        counted = {part: weight for part, weight in full.reward().weights.items() if weight}
        assert {part: weight for part, weight in own.reward().weights.items() if weight} == {
            part: weight for part, weight in counted.items() if part != component
        }
    agents = {name: own.config.agent_config(guided=False) for name, own in settings.items()}
    assert (agents["full"].max_retrievals, agents["one-search"].max_retrievals) == (2, 1)
    assert agents["reasoning"].thinks is True
    assert settings["no-selection"].config.max_rank > 1682
    trainer = settings["turn-credit"].config.trainer(settings["turn-credit"].config.stages[0])
    assert (trainer.credit, trainer.importance_sampling_level) == ("token", "item")


def test_rows_share_the_parts_that_are_alike() -> None:
    rows = {
        "no-pointwise": {"piece": "a", "change": {"stages": {"recommendation": {"weights": {"hit": 0}}}}},
        "no-process": {"piece": "b", "change": {"stages": {"interaction": {"weights": {"found": 0}}}}},
        "one-search": {"piece": "c", "change": {"agent": {"max_retrievals": 1}}},
        "warm-start": {"piece": "d", "policy": "start"},
        "dpo": {"piece": "e", "policy": "dpo"},
    }
    parts = {name: [part.id for part in own.parts] for name, own in make_plan(rows).settings().items()}
    assert [len(own) for own in parts.values()] == [3, 0, 3, 3, 3, 1, 2]
    full = parts["full"]
    assert parts["no-pointwise"][:2] == full[:2]
    assert parts["no-pointwise"][2] != full[2]
    assert parts["no-process"][0] == full[0]
    assert not {*parts["no-process"][1:]} & {*full}  # its second stage begins with another policy
    assert not {*parts["one-search"]} & {*full}
    assert parts["warm-start"] == full[:1] == parts["dpo"][:1]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (row(change={"stages": {"recommendation": {"weights": {"hit": 1}}}}), "it changes nothing of full"),
        (row(change={"agent": {"retrieve_k": 10}}), "it changes nothing of full"),
        (row(policy="none", system="trm"), "it changes nothing of recommender"),
        (row(policy="none", system="words-history"), "hears what people say"),
        (row(policy="none", system="guess"), "system has to be one of trm"),
        (row(system="trm"), "is no agent's"),
        (row(change={"max_rnak": 3}), r"rows\.other: there is no field 'max_rnak'.*Did you mean 'max_rank'"),
        (row(change={"stages": {"play": None}}), "no stage 'play' to leave out; it has interaction, recommendation"),
        (row(change={"stages": STAGES}), "stages of a change are named"),
        (row(change={"grpo": {"credit": "turn"}}), r"rows\.other: .*GrpoConfig\.credit is 'turn'"),
        (row(policy="dpo", dpo={"beta": 0}), r"DpoConfig\.beta is 0"),
        (row(dpo={"beta": 1}), "the policy is not dpo"),
        (row(change={"validation": {"every": 3}}), "it changes nothing of full"),
        (row(change={"grpo": {"micro_batch_tokens": 3000, "report_to": []}}), "it changes nothing of full"),
        (row(policy="none", system="trm", change={"agent": {"retrieve_k": 50}}), "it changes nothing of recommender"),
        (row(change={"agent": {"k": 5}}), r"rows\.other: it changes agent\.k, which all rows share"),
        (row(change={"agent": None}), r"rows\.other: it changes agent\.k, which all rows share"),
        (row(change={"base": "Other/model", "seed": 3}), r"rows\.other: it changes base, which all rows share"),
        (row(change={"artifact": "other"}), "it changes artifact, which all rows share"),
        (row(change={"data": "other"}), "it changes data, which all rows share"),
        (row(change={"dtype": "bfloat16"}), "it changes dtype, which all rows share"),
        (row(change={"server_args": ["--seed=3"]}), "it changes server_args, which all rows share"),
        (row(change={"name": "mine"}), "it changes name, which all rows share"),
        (row(policy="dpo", change={"stages": dict.fromkeys(("interaction", "recommendation"))}), "has no stage"),
        ({"full": {"piece": "a", "change": {"seed": 1}}}, r"rows\.full: it is the base loop as it is"),
        ({"recommender": {"piece": "a"}}, "it is the recommender alone; write policy: none"),
    ],
)
def test_a_row_that_cannot_work_or_changes_nothing_is_refused_by_name(rows: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_plan(rows)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": {"full": {"piece": "a"}}}, "give full and recommender"),
        ({"loop": LOOP | {"name": "mine"}}, "the loops are named after the plan"),
        ({"loop": LOOP | {"requests": "asked.jsonl", "validation_requests": "later.jsonl"}}, "as test.requests"),
        ({"test": {"users": 1}}, "an interval needs 2 people"),
        ({"sizes": {"tiny": {"rows": ["nobody"]}}}, "there is no row 'nobody'; there are full, recommender"),
        ({"sizes": {"tiny": {"test": {"people": 3}}}}, r"sizes\.tiny\.test: there is no field 'people'"),
        ({"name": "a-name-that-is-longer-than-it-may-be"}, "at most 24 characters"),
    ],
)
def test_a_plan_that_cannot_work_says_why(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_plan(**changes)


def test_a_size_in_which_a_row_changes_nothing_is_refused_unless_it_leaves_the_row_out() -> None:
    rows = row(change={"stages": {"interaction": None}})
    with pytest.raises(ValueError, match=r"size start: rows\.other: it changes nothing of full"):
        make_plan(rows, sizes={"start": {"policy": "start"}})
    sized = make_plan(rows, sizes={"start": {"policy": "start", "rows": ["full", "recommender"]}}).sized("start")
    assert [part.kind for part in sized.settings()["full"].parts] == ["warm-start"]


def test_plans_and_sizes_that_are_not_there_name_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"no ablation 'nowhere'.*histories, made-requests"):
        load_ablation_plan("nowhere")
    with pytest.raises(ConfigError, match=r"no size 'huge'\. Choose one of cpu, gpu"):
        make_plan(sizes={"gpu": {"test": {"users": 9}}}).sized("huge")


def test_paths_of_a_plan_are_seen_from_its_file(tmp_path: Path) -> None:
    folder = tmp_path / "plans"
    folder.mkdir()
    loop = LOOP | {"warm_start": None, "start": "adapter", "base": "Some/model"}
    content = {"name": "plan", "loop": loop, "rows": ROWS}
    (folder / "plan.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    config = load_ablation_plan(folder / "plan.yaml").settings()["full"].config
    assert (config.artifact, config.start) == (str(folder / "trm"), folder / "adapter")
    assert config.base == "Some/model"


def test_a_part_stands_for_what_decides_its_outcome() -> None:
    def parts(rows: dict[str, Any] | None = None, **changes: Any) -> dict[str, list[str]]:
        plan = make_plan(rows, loop=LOOP | changes)
        return {name: [part.id for part in own.parts] for name, own in plan.settings().items()}

    known = parts()
    assert parts(validation={"users": 2, "every": 3}) == known
    assert parts(grpo={"micro_batch_tokens": 3000}) == known
    assert parts(grpo={"clip_high": 0.3})["full"][1:] != known["full"][1:]
    dpo = {"dpo": {"piece": "a", "policy": "dpo"}}
    spare = {"dpo": {"piece": "a", "policy": "dpo", "dpo": {"micro_batch_tokens": 3000, "beta": 0.1}}}
    assert parts(spare)["dpo"] == parts(dpo)["dpo"]


def test_a_row_without_a_model_differs_from_another_in_what_it_hears() -> None:
    rows = {"deaf": {"piece": "Words", "policy": "none", "system": "trm", "change": {"requests": None}}}
    plan = make_plan(rows, loop=LOOP | {"requests": "made"})
    assert plan.settings()["deaf"].config.requests is None


def test_paths_in_the_change_of_a_row_are_seen_from_the_file_too(tmp_path: Path) -> None:
    folder = tmp_path / "plans"
    folder.mkdir()
    rows = {
        "shipped": {"piece": "a", "change": {"warm_start": None, "start": "shipped"}},
        "given": {"piece": "b", "change": {"warm_start": None, "start": "adapter"}},
        "asked": {"piece": "c", "change": {"requests": "asked.jsonl", "validation_requests": "later.jsonl"}},
        "own": {"piece": "d", "change": {"rewards": ["mine.py:polite"]}},
    }
    content = {"name": "plan", "loop": LOOP | {"requests": "made"}, "rows": ROWS | rows}
    (folder / "plan.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    settings = load_ablation_plan(folder / "plan.yaml").settings()
    shipped = settings["shipped"].config.start
    assert shipped is not None
    assert (shipped / "adapter_model.safetensors").is_file()
    assert settings["given"].config.start == folder / "adapter"
    assert settings["asked"].config.requests == str(folder / "asked.jsonl")
    assert settings["asked"].config.validation_requests == str(folder / "later.jsonl")
    assert settings["own"].config.rewards == (f"{folder / 'mine.py'}:polite",)


def test_files_stand_by_their_content_and_not_by_their_place(tmp_path: Path) -> None:
    def plan_in(folder: Path, reward: str) -> AblationPlan:
        folder.mkdir(exist_ok=True)
        (folder / "mine.py").write_text(reward)
        for name in ("asked", "later", "tested"):
            (folder / f"{name}.jsonl").write_text(name)
        files = {"requests": "asked.jsonl", "validation_requests": "later.jsonl", "rewards": ["mine.py:polite"]}
        unrewarded = {"stages": {"recommendation": {"weights": {"polite": 0}}}}
        content = {
            "name": "plan",
            "loop": LOOP | files,
            "test": {"requests": "tested.jsonl"},
            "rows": ROWS | {"other": {"piece": "My reward", "change": unrewarded}},
        }
        (folder / "plan.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        return load_ablation_plan(folder / "plan.yaml")

    first, moved = plan_in(tmp_path / "a", "one"), plan_in(tmp_path / "b", "one")
    names = {"loop.requests", "loop.validation_requests", "loop.rewards.polite", "test.requests"}
    assert first.file_ids() == moved.file_ids()
    assert first.file_ids().keys() == names
    kept = first.settings()["full"].parts[-1].id
    assert moved.settings()["full"].parts[-1].id == kept
    edited = plan_in(tmp_path / "a", "two more")
    assert {name for name in names if edited.file_ids()[name] != moved.file_ids()[name]} == {"loop.rewards.polite"}
    assert edited.settings()["full"].parts[-1].id != kept
