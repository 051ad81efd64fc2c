import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from deeprec.training import LoopConfig, load_loop_config, packaged_loops
from deeprec.training.loop.course import begun_course, course_id
from deeprec.trm_tool import ConfigError

PLAIN = """
name: plain
artifact: trm
agent: {max_retrievals: 1, trust: 0.5}
stages: [{stage: interaction, steps: 1, users: 2, group_size: 2}]
validation: {users: 2, every: 1}
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "loop.yaml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.skipif(find_spec("wandb") is not None, reason="needs an environment without wandb")
def test_a_tracker_that_is_not_installed_is_named_when_the_file_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"loop\.yaml: .*report_to names 'wandb'.*pip install wandb"):
        load_loop_config(str(write(tmp_path, STAGED + "grpo: {report_to: [wandb]}")))


@pytest.mark.parametrize("name", packaged_loops())
def test_the_loops_that_come_along_can_be_read(name: str) -> None:
    assert load_loop_config(name).name == name


STAGED = (
    "name: a\nartifact: b\nagent: {}\nstages: [{stage: interaction, steps: 1, users: 1, group_size: 2}]\n"
    "validation: {users: 1, every: 1}\n"
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a", "the field artifact is missing"),
        (
            STAGED + "collect_ahead: true\ngrpo: {max_staleness: 0}\n",
            "collect_ahead trains on runs that are one version",
        ),
        ("- a", "holds list"),
        ("name: [", "is not YAML"),
        ("name: a\nartifact: b\nagent: {}\nstages: []\nvalidation: {users: 1, every: 1}", "nothing to train"),
        (
            "name: a\nartifact: b\nagent: {}\nstages: []\nvalidation: {users: 1, every: 1}\nstart: c\n"
            "warm_start: {users: 1, group_size: 1, best: 1}",
            "version 1 can be one of them",
        ),
        (
            "name: a\nartifact: b\nagent: {}\nstages: []\nvalidation: {users: 1, every: 1}\nstart: c",
            "nothing to train",
        ),
        (
            "name: a\nartifact: b\nagent: {}\nstages: []\nvalidation: {users: 1, every: 1}\n"
            "warm_start: {users: 1, group_size: 1, best: 1}\nserver_args: [--dtype=bfloat16]",
            "write `dtype: …`",
        ),
        (
            "name: a\nartifact: b\nagent: {}\nstages: [{stage: play, steps: 1, users: 1, group_size: 2}]",
            "stages.0.stage",
        ),
        (
            "name: a\nartifact: b\nagent: {}\nstages: [{stage: interaction, steps: 1, users: 1, group_size: 1}]",
            "group_size",
        ),
        (
            "name: a\nartifact: b\nagent: {}\nstages: [{stage: interaction, steps: 1, users: 1, group_size: 2}]\n"
            "validation: {users: 1, every: 1}\ngrpo: {loss: grpo}",
            r"there is no setting 'loss'; choose from .*checkpoint_every",
        ),
        (
            "name: a\nartifact: b\nagent: {}\nstages: [{stage: interaction, steps: 1, users: 1, group_size: 2}]\n"
            "validation: {users: 1, every: 1}\ngrpo: {loss_type: best}",
            "GrpoConfig.loss_type is 'best'",
        ),
        (f"{STAGED}requests: asked.jsonl", "name another one as validation_requests"),
        (f"{STAGED}validation_requests: asked.jsonl", "validation_requests is given and requests is not"),
    ],
)
def test_settings_that_cannot_work_name_the_field(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "loop.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_loop_config(file)


def test_settings_that_are_not_there_name_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"no loop 'nowhere'.*smollm2-ml-100k"):
        load_loop_config("nowhere")


@pytest.mark.parametrize(("name", "identity"), [("smollm2-ml-100k", "209b6a8c"), ("qwen2.5-7b-ml-100k", "2242ba1e")])
def test_packaged_loops_find_the_runs_of_the_versions_before(name: str, identity: str) -> None:
    """The embedded model's loop had 64 people every 10 steps; one that was begun so keeps its people and its label."""
    config = load_loop_config(name)
    if config.validation.users is None:
        before = config.validation.model_copy(update={"users": 64, "every": 10})
        config = config.model_copy(update={"validation": before})
    assert course_id(config.course()) == identity


