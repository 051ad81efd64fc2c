"""The earlier kinds of item that a message replaces by naming another one: "only lighting", then "a kettle"."""

from __future__ import annotations

from collections.abc import Sequence

from deeprec.agent.conversation.message_reading import MessageReading
from deeprec.agent.conversation.state import StatedCondition
from deeprec.trm_tool import Where


def replaced_kinds(reading: MessageReading, attribute: str, values: Sequence[str]) -> list[StatedCondition]:
    """Find the earlier conditions on the kind of item that no item of a newly named kind passes.

    A kind may stand in several attributes, such as a category and a product type, or in tags. Where some item passes
    both conditions, the new one refines the earlier one and replaces nothing.

    Args:
        reading: The message, with the state before it.
        attribute: The attribute of the newly named kind.
        values: Its values, of which an item has one.
    """
    vocabulary, state = reading.vocabulary, reading.state
    if not vocabulary.is_kind(attribute):
        return []
    named: Where = {attribute: {"in": list(values)}}
    earlier: list[tuple[StatedCondition, Where]] = [
        (each, {each.attribute: each.condition}) for each in (*state.required, *state.preferred)
    ]
    earlier += [(each, {each.attribute: {"not_in": list(each.values)}}) for each in state.refused]
    apart = [
        each
        for each, where in earlier
        if each.values and vocabulary.is_kind(each.attribute) and not vocabulary.passing([named, where])
    ]
    return apart if apart and vocabulary.passing([named]) else []
