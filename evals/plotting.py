"""Figures of matplotlib in one style. They change no global state and show themselves in a notebook."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from deeprec.agent.views import visible
from deeprec.trm_tool.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MIDDLE, LIGHT = "0.15", "0.4", "0.72"
"""Greys, so that a figure can be read in print; markers, dashes and words carry the meaning."""


def new_figure(size: tuple[float, float], *, columns: int = 1, title: str | None = None) -> tuple[Figure, list[Any]]:
    """Return an empty figure and its axes, from left to right, without a frame at the top and the right.

    Args:
        size: width and height in inches.
        columns: axes beside one another.
        title: of the whole figure.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ConfigError(
            "Plots need matplotlib, which is not installed. Install it with: pip install 'deeprec-agent[plots]'"
        ) from error

    class Picture(Figure):  # a notebook shows figures of pyplot only, unless they show themselves
        def _repr_png_(self) -> bytes:
            return png(self)

    figure = Picture(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    if title is not None:
        figure.suptitle(title, fontsize=11)
    many = list(figure.subplots(1, columns, squeeze=False)[0])
    for axes in many:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, many


def plain_label(text: str, max_chars: int = 60) -> str:
    """Return text of a store for a figure: without mathematics, and without letters that the font lacks."""
    return visible(text, max_chars).encode("ascii", "replace").decode().replace("$", r"\$")


def png(figure: Figure, dpi: int = 100) -> bytes:
    """Return a figure as a PNG file, the same bytes each time."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()
