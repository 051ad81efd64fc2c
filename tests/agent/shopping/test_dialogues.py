"""The written dialogues of the conversation, held with the whole agent: nothing that is shown breaks what is known."""

from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage

from deeprec.agent.conversation import (
    ConversationCatalogue,
    ConversationState,
    apply_delta,
    delta_of_message,
    read_state,
    retrieval_terms,
)
from deeprec.agent.shopping import MemoryCart, build_shopping_agent
from deeprec.trm_tool import Catalogue, embedded_ml100k
from deeprec.trm_tool.data import ShopConfig, generate_shop, read_catalogue
from tests.agent.conversation.dialogue_checks import dialogues, shown_ids
from tests.small_recommender import WordCounts


def conditions(state: ConversationState) -> tuple[object, ...]:
    return state.required, state.refused, state.preferred, state.disliked, state.order


async def hold(catalogue: Catalogue, name: str) -> tuple[int, list[str]]:
    """The turns of all dialogues over one catalogue, and what is wrong in their answers."""
    cart, laid_out = MemoryCart(), ConversationCatalogue(catalogue)
    agent = build_shopping_agent(None, WordCounts(catalogue), cart=cart)
    turns, wrong = 0, []
    for title, dialogue in dialogues():
        if dialogue["catalogue"] != name:
            continue
        state = ConversationState()
        for turn in dialogue["turns"]:
            heard = apply_delta(state, delta_of_message(turn["says"], state, laid_out))
            asked = {"messages": [HumanMessage(turn["says"])], "conversation": state.to_dict()}
            output = await agent.ainvoke({**asked, "person": title})
            turns, reply, after = turns + 1, output["reply"], read_state(output["conversation"])
            place = f"{title}, {turn['says']!r}"
            if conditions(after) != conditions(heard):
                wrong.append(f"{place}: the state is another one")
            listed = [card["item_id"] for card in reply["items"]] if reply["kind"] == "list" else []
            passing = set(laid_out.passing(retrieval_terms(heard).hard, retrieval_terms(heard).exclude))
            if not set(listed) <= passing or len(set(listed)) < len(listed):
                wrong.append(f"{place}: {listed} breaks a limit")
            if reply["kind"] == "list" and not listed:
                wrong.append(f"{place}: an empty list")
            for card in (*reply["items"], *reply["nearest"]):
                if card["title"] != " ".join(catalogue.item(card["item_id"]).title.split()):
                    wrong.append(f"{place}: {card['title']} is no title")
            if not reply["text"].strip() or (reply["action"] and reply["action"]["failed"]):
                wrong.append(f"{place}: {reply['text']!r}")
            state = heard.with_shown(shown_ids(turn["shown"], laid_out)) if "shown" in turn else heard
            for kind, positions in turn.get("confirms", {}).items():
                item_ids = [state.last_list[position - 1] for position in positions]
                state = state.with_feedback(kind, item_ids)
                for item_id in item_ids if kind == "in_cart" else ():
                    cart.add(title, item_id)
            if "asked" in turn:
                state = state.with_question(turn["asked"])
    return turns, wrong


@pytest.mark.slow
async def test_dialogues_over_the_shop(tmp_path: Path) -> None:
    generate_shop(tmp_path / "synthetic", ShopConfig(products=2000, people=10))
    turns, wrong = await hold(read_catalogue(tmp_path / "synthetic"), "shop")
    assert wrong == []
    assert turns > 80


@pytest.mark.slow
async def test_dialogues_over_the_films() -> None:
    turns, wrong = await hold(read_catalogue(embedded_ml100k()), "films")
    assert wrong == []
    assert turns > 15
