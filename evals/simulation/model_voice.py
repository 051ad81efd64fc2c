"""A second voice of simulated people: a model says their sentences in other words, and code checks these words."""

import re
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from deeprec.agent.policy.chat_model_failures import is_outage
from deeprec.evals.simulation.need_card import Need
from deeprec.trm_tool.catalogue.phrase_spotting import PhraseSpotter, fold_words
from deeprec.trm_tool.catalogue.said_clauses import refusing_clauses
from deeprec.trm_tool.text import neutralise

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from deeprec.trm_tool.recommender import CatalogueView

INSTRUCTION = (
    "Say the customer's message again in other everyday words. Keep everything that it asks for and everything that it "
    "refuses, add nothing, name no product, and answer with the message alone."
)
_MAX_CHARS = 400
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*s?")
_MIN_CONTENT = 4
"""Letters of a word that carries content, at least; shorter ones are mostly grammar."""


class ModelVoice:
    """Says a sentence in a model's words, as far as these add nothing and keep its content.

    A rewrite is not usable where it names a value of the catalogue or a number that the sentence does not hold, names a
    title, refuses nothing where the sentence does, holds no word of what the sentence asks for, or is empty or over 400
    characters long; nor is there one while the model is unavailable.

    Args:
        model: A chat model, such as one of `deeprec.agent.make_chat_model`.
        phrases: All phrases of the catalogue.
        titles: All titles of the catalogue. None of them is known to be anybody's target.
    """

    def __init__(self, model: "BaseChatModel", phrases: Iterable[str], titles: Iterable[str]) -> None:
        self._model = model
        self._spotter = PhraseSpotter(phrases)
        self._titles = PhraseSpotter(title.lower() for title in titles)

    def say(self, sentence: str, needs: Sequence[Need], content: Collection[str] = ()) -> str | None:
        """Say a sentence in the model's words.

        Args:
            sentence: What a person wants to say.
            needs: The needs that it is about.
            content: Words that may name these needs, folded as `PhraseSpotter` does. Of those that the sentence holds
                one has to stay; of a sentence that holds none, any word of four letters and more.

        Returns:
            The model's words on one line; None where they are not usable.
        """
        try:
            answer = self._model.invoke([("system", INSTRUCTION), ("human", sentence)])
        except Exception as error:
            if not is_outage(error):
                raise
            return None
        text = answer.content if isinstance(answer.content, str) else ""
        said = neutralise(text.strip().strip("\"'“”"), _MAX_CHARS)
        return said if self._is_usable(said, sentence, needs, content) else None

    def _is_usable(self, said: str, sentence: str, needs: Sequence[Need], content: Collection[str]) -> bool:
        if not any(char.isalpha() for char in said) or said.endswith("…"):
            return False
        about = {need.value for need in needs if isinstance(need.value, str)}
        if set(self._spotter.spot(said)) - about - set(self._spotter.spot(sentence)):
            return False
        if set(self._titles.spot(said)) - about - set(self._titles.spot(sentence)):
            return False
        if set(_NUMBER.findall(said)) - set(_NUMBER.findall(sentence)):
            return False
        refused = {need.value for need in needs if need.asks == "is_not"}
        clauses = list(refusing_clauses(said))
        if refused and not clauses:
            return False
        for phrase, start, _ in self._spotter.places(said):
            is_refused = any(clause.start <= start < clause.end for clause in clauses)
            if phrase in refused and not is_refused:
                return False
        words = set(fold_words(sentence))
        kept = words & set(content) or {word for word in words if len(word) >= _MIN_CONTENT}
        return not needs or bool(kept & set(fold_words(said)))


def make_model_voice(model: "BaseChatModel", catalogue: "CatalogueView") -> ModelVoice:
    """Build a voice that knows which words are values and titles of a catalogue."""
    titles = (catalogue.item(item_id).title for item_id in catalogue.ids)
    return ModelVoice(model, catalogue.phrases(min_items=1), titles)
