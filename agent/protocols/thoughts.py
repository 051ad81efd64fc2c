"""Texts with a thought before each preference, or without one."""

from __future__ import annotations

import re
from dataclasses import replace

from deeprec.agent.protocols.prompts import Prompts
from deeprec.agent.protocols.tags import BEGIN_PREFERENCE, BEGIN_THOUGHT, END_THOUGHT

_SHOWN = f"{BEGIN_THOUGHT}...{END_THOUGHT}\n"
_ASKED = (
    ("write what you think and then what to look for", "write what to look for"),
    ("A search is one sentence of thought, then the preference:", "A search is a preference:"),
)
"""How the package's texts ask for a thought, and the same without it."""


def with_thoughts(prompts: Prompts, thinks: bool) -> Prompts:
    """Make the same texts for turns of the tagged protocol that begin with a thought, or that are a preference alone.

    Without thoughts the protocol opens the preference itself (`Prompts.leads`), so that a model cannot begin with one.
    """
    if prompts.thinks == thinks:
        return prompts
    text = prompts.tagged_instructions
    if thinks:
        return replace(
            prompts, thinks=True, tagged_instructions=text.replace(BEGIN_PREFERENCE, _SHOWN + BEGIN_PREFERENCE, 1)
        )
    for asked, instead in _ASKED:
        text = text.replace(asked, instead)
    text = re.sub(f"{re.escape(BEGIN_THOUGHT)}.*?{re.escape(END_THOUGHT)}\n?", "", text, flags=re.DOTALL)
    return replace(prompts, thinks=False, leads=True, tagged_instructions=text)
