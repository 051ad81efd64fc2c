"""The measures of a checkout, on a tree of four files."""

from pathlib import Path

import pytest

from tools.measure_layout import measure, rows

FILES = {
    "pyproject.toml": '[tool.setuptools]\npackages = ["deeprec.agent", "deeprec.agent.graph"]\n',
    "agent/__init__.py": '"""The agent."""\n',
    "agent/graph/__init__.py": '"""Of the graph."""\n',
    "agent/graph/nodes.py": "x = 1\n" * 399
    + '"""By the model."""\n# no longer told: there is no edge; it is no node\n',
    "agent/graph/page.html.j2": "<p>\n</p>\n",
    "benchmarks/load.py": "print()\n",
    "tests/agent/graph/test_nodes.py": "from deeprec.agent.graph.nodes import x\nfrom deeprec.agent import build\n",
    "tests/agent/test_graph.py": "from deeprec.agent.graph.nodes import _x, y\nimport deeprec.agent.graph.nodes\n",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_lines_count_by_whether_they_are_in_the_wheel(checkout: Path) -> None:
    layout = measure(checkout)
    assert layout.lines == {"agent": 403}
    assert layout.outside == {"benchmarks": 1, "tests": 4}
    assert (layout.data_lines, layout.modules, layout.most_in_a_folder) == (2, 3, 2)
    assert layout.long_modules == {"agent/graph/nodes.py": 401}


def test_words_and_openings_count_once_each(checkout: Path) -> None:
    layout = measure(checkout)
    assert layout.openings == 2
    assert {word: count for word, count in layout.words.items() if count} == {"told": 1, "is no": 1}


def test_a_test_may_import_packages_and_the_room_that_it_stands_beside(checkout: Path) -> None:
    layout = measure(checkout)
    assert (layout.test_imports, layout.test_private_names) == (2, 1)
    assert rows(layout)["imports of modules that are not public, in tests"] == 2
