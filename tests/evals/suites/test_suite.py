from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deeprec.agent import AgentConfig
from deeprec.evals import SYSTEMS, load_suite, packaged_suites, suite_cases
from deeprec.evals.suites.suite import suite_label
from deeprec.trm_tool import ConfigError, Dataset

SMALL = """
name: small
baseline: trm
users: 5
systems:
  - trm
  - {system: deeprec-guided, name: tuned, model: rec-v3, seeds: [1, 2]}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "small.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", packaged_suites())
def test_every_packaged_suite_can_be_read_and_names_known_systems(name: str) -> None:
    suite = load_suite(name)
    assert suite.name == name
    assert {entry.system for entry in suite.systems} <= set(SYSTEMS)


def test_an_entry_is_a_name_or_a_system_with_a_name_of_its_own(tmp_path: Path) -> None:
    plain, tuned = load_suite(write(tmp_path, SMALL)).systems
    assert (plain.system, plain.name, plain.model) == ("trm", "trm", None)
    assert (tuned.system, tuned.name, tuned.model, tuned.seeds) == ("deeprec-guided", "tuned", "rec-v3", (1, 2))


def test_data_is_named_from_the_folder_of_the_suite(tmp_path: Path) -> None:
    assert load_suite(write(tmp_path, SMALL + "data: shop\n")).data == str(tmp_path / "shop")
    assert load_suite(write(tmp_path, SMALL)).data == "ml-100k"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "is not YAML"),
        ("- a", "holds list"),
        (SMALL.replace("baseline: trm", "baseline: gone"), "baseline 'gone' is not one of the systems"),
        (SMALL + "colour: red\n", "there is no field 'colour'; found 'red'. Leave it out."),
        (SMALL.replace("baseline: trm\n", "") + "colour: red\n", "there is no field 'colour'"),
        (SMALL.replace("users: 5", "users: none"), "users"),
        (SMALL.replace("name: tuned", "name: trm"), "two systems are called 'trm'"),
        (SMALL.replace("baseline: trm\n", ""), "the field baseline is missing"),
        (SMALL.replace("name: small", "name: ../../etc"), "name: String should match"),
        (SMALL + "seeds: []\n", "give at least one seed"),
        (SMALL + "seeds: [3, 3]\n", "a seed is named twice"),
        (SMALL.replace("[1, 2]", "[1, 1]"), "a seed is named twice"),
        (SMALL + "trust: 0.2\nagent: {k: 3}\n", "trust stands beside the block `agent`; move it into the block"),
        (SMALL + "agent: {k: 3}\n", "agent: k cannot be set in this block: give k at the top level"),
        (SMALL + "agent: {max_retreivals: 3}\n", "no setting 'max_retreivals'. Did you mean 'max_retrievals'?"),
        (SMALL + "agent: {colour: red}\n", "agent: The agent has no setting 'colour'. Choose from guided"),
        (SMALL + "agent: {max_turns: 0}\n", "AgentConfig.max_turns is 0; it should be greater than or equal to 1"),
        (SMALL + "max_retrievals: three\n", "AgentConfig.max_retrievals is 'three'; it should be a valid integer"),
        (SMALL + "seeds: [-1]\n", "greater than or equal to 0"),
        ("a: &a [x]\n" + SMALL + "x: !!python/object/apply:os.getcwd []\n", "is not YAML"),
    ],
)
def test_a_suite_that_cannot_be_read_says_which_field(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load_suite(write(tmp_path, text))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_suite_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no suite 'gone'.*smoke"):
        load_suite("gone")


def test_users_are_drawn_once_and_stand_in_the_order_of_the_data(tmp_path: Path, dataset: Dataset) -> None:
    suite = load_suite(write(tmp_path, SMALL))
    cases = suite_cases(suite, dataset)
    assert cases == suite_cases(suite, dataset)
    users = [case.user for case in cases]
    assert len(users) == 5
    assert users == [user for user in dataset.users if user in users]
    assert all(case.target == dataset.target(case.user, 1) for case in cases)
    others = suite_cases(suite.model_copy(update={"users_seed": 1}), dataset)
    assert [case.user for case in others] != users
    assert len(suite_cases(suite.model_copy(update={"users": 999}), dataset)) == len(dataset.users)


def test_the_label_changes_with_what_makes_runs_comparable_only(tmp_path: Path, dataset: Dataset) -> None:
    suite = load_suite(write(tmp_path, SMALL))
    label = suite_label(suite, dataset, "f")
    assert label.startswith("small@")
    assert suite_label(suite.model_copy(update={"systems": suite.systems[:1]}), dataset, "f") == label
    assert suite_label(suite.model_copy(update={"k": 5}), dataset, "f") != label
    assert suite_label(suite.model_copy(update={"agent": {"trust": 0.2}}), dataset, "f") != label
    assert suite_label(suite, dataset, "g") != label


OLD = SMALL.replace("systems:", "k: 7\nretrieve_k: 12\ntrust: 0.25\nmax_history: 9\nmax_retrievals: 1\nsystems:", 1)


def test_a_suite_without_an_agent_block_means_what_it_meant_before(tmp_path: Path) -> None:
    plain, old = load_suite(write(tmp_path, SMALL)), load_suite(write(tmp_path, OLD))
    assert plain.agent_config() == AgentConfig(max_retrievals=3, max_seconds=7200)
    assert old.agent_config() == AgentConfig(
        k=7, retrieve_k=12, trust=0.25, max_history=9, min_retrievals=1, max_retrievals=1, max_seconds=7200
    )
    nested = SMALL + "k: 7\nagent: {retrieve_k: 12, trust: 0.25, max_history: 9, max_retrievals: 1}\n"
    assert load_suite(write(tmp_path, nested)) == old


NAMED_DATA: Any = SimpleNamespace(fingerprint="data")


@pytest.mark.parametrize(
    ("name", "label"),
    [("ml-100k", "ml-100k@592d4ce9"), ("ml-100k-200", "ml-100k-200@c0e64e3a"), ("smoke", "smoke@97f20e70")],
)
def test_packaged_suites_find_the_runs_of_the_versions_before(name: str, label: str) -> None:
    """The labels are those that revision 83b6652 gave for the same fingerprints."""
    assert suite_label(load_suite(name), NAMED_DATA, "recommender") == label


def test_old_suites_find_the_runs_of_the_versions_before(tmp_path: Path) -> None:
    quiet = "temperature: 0\nmax_turn_tokens: 64\n"
    assert suite_label(load_suite(write(tmp_path, OLD + quiet)), NAMED_DATA, "recommender") == "small@6ac7770d"
    assert suite_label(load_suite(write(tmp_path, SMALL)), NAMED_DATA, "recommender") == "small@0e8124d1"


def test_a_setting_at_its_default_leaves_the_label(tmp_path: Path, dataset: Dataset) -> None:
    def label(settings: str) -> str:
        return suite_label(load_suite(write(tmp_path, f"{SMALL}agent: {{{settings}}}\n")), dataset, "f")

    assert label("max_turns: 12, max_retrievals: 8") == label("") == label("max_seconds: 7200, min_retrievals: 2")
    assert len({label(""), label("max_turns: 5"), label("max_seconds: 60"), label("trust: 0.5")}) == 4
