"""Measure how a checkout is laid out: `python -m tools.measure_layout FOLDER [FOLDER…] [--out FILE.json]`.

The measures are those of the log entry of 2026-11-28: lines in the wheel by package, long modules, docstrings and words
that the house style avoids, and what tests import beside public names. Several folders stand side by side in one table
of Markdown.
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

LONG = 400
"""Lines above which a module is counted as long."""
OPENINGS = re.compile(r"(About|After|As|At|Before|Beside|Between|By|For|From|In|Of|On|Out of|To|Under|With|Without)\b")
"""Openings of a docstring without a subject."""
BENCHES = {"bench", "benchmarks"}
"""Folders of tests that may name any module: benchmarks time parts that nobody calls from outside."""
DATA = {".css", ".ini", ".j2", ".mako", ".yaml"}
"""Suffixes of text files in the wheel that are not Python."""
WORDS = ("told", "said", "went down", "spoilt", "put out", "mended", "parted", "wished", "wishes", "is no")
"""What the house style avoids; "there is no" and "is no longer" are not counted."""
ENTRY_POINTS = {"deeprec.agent.cli", "deeprec.agent.cli.main", "deeprec.trm_tool.testing"}
"""Modules that users and tests name: the command line and the contract tests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The measures of one checkout."""

    lines: dict[str, int]
    """Package -> lines of its Python files and stubs that are in the wheel."""
    data_lines: int
    """Lines of templates, stylesheets and settings that are in the wheel."""
    outside: dict[str, int]
    """Folder -> lines of Python that are not in the wheel, tests included."""
    modules: int
    """Python modules in the wheel."""
    most_in_a_folder: int
    """Modules in the folder of the wheel that has most of them."""
    long_modules: dict[str, int]
    """Module of the wheel over `LONG` lines -> its lines."""
    openings: int
    """Docstrings in the wheel, those of attributes included, that open with a preposition."""
    words: dict[str, int]
    """Word of `WORDS` -> how often it stands in the sources of the wheel."""
    test_imports: int
    """Imports in tests of modules that are neither public nor in the room that the test stands beside."""
    test_private_names: int
    """Names with a leading underscore that tests import."""


def measure(root: Path) -> Layout:
    """Measure a checkout.

    Raises:
        FileNotFoundError: the folder has no `pyproject.toml`.
    """
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = [root / Path(*package.split(".")[1:]) for package in settings["packages"]]
    wheel = [path for folder in folders for suffix in ("*.py", "*.pyi") for path in sorted(folder.glob(suffix))]
    sources = [path for path in wheel if path.suffix == ".py"]
    data = {path for folder in folders for path in (*folder.glob("*"), *folder.glob("*/*")) if path.suffix in DATA}
    other = [path for path in _python_files(root) if path not in set(wheel)]
    texts = {path: path.read_text(encoding="utf-8") for path in (*wheel, *other)}
    lines = {path: text.count("\n") for path, text in texts.items()}
    tests = [path for path in other if path.relative_to(root).parts[0] == "tests" and path.parent.name not in BENCHES]
    imports = [found for path in tests for found in _imports(root, path, texts[path])]
    return Layout(
        lines=_by_folder(root, wheel, lines),
        data_lines=sum(path.read_text(encoding="utf-8").count("\n") for path in data),
        outside=_by_folder(root, other, lines),
        modules=len(sources),
        most_in_a_folder=max(Counter(path.parent for path in sources).values()),
        long_modules={str(path.relative_to(root)): lines[path] for path in sources if lines[path] > LONG},
        openings=sum(bool(OPENINGS.match(text)) for path in sources for text in _docstrings(texts[path])),
        words={
            word: sum(len(re.findall(rf"(?<![Tt]here )\b{word}\b(?! longer)", texts[path])) for path in sources)
            for word in WORDS
        },
        test_imports=sum(is_module for is_module, _ in imports),
        test_private_names=sum(private for _, private in imports),
    )


def _python_files(root: Path) -> Iterator[Path]:
    for top in sorted(root.iterdir()):
        if top.is_dir() and not top.name.startswith(".") and top.name not in ("build", "dist"):
            yield from sorted(top.rglob("*.py"))


def _by_folder(root: Path, paths: Iterable[Path], lines: dict[Path, int]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for path in paths:
        counts[path.relative_to(root).parts[0]] += lines[path]
    return dict(sorted(counts.items()))


def _docstrings(source: str) -> Iterator[str]:
    """Every text that stands as a statement of its own: docstrings, and those below attributes."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def _imports(root: Path, test: Path, source: str) -> Iterator[tuple[bool, int]]:
    """Yield for each import from `deeprec` in a test whether the module is not public, and how many private names."""
    folders = test.relative_to(root / "tests").parts[:-1]
    beside = ".".join(["deeprec", *folders, test.stem.removeprefix("test_")])
    room = ".".join(["deeprec", *folders[:2], ""]) if len(folders) > 1 else None
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("deeprec."):
            module = node.module or ""
            place = root.joinpath(*module.split(".")[1:])
            allowed = (
                place.is_dir()
                or module in ENTRY_POINTS
                or module == beside
                or bool(room and f"{module}.".startswith(room))
            )
            yield not allowed, sum(alias.name.startswith("_") for alias in node.names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("deeprec."):
                    yield not root.joinpath(*alias.name.split(".")[1:]).is_dir(), 0


def rows(layout: Layout) -> dict[str, int]:
    """The measures as one number a line of the table."""
    return {
        **{f"lines in the wheel: {name}": count for name, count in layout.lines.items()},
        "lines in the wheel": sum(layout.lines.values()),
        "lines of templates and settings in the wheel": layout.data_lines,
        **{f"lines outside: {name}": count for name, count in layout.outside.items()},
        "modules in the wheel": layout.modules,
        "modules in the largest folder": layout.most_in_a_folder,
        f"modules over {LONG} lines": len(layout.long_modules),
        "docstrings that open with a preposition": layout.openings,
        **{f'"{word}"': count for word, count in layout.words.items()},
        "imports of modules that are not public, in tests": layout.test_imports,
        "imports of names with an underscore, in tests": layout.test_private_names,
    }


def main(
    folders: Annotated[list[Path], typer.Argument(help="Checkouts to measure; they stand side by side.")],
    out: Annotated[Path | None, typer.Option(help="A JSON file for all measures.")] = None,
) -> None:
    """Measure how checkouts are laid out."""
    layouts = [measure(folder) for folder in folders]
    tables = [rows(layout) for layout in layouts]
    lines = [["measure", *map(str, folders)], ["---"] * (len(folders) + 1)]
    for name in dict.fromkeys(name for counts in tables for name in counts):
        lines.append([name, *[f"{counts[name]:,}" if name in counts else "" for counts in tables]])
    for line in lines:
        print(f"| {' | '.join(line)} |")
    if out is not None:
        measured = {str(folder): asdict(layout) for folder, layout in zip(folders, layouts, strict=True)}
        out.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
