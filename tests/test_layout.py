"""What holds the packages together: the list of packages, the direction of imports, public names, no unsafe loading."""

import ast
import importlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from setuptools import find_packages

ROOT = Path(__file__).parents[1]
LAYERS = ("trm_tool", "agent", "evals", "training")  # each may import itself and those before it
EXEMPT = ROOT / "agent" / "cli" / "main.py"  # the root of the command line joins all four, lazily
SOURCES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = sorted(PROJECT["tool"]["setuptools"]["packages"])


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported(tree: ast.Module) -> Iterator[str]:
    """Every module that is named: in imports, at the top or inside functions, and in text given to import_module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import; imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("deeprec."):
            yield node.value
        elif isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
            yield str(node.values[0].value)


def upward(path: Path, tree: ast.Module) -> list[str]:
    above = LAYERS[LAYERS.index(path.relative_to(ROOT).parts[0]) + 1 :]
    return [
        module
        for module in imported(tree)
        if module.startswith("deeprec.") and module.removeprefix("deeprec.").partition(".")[0] in above
    ]


def test_every_package_is_in_the_list_that_the_wheel_is_built_from() -> None:
    found = [f"deeprec.{layer}" for layer in LAYERS]
    for layer in LAYERS:
        found += [f"deeprec.{layer}.{name}" for name in find_packages(str(ROOT / layer))]
    assert sorted(found) == PACKAGES


def test_no_folder_of_modules_lacks_its_init() -> None:
    assert [named(path) for path in SOURCES if not (path.parent / "__init__.py").is_file()] == []
    assert not (ROOT / "deeprec").exists()  # deeprec is a namespace


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_imports_go_one_way(path: Path) -> None:
    if path != EXEMPT:
        assert upward(path, parse(path)) == []


@pytest.mark.parametrize(
    "line",
    [
        "import deeprec.evals.metrics.ranking",
        "from deeprec.evals import recall_at_k",
        "from deeprec import training",
        "def later():\n    from deeprec.training.rollouts.rollouts import read",
        "import_module('deeprec.evals.cli.eval')",
        "import_module(f'deeprec.evals.{name}')",
    ],
)
def test_an_upward_import_is_seen_wherever_it_stands(line: str) -> None:
    assert upward(ROOT / "agent" / "graph" / "build.py", ast.parse(line))
    assert not upward(ROOT / "training" / "loop" / "loop.py", ast.parse(line))


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_sorted_and_all_import(package: str) -> None:
    module = importlib.import_module(package)
    names = getattr(module, "__all__", [])
    assert list(names) == sorted(set(names))
    missing = [name for name in names if not hasattr(module, name)]
    assert missing == []


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_nothing_is_unpickled(path: Path) -> None:
    tree = parse(path)
    roots = {module.partition(".")[0] for module in imported(tree)}
    assert not roots & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    assert unsafe_loads(tree) == []


def unsafe_loads(tree: ast.Module) -> list[int]:
    """Lines that may run code from a file: torch.load without weights_only=True, numpy.load with allow_pickle=True."""
    lines = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        given = {word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)}
        unsafe_torch = ast.unparse(node.func) == "torch.load" and given.get("weights_only") is not True
        if unsafe_torch or given.get("allow_pickle", False) is not False:
            lines.append(node.lineno)
    return lines


def test_unsafe_loading_is_seen() -> None:
    assert unsafe_loads(ast.parse("torch.load(path, weights_only=False)")) == [1]
    assert unsafe_loads(ast.parse("torch.load(path)")) == [1]
    assert unsafe_loads(ast.parse("np.load(path, allow_pickle=True)")) == [1]
    assert unsafe_loads(ast.parse("torch.load(path, weights_only=True)")) == []


def loaded_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after a statement."""
    script = f"{statement}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    outcome = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert outcome.returncode == 0, outcome.stderr
    return set(outcome.stdout.split())


HEAVY = {"recbole", "transformers", "sentence_transformers"}


@pytest.mark.parametrize("package", ["deeprec.trm_tool", "deeprec.agent", "deeprec.evals", "deeprec.training"])
def test_importing_a_package_loads_nothing_heavy(package: str) -> None:
    assert not loaded_after(f"import {package}") & HEAVY


@pytest.mark.slow
def test_the_names_of_the_agent_load_nothing_heavy_either() -> None:
    """The names load on first use, so importing the package alone shows little."""
    assert not loaded_after("from deeprec.agent import *") & HEAVY


@pytest.mark.slow
def test_the_retriever_and_the_metrics_load_nothing_heavy() -> None:
    assert not loaded_after("from deeprec.evals import *") & HEAVY


def test_the_command_line_answers_without_torch() -> None:
    assert not loaded_after("import deeprec.agent.cli.main") & (HEAVY | {"torch", "langgraph", "openai"})
