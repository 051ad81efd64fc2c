"""What a model may look up before it decides: the catalogue, and what people also chose. Neither is a retrieval."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from langgraph.errors import GraphBubbleUp

from deeprec.agent.protocols.turn import Describe
from deeprec.trm_tool import AnyRecommender, ConfigError
from deeprec.trm_tool.choices_tool import answer_choices

_log = logging.getLogger(__name__)


class LookUps:
    """Answers the look-ups of a graph's models with texts that are safe to show.

    Args:
        recommender: Its catalogue is looked up, and what it knows of people's choices.
        describe: Answers `describe_catalogue`.
    """

    def __init__(self, recommender: AnyRecommender, describe: Describe) -> None:
        self._recommender, self.describe = recommender, describe

    def also_chosen(self, history: Sequence[str]) -> Describe:
        """Make what answers `people_also_chose` for a person with this history.

        An error of the recommender's own is logged as a warning, and its answer says that nothing is known now.
        """

        async def answer(arguments: object) -> str:
            try:
                return await asyncio.to_thread(answer_choices, self._recommender, history, arguments)
            except (ConfigError, GraphBubbleUp):
                raise
            except Exception as error:
                _log.warning("The recommender does not say what people also chose: %r", error)
                return "What people also chose is not known at the moment."

        return answer
