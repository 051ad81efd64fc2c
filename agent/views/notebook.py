"""Objects that show one run or two: as a page in a notebook, as text in a terminal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from deeprec.agent.traces.records import RunTrace
from deeprec.agent.views.run_facts import Titles
from deeprec.agent.views.text.run import render_run

if TYPE_CHECKING:
    from rich.console import RenderableType

    from deeprec.agent.views import RunComparison, TokenTexts


@dataclass(frozen=True, slots=True, repr=False)
class RunDisplay:
    """One logged run."""

    trace: RunTrace
    titles: Titles | None = None
    tokens: TokenTexts | None = None
    """Token ids to texts: with it, the page shows each turn's tokens, coloured by logprob."""

    def with_tokens(self, tokens: TokenTexts | str | Path) -> RunDisplay:
        """Return the same run with its tokens, coloured by logprob.

        Args:
            tokens: a function from token ids to one text each, or the folder of the model that wrote the run.
        Raises:
            ConfigError: the folder holds no tokenizer.
        """
        if isinstance(tokens, str | Path):
            from deeprec.agent.views import read_tokenizer

            tokens = read_tokenizer(Path(tokens))
        return replace(self, tokens=tokens)

    def _repr_html_(self) -> str:
        from deeprec.agent.views import run_fragment

        return run_fragment(self.trace, self.titles, self.tokens)

    def __rich__(self) -> RenderableType:
        return render_run(self.trace, self.titles)

    def __repr__(self) -> str:
        return f"<run {self.trace.run.run_id}, {self.trace.status}, {len(self.trace.turns)} turns>"


@dataclass(frozen=True, slots=True, repr=False)
class ComparisonDisplay:
    """Two logged runs side by side."""

    left: RunTrace
    right: RunTrace
    titles: Titles | None = None

    @property
    def comparison(self) -> RunComparison:
        """What is the same and what differs, as plain data."""
        from deeprec.agent.views import compare_runs

        return compare_runs(self.left, self.right)

    def _repr_html_(self) -> str:
        from deeprec.agent.views import compare_fragment

        return compare_fragment(self.left, self.right, self.titles)

    def __rich__(self) -> RenderableType:
        from deeprec.agent.views import render_comparison

        return render_comparison(self.left, self.right, self.titles)

    def __repr__(self) -> str:
        return f"<runs {self.left.run.run_id} and {self.right.run.run_id}, compared>"
