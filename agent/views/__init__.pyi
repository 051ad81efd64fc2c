from .comparison import (
    Difference as Difference,
    ListMove as ListMove,
    RewardDifference as RewardDifference,
    RunComparison as RunComparison,
    TokenDifference as TokenDifference,
    TurnComparison as TurnComparison,
    compare_runs as compare_runs,
)
from .html.comparison_page import compare_fragment as compare_fragment, compare_html as compare_html
from .html.page import run_fragment as run_fragment, run_html as run_html, runs_html as runs_html
from .html.parts import RunView as RunView
from .html.tokens import TokenTexts as TokenTexts, read_tokenizer as read_tokenizer
from .notebook import ComparisonDisplay as ComparisonDisplay, RunDisplay as RunDisplay
from .text.comparison import render_comparison as render_comparison
from .text.run import Titles as Titles, render_run as render_run, visible as visible
