"""The reply of a turn, composed of what it decided and found. All of it comes from the catalogue and from code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from deeprec.agent.conversation import (
    ConversationCatalogue,
    ConversationState,
    Missing,
    Question,
    question_for,
    state_difference,
)
from deeprec.agent.conversation.said_text import content_words
from deeprec.agent.conversation.state import alternatives
from deeprec.agent.conversation.unknown_things import is_understood
from deeprec.agent.shopping.config import ShoppingConfig
from deeprec.agent.shopping.intents import says_farewell
from deeprec.agent.shopping.item_answers import ItemAnswers
from deeprec.agent.shopping.item_records import ItemRecords
from deeprec.agent.shopping.reply import Reply, ReplyQuestion, ShownCard
from deeprec.agent.shopping.turn_plan import Intent, TurnPlan
from deeprec.agent.shopping.wording import (
    askable,
    card_line,
    joined,
    missing_sentence,
    question_text,
    state_lines,
    with_text,
)
from deeprec.trm_tool.text import plain

MAX_UNKNOWN_WORDS = 5
"""Words of a message without a wish that are named."""


class Answers:
    """Composes the replies of one agent."""

    def __init__(self, catalogue: ConversationCatalogue, shopping: ShoppingConfig) -> None:
        self._catalogue, self._shopping = catalogue, shopping
        self._records, self._items = ItemRecords(catalogue), ItemAnswers(catalogue)

    def reply(self, plan: TurnPlan, state: ConversationState, k: int) -> tuple[Reply, ConversationState]:
        """Compose the reply of a turn.

        Args:
            plan: What the turn decided and found.
            state: What is known behind its changes.
            k: Items of a list.

        Returns:
            The reply, and the state with what was shown and asked.
        """
        compose: dict[Intent, Callable[[TurnPlan, ConversationState, int], Reply]] = {
            "search": self._list,
            "unclear": self._unclear,
            "cart": self._cart,
            "state": self._state,
            "feedback": self._feedback,
            "greeting": self._greeting,
            "facts": lambda plan, state, k: self._items.facts(plan, state),
            "catalogue": lambda plan, state, k: self._items.catalogue(plan, state),
            "count": lambda plan, state, k: self._items.count(plan, state),
            "comparison": lambda plan, state, k: self._items.comparison(plan, state),
            "explanation": lambda plan, state, k: self._items.explanation(plan, state),
        }
        reply = compose[plan.intent](plan, state, k)
        reply = replace(
            reply,
            problems=tuple(dict.fromkeys((*plan.problems, *reply.problems))),
            difference=state_difference(plan.before, state),
            action=next(iter(plan.confirmed), None),
        )
        lines = [*self._done_lines(plan, state), *reply.text.split("\n")]
        reply = replace(reply, text=with_text(reply, lines))
        seen = reply.nearest or (reply.items if reply.kind in ("list", "cart") else ())
        if seen:  # "the second" means one of these from now on
            state = state.with_shown([card.item_id for card in seen])
        if reply.question is not None and reply.question.attribute:
            state = state.with_question(reply.question.attribute)
        return reply, state

    def _list(self, plan: TurnPlan, state: ConversationState, k: int) -> Reply:
        found, unknown = plan.found, list(self._not_understood(plan, state))
        missing = [each for each in state.missing if each.turn == state.turn or each.kind == "required"]
        unclear = [f"{each.words}: {each.reason}" for each in plan.unresolved if not each.item_ids]
        unknown += [missing_sentence(each, self._records, state.disliked) for each in missing]
        problems = [*found.problems, *unknown, *unclear]
        demanded = [each for each in missing if each.kind == "required" and each.turn == state.turn]
        if not found.item_ids or demanded:
            nearest = self._records.cards(found.nearest, state)
            lines = problems or ["Nothing else fits what you asked for."]
            if nearest:
                lines = [*lines, "The nearest:", *(card_line(card, self._catalogue) for card in nearest)]
            return Reply(
                kind="cannot",
                text="\n".join(lines),
                nearest=nearest,
                question=self._offer(demanded),
                problems=tuple(problems),
            )
        cards = self._records.cards(found.item_ids, state)
        wanted = [each for each in state.preferred if each.values and each.source != "model"]
        for either in alternatives(wanted) if state.order is None or not state.order.everywhere else ():
            if not any(self._records.fulfils(item_id, each) for item_id in found.item_ids for each in either):
                lacking = [self._records.condition_text({each.attribute: each.condition}) for each in either]
                problems.append(f"None of these has {joined(lacking, 'or')}.")
        lines = [*unknown, *self._list_lines(plan, state, cards)]
        return Reply(
            kind="list",
            text="\n".join(lines),
            items=cards,
            question=self._which_one(plan, state) or self._offer(missing) or self._question(plan, state, k),
            problems=tuple(problems),
            run_id=found.run_id,
        )

    def _offer(self, missing: Sequence[Missing]) -> ReplyQuestion | None:
        """The question whether something near would do in the place of what the catalogue lacks."""
        for each in missing:
            if each.attribute is not None and each.nearest and each.kind != "refused":
                labels = tuple(plain(value, 80) for value in each.nearest)
                text = f"Would {joined(labels, 'or')} do?"
                return ReplyQuestion(attribute=each.attribute, text=text, options=labels)
        return None

    def _list_lines(self, plan: TurnPlan, state: ConversationState, cards: Sequence[ShownCard]) -> Iterator[str]:
        """A list on lines: what all of it has, then the items with all that was asked for, and those with a part."""
        shared = [self._records.refusal_text(each) for each in state.refused] if len(cards) > 1 else []
        wishes = [each for each in state.preferred if each.source != "model"]
        joined_wishes = alternatives(wishes)
        parts = [
            [any(self._records.fulfils(card.item_id, each) for each in either) for either in joined_wishes]
            for card in cards
        ]
        shares = [2 if all(each) else int(any(each)) for each in parts]  # all of it, a part, nothing
        is_parted = state.order is None and shares[0] == 2 and shares == sorted(shares, reverse=True)
        headings = {1: "These have only a part of what you asked for:", 0: "These have nothing of what you asked for:"}
        yield self._heading(plan, state)
        if shared:
            yield f"All of these: {joined(shared)}."
        for at, card in enumerate(cards):
            if is_parted and shares[at] in headings and shares.index(shares[at]) == at:
                yield headings[shares[at]]
            yield card_line(card, self._catalogue, shared)

    def _not_understood(self, plan: TurnPlan, state: ConversationState) -> Iterator[str]:
        """The sentence about a message that states nothing, and that no model heard as a wish either."""
        if plan.not_understood and not state_difference(plan.before, state):
            said, words = plain(plan.not_understood, 80), content_words(plan.not_understood)[:MAX_UNKNOWN_WORDS]
            named = joined([repr(plain(word, 80)) for word in dict.fromkeys(words)], "or")
            yield f"No wish was understood for certain in {said!r}: nothing in this catalogue has {named}."

    def _heading(self, plan: TurnPlan, state: ConversationState) -> str:
        """What is true of a list: that it fits, that it is near the words, or nothing."""
        is_asked = bool(state_lines(state) or state.similar_to)
        is_near = not is_asked and any(is_understood(each.text, self._catalogue) for each in state.said)
        if plan.wants_more:
            return "Others that fit:" if is_asked or is_near else "Others:"
        if state.order is not None:
            end = "highest" if state.order.descending else "lowest"
            return f"By {self._records.label(state.order.attribute)}, the {end} first:"
        if is_asked:
            lacks = any(each.turn == state.turn and each.kind == "asked" for each in state.missing)
            return "Apart from that, these fit best:" if lacks else "These fit best:"
        return "The nearest to your words:" if is_near else "You may like these:"

    def _which_one(self, plan: TurnPlan, state: ConversationState) -> ReplyQuestion | None:
        """The question which item was meant; None where that is clear."""
        unclear = next((each for each in plan.unresolved if each.item_ids), None)
        if unclear is None:
            return None
        options = tuple(self._records.title(item_id) for item_id in unclear.item_ids)
        return ReplyQuestion(attribute="", text=f"Which one do you mean by {unclear.words!r}?", options=options)

    def _question(self, plan: TurnPlan, state: ConversationState, k: int) -> ReplyQuestion | None:
        if len(state.asked) >= self._shopping.max_questions or state.order is not None:
            return None
        question: Question | None = question_for(plan.found.candidates, state, self._catalogue, k=k)
        if question is None:
            return None
        options = tuple(option.label for option in question.options)
        return ReplyQuestion(attribute=question.attribute, text=question_text(question, self._records), options=options)

    def _unclear(self, plan: TurnPlan, state: ConversationState, k: int) -> Reply:
        question = self._which_one(plan, state)
        if question is None:
            reasons = tuple(f"{each.words}: {each.reason}" for each in plan.unresolved)
            return Reply(kind="cannot", text="\n".join(reasons), problems=reasons)
        ids = next(each.item_ids for each in plan.unresolved if each.item_ids)
        cards = self._records.shown_cards(ids, state)
        lines = [card_line(card, self._catalogue) for card in cards]
        return Reply(kind="question", text="\n".join(lines), items=cards, question=question)

    def _cart(self, plan: TurnPlan, state: ConversationState, k: int) -> Reply:
        if plan.actions:
            return Reply(kind="cart", text="")
        cards = self._records.cards(plan.item_ids, state)
        lines = [card_line(card, self._catalogue) for card in cards]
        text = "\n".join(["In your cart:", *lines]) if cards else "Your cart is empty."
        return Reply(kind="cart", text=text, items=cards)

    def _state(self, plan: TurnPlan, state: ConversationState, k: int) -> Reply:
        lines = state_lines(state)
        text = "\n".join(["So far you asked for:", *(f"- {line}" for line in lines)])
        return Reply(kind="state", text=text if lines else "You have not asked for anything yet.")

    def _feedback(self, plan: TurnPlan, state: ConversationState, k: int) -> Reply:
        kinds = {each.item_id: each.kind for each in state.feedback if each.turn == state.turn}
        verbs = {"liked": "you like", "disliked": "you do not like", "bought": "you have"}
        noted = [
            f"{verbs[kind]} {self._records.title(each)}"
            for each in plan.item_ids
            if (kind := kinds.get(each, "in_cart")) in verbs
        ]
        noted += self._taken_back(plan, state)
        return Reply(kind="state", text=f"Noted: {joined(noted)}." if noted else "Nothing was said of it before.")

    def _taken_back(self, plan: TurnPlan, state: ConversationState) -> list[str]:
        """What the person took back of what they think of items."""
        now = {(each.item_id, each.kind) for each in state.feedback}
        changed = {each.item_id for each in state.feedback if each.turn == state.turn}
        return [
            f"{self._records.title(each.item_id)} no longer counts as {each.kind}"
            for each in plan.before.feedback
            if each.kind != "in_cart" and (each.item_id, each.kind) not in now and each.item_id not in changed
        ]

    def _greeting(self, plan: TurnPlan, state: ConversationState, k: int) -> Reply:
        if says_farewell(plan.message):
            return Reply(kind="state", text="You are welcome. This conversation can go on at any time.")
        text = f"What are you looking for? You can ask for {askable(self._catalogue, self._records)}."
        return Reply(kind="question", text="", question=ReplyQuestion(attribute="", text=text, options=()))

    def _done_lines(self, plan: TurnPlan, state: ConversationState) -> list[str]:
        """What the cart confirmed, and what was heard of items."""
        lines = []
        for action in plan.confirmed:
            if titles := self._titles(action.item_ids):
                is_are = "are" if len(action.item_ids) > 1 else "is"
                lines.append(f"{titles} {is_are} {'in' if action.kind == 'add_to_cart' else 'no longer in'} your cart.")
        if plan.intent == "feedback":
            return lines
        for kind, text in (("liked", "You like {}."), ("disliked", "You do not like {}."), ("bought", "You have {}.")):
            new = [each.item_id for each in state.feedback if each.kind == kind and each.turn == state.turn]
            lines += [text.format(self._titles(new))] if new else []
        return [*lines, *(f"{line}." for line in self._taken_back(plan, state))]

    def _titles(self, item_ids: Sequence[str]) -> str:
        return joined([self._records.title(item_id) for item_id in item_ids])
