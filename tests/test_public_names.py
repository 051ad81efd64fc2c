"""The public names: pinned in `public_names.txt`, defined where the stubs say, complete, and all that tests use."""

import ast
import importlib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PINNED = ROOT / "tests" / "public_names.txt"
STUBS = {
    "deeprec." + ".".join(stub.parent.relative_to(ROOT).parts): stub
    for layer in ("agent", "evals", "training", "trm_tool")
    for stub in sorted((ROOT / layer).rglob("__init__.pyi"))
}
COMMAND = "deeprec.agent.cli.main"  # its tests call the command as a user does
# Benchmarks time parts that nobody calls from outside, so their tests may name them too.
TESTS = [path for path in sorted((ROOT / "tests").rglob("*.py")) if path.parent.name != "benchmarks"]


@cache
def exports() -> dict[str, dict[str, str]]:
    """Package -> public name -> the module that the stub takes it from."""
    found: dict[str, dict[str, str]] = {}
    for package, stub in STUBS.items():
        names: dict[str, str] = {}
        for node in ast.parse(stub.read_text(encoding="utf-8")).body:
            if ast.unparse(node) == "__version__: str":
                continue
            assert isinstance(node, ast.ImportFrom), f"{stub}:{node.lineno}: a stub holds imports and the version only"
            names |= {alias.name: f"{package}.{node.module}" for alias in node.names}
        found[package] = names
    return found


@cache
def parsed(module: str) -> ast.Module:
    path = ROOT.joinpath(*module.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))


def definitions(module: str) -> dict[str, ast.stmt]:
    """What a module defines at its top level, by name; what it imports is left out."""
    found: dict[str, ast.stmt] = {}
    for node in parsed(module).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
        elif isinstance(node, ast.Assign):
            found |= {target.id: node for target in node.targets if isinstance(target, ast.Name)}
    return found


def test_no_public_name_is_lost_or_added_in_silence() -> None:
    pinned = set(PINNED.read_text(encoding="utf-8").split())
    now = {f"{package}.{name}" for package, names in exports().items() for name in names}
    assert sorted(pinned - now) == [], "users may import these; keep them, or say so in CHANGELOG.md"
    assert sorted(now - pinned) == [], "add these to tests/public_names.txt"


@pytest.mark.parametrize("package", STUBS)
def test_a_package_shows_exactly_what_its_stub_lists(package: str) -> None:
    module = importlib.import_module(package)
    assert sorted(module.__all__) == sorted(exports()[package])
    assert set(exports()[package]) <= set(dir(module))  # tab completion


@pytest.mark.parametrize("package", [package for package in STUBS if package.count(".") == 1])
def test_a_package_has_the_version_of_the_distribution(package: str) -> None:
    assert importlib.import_module(package).__version__ == version("deeprec-agent")


@pytest.mark.parametrize("package", STUBS)
def test_every_name_comes_from_the_module_that_defines_it(package: str) -> None:
    elsewhere = {name: module for name, module in exports()[package].items() if name not in definitions(module)}
    assert elsewhere == {}


@pytest.mark.parametrize("package", STUBS)
def test_every_class_in_a_public_signature_is_public_too(package: str) -> None:
    public = {(module, name) for names in exports().values() for name, module in names.items()}
    hidden = {
        f"{name}: {used[1]} of {used[0]}"
        for name, module in exports()[package].items()
        for used in classes_of(module, name)
        if used not in public
    }
    assert sorted(hidden) == []


def classes_of(module: str, name: str) -> Iterator[tuple[str, str]]:
    """The classes of this project that the annotations of a public class or function name, as (module, name)."""
    own = definitions(module)
    homes = {local: (module, local) for local in own}
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("deeprec"):
            for alias in node.names:
                home = exports().get(str(node.module), {}).get(alias.name, str(node.module))
                homes[alias.asname or alias.name] = (home, alias.name)
    for annotation in annotations(own[name]):
        for used in words(annotation):
            home, original = homes.get(used, ("", ""))
            if home and not original.startswith("_") and isinstance(definitions(home).get(original), ast.ClassDef):
                yield home, original


def annotations(definition: ast.stmt) -> Iterator[ast.expr]:
    if isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef):
        arguments = definition.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        yield from (argument.annotation for argument in every if argument is not None and argument.annotation)
        if definition.returns is not None:
            yield definition.returns
    elif isinstance(definition, ast.ClassDef):
        for member in definition.body:
            if isinstance(member, ast.AnnAssign):
                yield member.annotation
            elif isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) and not member.name.startswith("_"):
                yield from annotations(member)


def words(annotation: ast.expr) -> Iterator[str]:
    """The names in an annotation, those inside text included."""
    for node in ast.walk(annotation):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            yield node.value


def private_imports(path: Path, tree: ast.Module) -> list[str]:
    """What a test imports that is neither public nor of the room that it stands beside."""
    room = ".".join(("deeprec", *path.relative_to(ROOT / "tests").parts[:-1][:2]))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("deeprec"):
            module = str(node.module)
            beside = module == COMMAND or f"{module}.".startswith(f"{room}.")
            found += [
                f"line {node.lineno}: {module}.{alias.name}"
                for alias in node.names
                if alias.name.startswith("_") or not (beside or alias.name in exports().get(module, {}))
            ]
    return found


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_use_public_names_or_stand_beside_what_they_test(path: Path) -> None:
    """`tests/evals/metrics/test_ranking.py` may import from `deeprec.evals.metrics`, its room, and public names."""
    assert private_imports(path, ast.parse(path.read_text(encoding="utf-8"))) == []


def test_a_private_import_is_seen() -> None:
    test = ROOT / "tests" / "evals" / "metrics" / "test_ranking.py"
    assert private_imports(test, ast.parse("from deeprec.training.loop.loop import run_loop"))
    assert private_imports(test, ast.parse("from deeprec.evals.metrics.ranking import _ranks"))
    assert not private_imports(test, ast.parse("from deeprec.evals.metrics.ranking import recall_at_k"))
    assert not private_imports(test, ast.parse("from deeprec.agent import build_graph"))
