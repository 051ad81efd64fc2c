"""What came of simulated conversations: a record of each, measures over many, and paired differences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from deeprec.evals.metrics.ranking import Interval, mean_interval, paired_interval

Message = dict[str, str]
"""`{"role": "user" or "assistant", "content": TEXT}`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationOutcome:
    """What came of one conversation. Errors of the simulator are counted apart from those of the agent."""

    person: str
    messages: tuple[Message, ...]
    """The whole conversation, the person's last words included."""
    replies: int
    """Replies of the agent."""
    accepted: str | None
    """Id of the item that the person took; it fits the whole card."""
    found_target: bool
    """Whether the item that the person really took was shown."""
    questions: int
    """Replies that asked about an attribute."""
    non_empty: int
    """Replies with a text or an item."""
    shown: int
    """Items shown, repetitions included."""
    violations: int
    """Items shown that break a refusal or a bound which the person had stated exactly, by the catalogue."""
    broken: int
    """Items shown that break a constraint which the agent itself had understood as hard, by the catalogue."""
    ungrounded: int
    """Ids shown that the catalogue lacks or that were removed."""
    satisfaction: float
    """`Utterance.satisfaction`, averaged over the replies with items; NaN where there was none."""
    actions: int = 0
    """Cart actions that the person asked for and that could be done."""
    missed_actions: tuple[str, ...] = ()
    """Those of them that were not done, in the person's words."""
    unasked_actions: tuple[str, ...] = ()
    """Changes of the cart that nobody asked for."""
    claims: int = 0
    """What replies claimed of the cart, in their text and as data."""
    false_claims: tuple[str, ...] = ()
    """Claims that the cart's contents do not confirm."""
    violated: tuple[str, ...] = ()
    """The needs that `violations` counts, as `NeedCard.preference` writes them, each once."""
    error: str | None = None
    """What the agent raised, which ended the conversation."""
    voice_errors: int = 0
    """The simulator's own: sentences for which the model had no usable words."""
    leaks: tuple[str, ...] = ()
    """The simulator's own: what the person's words gave away of the target."""

    def measures(self) -> dict[str, float]:
        """The measures of this conversation; NaN where one has no value."""
        return {
            "success": float(self.accepted is not None),
            "turns_to_success": self.replies if self.accepted is not None else math.nan,
            "questions": float(self.questions),
            "non_empty": self.non_empty / self.replies if self.replies else math.nan,
            "violations": float(self.violations),
            "broken": float(self.broken),
            "ungrounded": float(self.ungrounded),
            "actions": float(self.actions),
            "missed_actions": len(self.missed_actions) / self.actions if self.actions else math.nan,
            "unasked_actions": float(len(self.unasked_actions)),
            "claims": float(self.claims),
            "false_claims": float(len(self.false_claims)),
            "satisfaction": self.satisfaction,
            "found_target": float(self.found_target),
            "agent_errors": float(self.error is not None),
            "voice_errors": float(self.voice_errors),
            "leaks": float(len(self.leaks)),
        }


def measure_conversations(outcomes: Sequence[ConversationOutcome]) -> dict[str, Interval]:
    """Average the measures of many conversations, each with its interval over conversations.

    Returns:
        `success` (share that ended in an accepted item), `turns_to_success` (replies, of those), `questions`,
        `violations`, `broken` and `ungrounded` (of a conversation), `actions`, `claims`, `unasked_actions` and
        `false_claims` (of a conversation's cart), `missed_actions` (share of the actions), `non_empty` (share of
        replies), `satisfaction` and `found_target` (0 to 1), `agent_errors`, and the simulator's own `voice_errors` and
        `leaks`.
    """
    return {
        name: mean_interval([outcome.measures()[name] for outcome in outcomes])
        for name in (outcomes[0].measures() if outcomes else ())
    }


def compare_conversations(
    first: Sequence[ConversationOutcome], second: Sequence[ConversationOutcome]
) -> dict[str, Interval]:
    """Compare two agents in conversations with the same people: `first` minus `second`, paired, with intervals.

    `turns_to_success` counts the people with whom both succeeded.

    Raises:
        ValueError: the conversations are not with the same people in the same order.
    """
    if [outcome.person for outcome in first] != [outcome.person for outcome in second]:
        raise ValueError(
            f"{len(first)} conversations cannot be paired with {len(second)}: the people differ. Run both agents with "
            "the same needs."
        )
    return {
        name: paired_interval(
            [outcome.measures()[name] for outcome in first], [outcome.measures()[name] for outcome in second]
        )
        for name in (first[0].measures() if first else ())
    }
