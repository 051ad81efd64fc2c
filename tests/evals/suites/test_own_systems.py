"""Systems of one's own in a suite: functions beside the suite's file, named as path.py:function."""

from pathlib import Path

import pytest

from deeprec.agent import TraceStore
from deeprec.evals import SuiteResults, load_results, load_suite, run_suite
from deeprec.trm_tool import Artifact, ConfigError, Dataset, HashingEncoder

OWN = '''
import numpy as np

from deeprec.evals import AnySystem, DerivedSystem, Setting, System


def by_id(setting: Setting) -> System:
    """The items of the catalogue in their order, first to last."""
    items = len(setting.recommender.catalogue.ids)
    return System(name="by id", score=lambda cases: np.tile(-np.arange(items, dtype=np.float64), (len(cases), 1)))


def backwards(setting: Setting) -> AnySystem:
    return DerivedSystem(source="guided", rank=lambda run: [each.item_id for each in reversed(run.recommended)])


def number(setting: Setting) -> int:
    return 3


def broken(setting: Setting) -> System:
    return setting.nothing
'''


def write(folder: Path, systems: str) -> Path:
    (folder / "own.py").write_text(OWN, encoding="utf-8")
    suite = folder / "suite.yaml"
    text = f"name: own\nbaseline: trm\nk: 5\nusers: 4\nagent: {{retrieve_k: 4}}\nsystems: [trm, {systems}]\n"
    suite.write_text(text, encoding="utf-8")
    return suite


def run(file: Path, store: TraceStore, dataset: Dataset, artifact: Artifact) -> SuiteResults:
    label = run_suite(load_suite(file), store, dataset=dataset, artifact=artifact, encoder=HashingEncoder())
    return load_results(store, label)


def test_a_function_beside_the_suite_is_a_system_with_its_name(
    tmp_path: Path, store: TraceStore, dataset: Dataset, artifact: Artifact
) -> None:
    results = run(write(tmp_path, "'own.py:by_id'"), store, dataset, artifact)
    assert [system.name for system in results.systems] == ["trm", "by_id"]
    listed = [trace for trace in store.traces() if trace.run.system == "by_id"]
    assert len(listed) == 4
    for trace in listed:
        unseen = [item for item in artifact.catalogue.ids if item not in trace.run.history]
        assert [each.item_id for each in trace.written] == unseen[:5]


def test_a_module_that_can_be_imported_is_named_without_a_path(
    tmp_path: Path, store: TraceStore, dataset: Dataset, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop_systems.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    file = write(tmp_path, "{system: 'shop_systems:by_id', name: shop}")
    assert [system.name for system in run(file, store, dataset, artifact).systems] == ["trm", "shop"]


@pytest.mark.parametrize(
    ("system", "message"),
    [
        ("own.py:gone", "own.py has no function 'gone'"),
        ("gone.py:by_id", "There is no file"),
        ("gone_module:by_id", "There is no module 'gone_module'"),
        ("own.py:number", "is a int. Return a System, an AgentSystem or a DerivedSystem"),
        ("own.py:broken", "cannot be made: AttributeError"),
        ("own.py:backwards", "backwards reads the runs of guided, and the suite own has no such system"),
    ],
)
def test_a_system_that_cannot_be_made_is_refused_by_name(
    tmp_path: Path, store: TraceStore, dataset: Dataset, artifact: Artifact, system: str, message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        run(write(tmp_path, f"'{system}'"), store, dataset, artifact)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert store.runs() == []


def test_where_a_suite_is_does_not_change_the_names_of_its_runs(tmp_path: Path) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    here, there = (load_suite(write(tmp_path / name, "'own.py:by_id'")) for name in ("here", "there"))
    assert here.systems == there.systems
    assert here.path_of("own.py:by_id") == f"{tmp_path}/here/own.py:by_id"
