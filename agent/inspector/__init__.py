"""The inspector: a run, or two beside one another, as a page to read."""

from deeprec.agent.inspector.comparison import (
    Difference,
    ListMove,
    RewardDifference,
    RunComparison,
    TokenDifference,
    TurnComparison,
    compare_runs,
)
from deeprec.agent.inspector.comparison_page import compare_fragment, compare_html
from deeprec.agent.inspector.comparison_text import render_comparison
from deeprec.agent.inspector.page import run_fragment, run_html, runs_html
from deeprec.agent.inspector.parts import RunView
from deeprec.agent.inspector.tokens import TokenTexts, read_tokenizer

__all__ = [
    "Difference",
    "ListMove",
    "RewardDifference",
    "RunComparison",
    "RunView",
    "TokenDifference",
    "TokenTexts",
    "TurnComparison",
    "compare_fragment",
    "compare_html",
    "compare_runs",
    "read_tokenizer",
    "render_comparison",
    "run_fragment",
    "run_html",
    "runs_html",
]