def test_a_loop_that_was_begun_keeps_the_settings_that_its_file_leaves_out(tmp_path: Path) -> None:
    """Versions before took 20 items a retrieval where a file said nothing; the default of the agent is 10."""
    before = {"k": 10, "retrieve_k": 20, "trust": 0.5, "max_history": 20, "max_retrievals": 1, "max_turn_tokens": 512}
    (tmp_path / "config.json").write_text(
        json.dumps({"agent": before, "stages": [{"stage": "interaction"}]}), encoding="utf-8"
    )
    config = load_loop_config(write(tmp_path, PLAIN))
    assert config.agent_config(guided=False).retrieve_k == 10
    continued = config.continued(begun_course(tmp_path))
    assert continued.agent_config(guided=False).retrieve_k == 20
    assert continued.course()["agent"] == before
    assert course_id(continued.course()) == "60abd6fb"
    assert begun_course(tmp_path / "nowhere") == {}


def test_a_validation_without_people_takes_as_many_as_its_difference_needs(tmp_path: Path) -> None:
    new = load_loop_config(write(tmp_path, PLAIN.replace("users: 2, every: 1", "difference: 0.03, every: 1")))
    assert (new.validation.people, new.course()["validation"]["users"]) == (106, 106)
    assert new.continued({"validation": {"users": 64}}).validation.people == 64  # as a loop was begun
    plain = load_loop_config(write(tmp_path, PLAIN.replace("users: 2, every: 1", "every: 1")))
    assert plain.continued(new.course()).course()["validation"] == new.course()["validation"]
    given = load_loop_config(write(tmp_path, PLAIN))
    assert given.continued({"validation": {"users": 64}}).validation.people == 2  # which is then refused by name


def test_a_loop_of_an_earlier_version_keeps_the_rewards_of_the_paper() -> None:
    config = LoopConfig.model_validate(yaml.safe_load(PLAIN))
    new, old = config.continued({}), config.continued({"stages": [{"stage": "interaction", "weights": {}}]})
    assert dict(new.stages[0].reward().weights) == {"format": 1.0, "found": 1.0}
    assert dict(old.stages[0].reward().weights) == {"format": 1.0, "invocations": 1.0, "diversity": 1.0}
    assert "preset" not in old.course()["stages"][0]  # as in the course that such a loop was begun with
    assert new.continued(new.course()).course() == new.course()
    named = LoopConfig.model_validate(yaml.safe_load(PLAIN.replace("interaction,", "interaction, preset: paper,")))
    assert named.continued({}).course() == old.course()


def test_paths_are_seen_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "shop"
    for name in ("trm", "data", "base", "start"):
        (folder / name).mkdir(parents=True)
    text = PLAIN + "data: data\nbase: base\nstart: start\nrewards: [own.py:kind, package.own:kind]\n"
    config = load_loop_config(write(folder, text))
    assert [config.path_of(name) for name in ("trm", "data", "base")] == [
        str(folder / name) for name in ("trm", "data", "base")
    ]
    assert config.start == folder / "start"
    assert [config.path_of(name) for name in config.rewards] == [f"{folder}/own.py:kind", "package.own:kind"]
    assert config.course() == LoopConfig.model_validate(config.model_dump()).course()  # not where the file is
    model = load_loop_config(write(folder, PLAIN + "base: Qwen/Qwen2.5-7B-Instruct\n"))
    assert model.path_of("Qwen/Qwen2.5-7B-Instruct") == "Qwen/Qwen2.5-7B-Instruct"
    monkeypatch.chdir(tmp_path)
    assert load_loop_config("shop/loop.yaml").path_of("trm") == "shop/trm"


def test_a_path_that_is_there_from_the_current_folder_only_is_taken_with_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("loops", "trm", "data"):
        (tmp_path / name).mkdir()
    write(tmp_path / "loops", PLAIN + "data: data\n")
    monkeypatch.chdir(tmp_path)
    with pytest.warns(FutureWarning, match=r"the file: trm, data\..*write them so: \.\./trm, \.\./data\.") as warned:
        config = load_loop_config("loops/loop.yaml")
    assert len(warned) == 1
    assert (config.path_of("trm"), config.path_of("data")) == ("trm", "data")


def test_a_packaged_loop_names_folders_of_the_current_one() -> None:
    assert load_loop_config("smollm2-ml-100k").path_of(".deeprec/trm/x") == ".deeprec/trm/x"
