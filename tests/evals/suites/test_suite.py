from pathlib import Path

import pytest

from deeprec.evals import load_suite, packaged_suites, suite_cases
from deeprec.evals.suites.suite import suite_label
from deeprec.evals.systems.suite_systems import SYSTEMS
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
        ("name: [", "is no YAML"),
        ("- a", "holds list"),
        (SMALL.replace("baseline: trm", "baseline: gone"), "baseline 'gone' is none of the systems"),
        (SMALL + "colour: red\n", "colour: Extra inputs are not permitted; found 'red'"),
        (SMALL.replace("baseline: trm\n", "") + "colour: red\n", "colour: Extra inputs are not permitted"),
        (SMALL.replace("users: 5", "users: none"), "users"),
        (SMALL.replace("name: tuned", "name: trm"), "two systems are called 'trm'"),
        (SMALL.replace("baseline: trm\n", ""), "the field baseline is missing"),
        (SMALL.replace("name: small", "name: ../../etc"), "name: String should match"),
        (SMALL + "seeds: []\n", "give at least one seed"),
        (SMALL + "seeds: [3, 3]\n", "a seed stands there twice"),
        (SMALL.replace("[1, 2]", "[1, 1]"), "a seed stands there twice"),
        (SMALL + "seeds: [-1]\n", "greater than or equal to 0"),
        ("a: &a [x]\n" + SMALL + "x: !!python/object/apply:os.getcwd []\n", "is no YAML"),
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
    assert suite_label(suite.model_copy(update={"trust": 0.2}), dataset, "f") != label
    assert suite_label(suite, dataset, "g") != label
