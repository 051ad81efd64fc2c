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
from .html.conversation_page import conversation_html as conversation_html
from .html.environment import page_environment as page_environment, render_page as render_page
from .html.run_page import (
    ItemRow as ItemRow,
    RetrievalView as RetrievalView,
    RunView as RunView,
    TurnTokens as TurnTokens,
    TurnView as TurnView,
    run_fragment as run_fragment,
    run_html as run_html,
    runs_html as runs_html,
)
from .notebook import ComparisonDisplay as ComparisonDisplay, RunDisplay as RunDisplay
from .run_facts import Titles as Titles
from .text.comparison import render_comparison as render_comparison
from .text.conversation import render_conversation as render_conversation
from .text.run import render_run as render_run
from .tokens import (
    TokenTexts as TokenTexts,
    percent as percent,
    read_tokenizer as read_tokenizer,
    token_texts as token_texts,
)
from .visible_text import visible as visible
