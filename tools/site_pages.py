"""A hook of MkDocs that makes the pages that follow from the code: the command reference and the API reference.

`CONTRIBUTING.md` and `CHANGELOG.md` join the site as they are, and `adr/index.md` lists the decisions.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer.main import get_command

from deeprec.agent.cli.main import app

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[1]
PACKAGES = ("trm_tool", "agent", "evals", "training")
PUBLIC_MODULES = {"trm_tool": ("testing",)}
"""Modules that are public as a whole: users import from them by name."""


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the generated pages to the site. MkDocs calls it once a build."""
    from mkdocs.structure.files import File

    pages = {
        "reference/commands.md": command_reference(),
        "contributing.md": (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").replace("](docs/", "]("),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("](docs/", "]("),
        "adr/index.md": decisions(ROOT / "docs" / "adr"),
    }
    pages |= {f"reference/{name}.md": api_reference(ROOT / name) for name in PACKAGES}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def command_reference() -> str:
    """Every command of `deeprec` with its arguments and options, as Markdown."""
    lines = ["# Commands", "", "`deeprec COMMAND --help` prints the same in a terminal.", ""]
    for path, command, context in commands():
        if " " in path:
            lines += [f"{'#' * min(len(path.split()), 3)} {path}", ""]
        lines += [_text(command.help or ""), ""]
        if hasattr(command, "list_commands"):
            continue
        lines += ["```text", re.sub(r"\s+", " ", command.get_usage(context)).removeprefix("Usage: "), "```", ""]
        rows = [record for parameter in command.params if (record := parameter.get_help_record(context)) is not None]
        if rows:
            lines += ["| argument or option | |", "|---|---|"]
            lines += [f"| {_cell(name)} | {_text(meaning).replace('|', chr(92) + '|')} |" for name, meaning in rows]
            lines.append("")
    return "\n".join(lines)


def commands() -> Iterator[tuple[str, Any, Any]]:
    """Every group and command of `deeprec` in alphabetical order: its full name, the command, its context."""
    root = get_command(app)
    yield from _commands("deeprec", root, root.make_context("deeprec", [], resilient_parsing=True))


def _commands(path: str, command: Any, context: Any) -> Iterator[tuple[str, Any, Any]]:
    yield path, command, context
    if hasattr(command, "list_commands"):
        for name in sorted(command.list_commands(context)):
            _, found, _ = command.resolve_command(context, [name])  # loads a group that is listed lazily
            inner = found.make_context(name, [], parent=context, resilient_parsing=True)
            yield from _commands(f"{path} {name}", found, inner)


def _text(text: str) -> str:
    """Help as one paragraph, with what Markdown would read as a tag kept as text."""
    return " ".join(text.split()).replace("<", "&lt;").replace("*", "\\*").replace("[", "\\[")


def _cell(name: str) -> str:
    return f"`{' '.join(name.split())}`".replace("|", "\\|")


def api_reference(folder: Path) -> str:
    """The public names of a package, by room: one mkdocstrings directive for each.

    Args:
        folder: Of the package. The imports of its `__init__.pyi`, and of those of its rooms, are its public names.
    """
    package = f"deeprec.{folder.name}"
    rooms: dict[str, set[str]] = {}
    for stub in sorted(folder.rglob("__init__.pyi"), key=lambda path: len(path.parts)):
        inner = stub.parent.relative_to(folder).parts
        for node in ast.parse(stub.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                module = ".".join([*inner, node.module])
                names = rooms.setdefault(module.partition(".")[0], set())
                names.update(f"{package}.{module}.{alias.name}" for alias in node.names)
    for module in PUBLIC_MODULES.get(folder.name, ()):
        rooms[module] = {f"{package}.{module}"}
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    lines = [f"# {package}", "", docstring or "", ""]
    for room, names in sorted(rooms.items()):
        lines += [f"## {room}", ""]
        for name in sorted(names, key=lambda full: full.rpartition(".")[2].lower()):
            lines += [f"::: {name}", ""]
    return "\n".join(lines)


def decisions(folder: Path) -> str:
    """The list of decision records, by number."""
    lines = ["# Decisions", "", "What somebody would otherwise ask about, each with its reasons.", ""]
    for path in sorted(folder.glob("[0-9]*.md")):
        title = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        lines.append(f"- [{title}]({path.name})")
    return "\n".join([*lines, ""])
