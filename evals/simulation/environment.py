"""Simulated people as an environment of TRL, so that a policy trains on conversations with them."""

from collections.abc import Sequence
from typing import Any

from deeprec.evals.simulation.conversations import shown_items
from deeprec.evals.simulation.drawn_needs import DrawnNeed
from deeprec.evals.simulation.person import PersonConfig, Reply, SimulatedPerson
from deeprec.evals.simulation.person_words import TRAINING_PERSON_WORDS, PersonWords
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.recommender import Query, Recommender, call_arguments
from deeprec.trm_tool.text import neutralise

_MAX_SUMMARY_CHARS = 120
_MAX_ITEMS = 10
_OVER = "The conversation is over. Call no more tools."


class SimulationEnvironment:
    """A conversation with a simulated person, as TRL 1.16 takes it for `GRPOTrainer(environment_factory=…)`.

    TRL calls the factory without arguments, so pass `functools.partial(SimulationEnvironment, needs, recommender)`. It
    calls `reset` with the columns of a row, puts the text that it returns behind the prompt, offers the other public
    methods as tools, and takes the reward of a rollout from `get_reward`. The column `need` of a row is the index of
    its need (`simulation_rows`), so that all rollouts of a group meet the same person.

    Args:
        needs: Of `make_need_cards`, with `NeedConfig(split="train")` for training.
        recommender: What `search` asks; its catalogue has the facts.
        words: The person's sentences; measurements use those of `TEST_PERSON_WORDS`.
        config: Patience and attention: the reward is 1 if the person accepts an item within `patience` replies.
        seed: Draws the person's sentences.

    Raises:
        ConfigError: there is no need.
    """

    def __init__(
        self,
        needs: Sequence[DrawnNeed],
        recommender: Recommender,
        *,
        words: PersonWords = TRAINING_PERSON_WORDS,
        config: PersonConfig | None = None,
        seed: int = 0,
    ) -> None:
        if not needs:
            raise ConfigError("The environment got no needs, so nobody could talk. Draw some with make_need_cards.")
        self._needs, self._recommender = needs, recommender
        self._words, self._config, self._seed = words, config, seed
        self._need = needs[0]
        self._person: SimulatedPerson | None = None
        self._accepted, self._is_over = False, False

    def reset(self, need: int = 0, **_: Any) -> str:
        """Begin a conversation.

        Args:
            need: Index of the need. Further columns of a row are ignored.

        Returns:
            The person's first message.

        Raises:
            ConfigError: there is no such need.
        """
        if not 0 <= need < len(self._needs):
            raise ConfigError(f"A row has need {need}, and there are {len(self._needs)}. Make rows of these needs.")
        self._need = self._needs[need]
        self._person = SimulatedPerson(self._need.card, None, self._seed, words=self._words, config=self._config)
        self._accepted, self._is_over = False, False
        return self._person.opening()

    def search(self, preference: str) -> str:
        """Search the shop for items.

        Args:
            preference: What the items should be, in words.

        Returns:
            One line for each item found: its id and what it is.
        """
        query = Query(history=self._need.history, preference=preference)
        positional, named = call_arguments(self._recommender, query)
        found = self._recommender.retrieve(*positional, k=_MAX_ITEMS, **named)
        catalogue = self._recommender.catalogue
        lines = (f"{item.id}: {neutralise(catalogue.summary(item.id), _MAX_SUMMARY_CHARS)}" for item in found)
        return "\n".join(lines) or "Nothing was found."

    def reply(self, text: str, item_ids: list[str], asks: str = "") -> str:
        """Answer the person, and read what they say to it.

        Args:
            text: What you say to them.
            item_ids: Ids of the items that you show, best first; an empty list shows none.
            asks: The attribute that you ask about, if you ask about one.

        Returns:
            What the person says.
        """
        if self._person is None or self._is_over:
            return _OVER
        shown = shown_items(item_ids, self._recommender.catalogue)
        said = self._person.answer(Reply(text=text, items=shown, asks=asks or None))
        self._is_over = said.move in ("accepts", "gives_up")
        self._accepted = said.accepted is not None
        return f"{said.text} {_OVER}" if self._is_over else said.text

    def get_reward(self) -> float:
        """1 if the person accepted an item, else 0."""
        return float(self._accepted)


def simulation_rows(needs: Sequence[DrawnNeed], prompt: str) -> list[dict[str, Any]]:
    """Make the rows of a training set for `SimulationEnvironment`, one for each need.

    Args:
        needs: Those of the environment.
        prompt: What the policy is asked to do; the person's first message follows it.
    """
    return [{"prompt": [{"role": "user", "content": f"{prompt}\n\n"}], "need": number} for number in range(len(needs))]
