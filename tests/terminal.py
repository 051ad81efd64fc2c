"""What a person reads of a renderable of rich in a plain terminal."""

import io

from rich.console import Console, RenderableType


def in_terminal(shown: RenderableType, width: int = 120) -> str:
    """Print a renderable without colours at a width, and return the text."""
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=False).print(shown)
    return file.getvalue()
