"""What a committed notebook must be: short cells over public names, figures that show something, nobody's paths."""

from __future__ import annotations

import ast
import base64
import binascii
import getpass
import io
import re
import socket
from collections.abc import Callable, Collection, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

MAX_CELL_LINES = 20
MAX_TITLES = 12
"""Titles of the data that one notebook's outputs may show: its terms forbid redistribution."""
SHORTEST_TITLE = 8
"""A shorter title may stand in any text by chance, so it is not looked for."""
FIGURE = "figure"
"""The tag of a cell that has to show a figure."""
PUBLIC = frozenset((Path(__file__).parents[1] / "tests" / "public_names.txt").read_text(encoding="utf-8").split())
"""The public names of all packages, as the tests pin them."""

_HOMES = re.compile(r"(?:/home|/root|/Users|/tmp|/private|/workspace|/mnt)/[\w.-]+|[A-Z]:\\\\Users\\\\\w+")
_TAGS = re.compile(r"<(style|script)\b.*?</\1>|<[^>]*>", re.DOTALL)

Notebook = Mapping[str, Any]


def source_faults(notebook: Notebook) -> list[str]:
    """What is wrong with the cells as they are written; none where they are fine."""
    faults = []
    for number, cell in _code_cells(notebook):
        source = _text(cell["source"])
        if (lines := len(source.splitlines())) > MAX_CELL_LINES:
            faults.append(f"cell {number} has {lines} lines, more than {MAX_CELL_LINES}")
        try:
            tree = ast.parse(source)
        except SyntaxError as error:
            faults.append(f"cell {number} is not Python: {error.msg} (a notebook here uses no magics)")
            continue
        faults += [f"cell {number} {fault}" for fault in _private_names(tree)]
    return faults


def output_faults(notebook: Notebook, titles: Collection[str] = ()) -> list[str]:
    """What is wrong with the outputs.

    Args:
        notebook: one that was executed.
        titles: of the catalogue; those that the outputs show are counted.
    """
    faults, shown = [], ""
    for number, cell in _code_cells(notebook):
        if _text(cell["source"]).strip() and not cell.get("execution_count"):
            faults.append(f"cell {number} was not executed")
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                faults.append(f"cell {number} failed: {output['ename']}: {_text(output['evalue'])[:300]}")
        if FIGURE in cell.get("metadata", {}).get("tags", ()) and not any(map(_has_figure, cell["outputs"])):
            faults.append(f"cell {number} is to show a figure, and its output is empty")
        here = "\n".join(_texts(cell["outputs"]))
        shown += here
        if path := _HOMES.search(here):
            faults.append(f"cell {number} shows a path of this machine: {path.group()}")
        faults += [f"cell {number} shows {what}" for what, name in _names() if _is_word(name, here)]
    found = sorted(title for title in set(titles) if len(title) >= SHORTEST_TITLE and title in shown)
    if len(found) > MAX_TITLES:
        some = ", ".join(found[:3])
        faults.append(f"the outputs show {len(found)} titles of the data ({some}, …), more than {MAX_TITLES}")
    return faults


def cleaned(notebook: Notebook, replaced: Mapping[str, str]) -> dict[str, Any]:
    """A copy to commit: no times, no standard error, no paths of the machine.

    Args:
        notebook: one that was executed.
        replaced: paths of this machine, and what stands for them; a longer one goes first.
    """
    copy = deepcopy(dict(notebook))
    copy["metadata"] = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in copy["cells"]:
        tags = cell.get("metadata", {}).get("tags")
        cell["metadata"] = {"tags": list(tags)} if tags else {}
        if cell["cell_type"] != "code":
            continue
        outputs = [output for output in cell["outputs"] if output.get("name") != "stderr"]
        cell["outputs"] = [_replace(output, replaced) for output in outputs]
        for output in cell["outputs"]:
            if "metadata" in output:
                output["metadata"] = {}
    return copy


def _code_cells(notebook: Notebook) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Code cells with their number among all cells, from 1."""
    return ((at, cell) for at, cell in enumerate(notebook["cells"], start=1) if cell["cell_type"] == "code")


def _private_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "deeprec":
                    yield f"imports {alias.name}; name what is needed: from deeprec.agent import …"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "deeprec":
            for alias in node.names:
                if f"{node.module}.{alias.name}" not in PUBLIC:
                    yield f"imports {node.module}.{alias.name}, which is not public"
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            yield f"uses the private name {node.attr}"


def _has_figure(output: Mapping[str, Any]) -> bool:
    data = output.get("data", {})
    return any(show(_text(data[kind])) for kind, show in _SHOWS.items() if kind in data)


def _shows_something(png: str) -> bool:
    """Whether a picture can be read and is not all of one colour."""
    from matplotlib.image import imread

    try:
        pixels = imread(io.BytesIO(base64.b64decode(png, validate=False)))
    except (binascii.Error, OSError, SyntaxError, ValueError):  # what the readers raise for no picture
        return False
    return pixels.size > 0 and bool((pixels != pixels[:1, :1]).any())


def _says_something(html: str) -> bool:
    """Whether a piece of HTML has text or a picture; a table needs a cell."""
    if "<table" in html and "<td" not in html:
        return False
    return bool(_TAGS.sub("", html).strip()) or "<svg" in html or "<img" in html


_SHOWS: dict[str, Callable[[str], bool]] = {"image/png": _shows_something, "text/html": _says_something}


def _texts(value: Any) -> Iterator[str]:
    """Every text in some outputs but pictures."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, part in value.items():
            if not name.startswith("image/"):
                yield from _texts(part)
    elif isinstance(value, list | tuple):
        if all(isinstance(part, str) for part in value):
            yield "".join(value)
        else:
            for part in value:
                yield from _texts(part)


def _replace(value: Any, replaced: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for path in sorted(replaced, key=len, reverse=True):
            value = value.replace(path, replaced[path])
        return value
    if isinstance(value, Mapping):
        return {name: part if name.startswith("image/") else _replace(part, replaced) for name, part in value.items()}
    return [_replace(part, replaced) for part in value] if isinstance(value, list | tuple) else value


def _names() -> list[tuple[str, str]]:
    """List the names that identify who executed a notebook. One such as "root" identifies nobody and is common."""
    named = [("the name of this machine", socket.gethostname()), ("the name of its user", getpass.getuser())]
    return [(what, name) for what, name in named if name not in ("root", "localhost", "user", "runner", "")]


def _is_word(word: str, text: str) -> bool:
    return re.search(rf"\b{re.escape(word)}\b", text) is not None


def _text(value: Any) -> str:
    """A text of a notebook, which may be kept as a list of lines."""
    return value if isinstance(value, str) else "".join(value)
