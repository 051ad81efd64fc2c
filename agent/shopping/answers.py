"""The reply of a turn, composed of what it decided and found. All of it comes from the catalogue and from code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from deeprec.agent.conversation import (
    ConversationCatalogue,
    ConversationState,
    Question,
    question_for,
    state_difference,
)
from deeprec.agent.shopping.config import ShoppingConfig
from deeprec.agent.shopping.item_answers import ItemAnswers
from deeprec.agent.shopping.item_records import ItemRecords
from deeprec.agent.shopping.reply import Reply, ReplyQuestion
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
        lines = [*self._action_lines(plan, state), *reply.text.split("\n")]
        reply = replace(reply, text=with_text(reply, lines))
        if reply.kind == "list":
            state = state.with_shown([card.item_id for card in reply.items])
        if reply.question is not None and reply.question.attribute:
            state = state.with_question(reply.question.attribute)
        return reply, state

    def _list(self, plan: TurnPlan, state: ConversationState, k: int) -> Reply:
        found = plan.found
        missing = [each for each in state.missing if each.turn == state.turn]
        problems = [*found.problems, *(missing_sentence(each, self._records) for each in missing)]
        if not found.item_ids:
            nearest = self._records.cards(found.nearest, state)
            lines = problems or ["Nothing else fits what you asked for."]
            if nearest:
                lines = [*lines, "The nearest:", *(card_line(card, self._catalogue) for card in nearest)]
            return Reply(kind="cannot", text="\n".join(lines), nearest=nearest, problems=tuple(problems))
        cards = self._records.cards(found.item_ids, state)
        question = self._question(plan, state, k)
        return Reply(
            kind="list",
            text="\n".join([self._heading(state), *(card_line(card, self._catalogue) for card in cards)]),
            items=cards,
            question=question,
            problems=tuple(problems),
            run_id=found.run_id,
        )

    def _heading(self, state: ConversationState) -> str:
        if state.order is not None:
            end = "highest" if state.order.descending else "lowest"
            return f"By {self._records.label(state.order.attribute)}, the {end} first:"
        return "These fit best:" if state_lines(state) or state.said else "You may like these:"

    def _question(self, plan: TurnPlan, state: ConversationState, k: int) -> ReplyQuestion | None:
        if len(state.asked) >= self._shopping.max_questions or state.order is not None:
            return None
        question: Question | None = question_for(plan.found.candidates, state, self._catalogue, k=k)
        if question is None:
            return None
        options = tuple(option.label for option in question.options)
        return ReplyQuestion(attribute=question.attribute, text=question_text(question, self._records), options=options)

    def _unclear(self, plan: TurnPlan, state: ConversationState, k: int) -> Reply:
        unresolved = plan.unresolved[0]
        if not unresolved.item_ids:
            return Reply(kind="cannot", text=unresolved.reason, problems=(unresolved.reason,))
        cards = self._records.shown_cards(unresolved.item_ids, state)
        text = f"Which one do you mean by {unresolved.words!r}?"
        lines = [card_line(card, self._catalogue) for card in cards]
        question = ReplyQuestion(attribute="", text=text, options=tuple(card.title for card in cards))
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
        noted = [f"{verbs[kinds[each]]} {self._records.title(each)}" for each in plan.item_ids if kinds[each] in verbs]
        return Reply(kind="state", text=f"Noted: {joined(noted)}.")

    def _greeting(self, plan: TurnPlan, state: ConversationState, k: int) -> Reply:
        text = f"What are you looking for? You can ask for {askable(self._catalogue, self._records)}."
        return Reply(kind="question", text="", question=ReplyQuestion(attribute="", text=text, options=()))

    def _action_lines(self, plan: TurnPlan, state: ConversationState) -> list[str]:
        lines = []
        for action in plan.confirmed:
            titles = joined([self._records.title(item_id) for item_id in action.item_ids])
            if titles:
                into = "is in your cart" if action.kind == "add_to_cart" else "is no longer in your cart"
                into = into.replace("is", "are", 1) if len(action.item_ids) > 1 else into
                lines.append(f"{titles} {into}.")
        return lines
