"""Figures of matplotlib that touch no global state, and show themselves in a notebook."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from deeprec.trm_tool.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(size: tuple[float, float]) -> Figure:
    """An empty figure.

    Args:
        size: width and height in inches.

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
    return figure


def png(figure: Figure, dpi: int = 100) -> bytes:
    """A figure as a PNG file, the same bytes each time."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()
