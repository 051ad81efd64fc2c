"""The paper's text protocol: one growing token sequence, over `/v1/completions` with token-id prompts.

Source:
    DeepRec (arXiv 2505.16810): the tags, and the loop of thought, preference and item list. Items are named by their
    number in the run instead of by title, because titles repeat and contain one another.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

from deeprec.agent.policy.completion import Completion, CompletionPolicy, PolicyRejectedError, SamplingConfig
from deeprec.agent.policy.token_policy import TokenPolicy
from deeprec.agent.protocols.prompts import Prompts
from deeprec.agent.protocols.tagged_text import LIST_LINE, preference_regex, read_tagged, tagged_regex
from deeprec.agent.protocols.tags import (
    BEGIN_ITEMS,
    BEGIN_LIST,
    BEGIN_PREFERENCE,
    BEGIN_THOUGHT,
    END_ITEMS,
    END_LIST,
    END_PREFERENCE,
)
from deeprec.agent.protocols.turn import (
    Allowance,
    Briefing,
    Conversation,
    PolicyLineage,
    Remark,
    Turn,
    completion_of,
)
from deeprec.agent.protocols.turn_events import TurnEvents, turn_events
from deeprec.agent.traces.records import TurnRecord

_VERSIONED = re.compile(r"-v\d+(-[0-9a-f]{8})?$")  # how training names what it saves: one name, one set of weights


class TaggedProtocol:
    """The protocol of tags in plain text. A conversation is `{"chain": token ids, "pending": token ids, …}`.

    `chain` is everything that the model has seen or written, `pending` its tail that no turn has recorded yet. Tokens
    that the model sampled are never decoded and encoded again: tool text is tokenised by itself and appended.
    `messages` is the same as text, for callbacks alone.
    """

    name = "tagged"
    version = "2"

    def __init__(
        self,
        policy: TokenPolicy,
        *,
        sampling: SamplingConfig | None = None,
        guided: bool = False,
        prompts: Prompts | None = None,
    ) -> None:
        """Make the protocol of a policy.

        Args:
            policy: The client of the served model, or another policy that continues token ids.
            sampling: Temperature and top-p; the defaults of `SamplingConfig` without it.
            guided: Whether the server holds the model to the format.
            prompts: The texts that the model is shown; the default ones without it.
        """
        self._policy = policy
        self._sampling = sampling or SamplingConfig()
        self._prompts = prompts or Prompts()
        self.guided = guided
        self.prompt_version = self._prompts.version
        self.has_card = self._prompts.has_card
        # A guided thought's grammar begins with its tag.
        self._opens = self._prompts.leads and not (guided and self._prompts.thinks)
        self._next_tag = BEGIN_THOUGHT if self._prompts.thinks else BEGIN_PREFERENCE

    def adjusted(
        self, *, model: str | None = None, temperature: float | None = None, top_p: float | None = None
    ) -> TaggedProtocol:
        """Make the same protocol with another model or adapter of the server, or other sampling."""
        named: dict[str, Any] = {"temperature": temperature, "top_p": top_p}
        other = copy.copy(self)
        other._sampling = replace(self._sampling, **{name: x for name, x in named.items() if x is not None})
        other._policy = self._policy if model is None else self._policy.asking(model)
        return other

    def lineage(self) -> PolicyLineage:
        """The policy's part of a run's lineage."""
        sampling = {"temperature": self._sampling.temperature, "top_p": self._sampling.top_p}
        adapter = self._policy.adapter
        lineage = PolicyLineage(
            policy_model=self._policy.model or "unknown",
            adapter=adapter,
            adapter_version=adapter if adapter and _VERSIONED.search(adapter) else None,
            sampling=sampling,
        )
        if isinstance(self._policy, CompletionPolicy):
            if (served := self._policy.served) is not None:
                lineage["base_fingerprint"] = served.base_fingerprint
                lineage["adapter_fingerprint"] = served.adapter_fingerprint
            lineage["logprobs_mode"] = self._policy.logprobs_mode
        return lineage

    async def open(self, briefing: Briefing) -> Conversation:
        """Begin a conversation with the served model's own chat template."""
        await self._policy.connect()  # whether the server has the model
        person = self._prompts.opening(briefing)
        messages = [
            {
                "role": "system",
                "content": self._prompts.tagged_system(
                    briefing.k, briefing.max_retrievals, may_be_empty=briefing.may_be_empty
                ),
            },
            {"role": "user", "content": person},
        ]
        ids = await self._policy.tokenize_chat(messages)
        rank_room = _LIST_TOKENS + _LINE_TOKENS * briefing.k
        limit = await self._limit()
        if len(ids) + _TURN_TOKENS + rank_room > limit:
            raise PolicyRejectedError(
                f"The opening prompt has {len(ids):,} tokens and the final list needs up to {rank_room}, but the "
                f"served model takes {limit:,} in all. Show a shorter history, or serve a model with a longer context."
            )
        conversation = {"chain": ids, "pending": ids, "messages": messages, "list_open": False, "rank_room": rank_room}
        conversation |= {
            "k": briefing.k,
            "message": briefing.message,
            "max_retrievals": briefing.max_retrievals,
            "found": 0,
        }
        return await self._opened(conversation | briefing.freedoms(), self._next_tag)

    async def reason(self, conversation: Conversation, allowance: Allowance) -> Turn:
        """Let the model think and then retrieve or rank."""
        if self.guided and self._opens and (conversation["list_open"] or not allowance.phrases):
            numbers = [number for number in conversation["numbers"] if number not in allowance.excluded]
            return await self.rank(conversation, numbers, conversation["k"], allowance)
        room = await self._room(conversation) - conversation["rank_room"]
        stop = [END_PREFERENCE, END_LIST]
        if self._opens:  # a list before anything was found ends at once, and so does an item list of the model's own
            stop = [END_PREFERENCE, END_LIST if conversation.get("found") else BEGIN_LIST, BEGIN_ITEMS]
        regex = None
        if self.guided:
            regex = preference_regex(allowance) if self._opens else tagged_regex(allowance)
            stop = [END_PREFERENCE, BEGIN_LIST + "\n"]
        sampling = replace(self._sampling, max_tokens=min(room, allowance.max_tokens), seed=allowance.seed)
        async with self._events(conversation, sampling) as events:
            completion = await self._policy.complete(
                conversation["chain"], sampling=sampling, stop=stop, regex=regex, timeout_s=allowance.timeout_s
            )
            await events.wrote(completion.text)
            await events.ended(completion)
        return self._turn(conversation, completion)

    async def observe(self, conversation: Conversation, items: Sequence[tuple[int, str]]) -> Conversation | None:
        """Append the item list as tool text."""
        return await self.observe_remarked(conversation, items, None)

    async def observe_remarked(
        self, conversation: Conversation, items: Sequence[tuple[int, str]], remark: Remark | None
    ) -> Conversation | None:
        """Append the item list as tool text, with a line about what of the preference was not enforced."""
        found = conversation.get("found", 0) + 1
        is_last = found == conversation.get("max_retrievals")
        after = self._prompts.after_items(conversation.get("message"), k=conversation.get("k", 0), is_last=is_last)
        lines = "".join(f"{line}\n" for line in (self._prompts.remark(remark), after) if line)
        text = f"\n{BEGIN_ITEMS}\n{self._prompts.items(items)}\n{END_ITEMS}\n{lines}"
        extended = await self._append(conversation, text)
        if extended is None:
            return None
        numbers = [*conversation.get("numbers", ()), *(number for number, _ in items)]
        extended |= {"found": found, "numbers": list(dict.fromkeys(numbers))}
        return await self._opened(extended, f"{BEGIN_LIST}\n" if is_last else self._next_tag)

    async def correct(self, conversation: Conversation, why: str) -> Conversation | None:
        """Append what is malformed as tool text."""
        has_found = bool(conversation.get("found"))
        text = self._prompts.correction(why, k=conversation.get("k", 0), is_tagged=True, has_found=has_found)
        extended = await self._append(conversation, f"\n{text}\n" if self._prompts.leads else text)
        if extended is None:
            return None
        return await self._opened(extended, f"{BEGIN_LIST}\n" if has_found else BEGIN_PREFERENCE)

    async def rank(self, conversation: Conversation, numbers: Sequence[int], k: int, allowance: Allowance) -> Turn:
        """Let the model rank. A guided one names one of the numbers that are left at a time, so that none repeats."""
        if not conversation["list_open"]:
            conversation = await self._extended(conversation, f"\n{BEGIN_LIST}\n") | {"list_open": True}
        room = min(await self._room(conversation), allowance.max_tokens)
        sampling = replace(self._sampling, max_tokens=room, seed=allowance.seed)
        async with self._events(conversation, sampling) as events:
            if self.guided:
                most = min(k, allowance.most_numbers or k)
                completion = await self._rank_guided(conversation, numbers, most, allowance, sampling, events)
            else:
                completion = await self._policy.complete(
                    conversation["chain"], sampling=sampling, stop=[END_LIST], timeout_s=allowance.timeout_s
                )
                await events.wrote(completion.text)
            await events.ended(completion)
        return self._turn(conversation, completion)

    def replay(self, conversation: Conversation, record: TurnRecord) -> Turn:
        """Rebuild a turn from its record."""
        # `prompt_ids` is what the turn added; what of it is in the chain already is its `pending` tail.
        added = record.prompt_ids[len(conversation["pending"]) :]
        is_list = record.node == "rank" or bool(added)
        text = f"\n{BEGIN_LIST}\n" if added else ""
        conversation = _extend(conversation, added, text) | {"list_open": conversation["list_open"] or is_list}
        return self._turn(conversation, completion_of(record))

    async def edit(self, record: TurnRecord, preference: str) -> TurnRecord:
        """Replace the text between the preference tags of a turn; the server tokenises the result."""
        before, tag, rest = record.text.rpartition(BEGIN_PREFERENCE)
        _, _, after = rest.partition(END_PREFERENCE)
        text = f"{before}{tag}{preference}{END_PREFERENCE}{after}"  # where the tag stands in the prompt, none is here
        ids = tuple(await self._policy.tokenize(text))
        return replace(
            record,
            text=text,
            preference=preference,
            completion_ids=ids,
            logprobs=(float("nan"),) * len(ids),
            completion_tokens=len(ids),
            latency_ms=0.0,
        )

    def agrees(self, conversation: Conversation, records: Sequence[TurnRecord]) -> bool:
        """Whether the chain is, id by id, the one after which the last of these turns was sampled."""
        *earlier, last = records
        chain = [token for record in earlier for token in (*record.prompt_ids, *record.completion_ids)]
        return list(conversation["chain"]) == [*chain, *last.prompt_ids]

    def _turn(self, conversation: Conversation, completion: Completion) -> Turn:
        text = (BEGIN_LIST + "\n" if conversation["list_open"] else conversation.get("opened", "")) + completion.text
        cut = completion.finish_reason == "length"
        may_be_empty = bool(conversation.get("may_be_empty"))
        decision = read_tagged(text, cut=cut, guided=self.guided, lenient=self._opens, may_be_empty=may_be_empty)
        return Turn(
            conversation={
                **conversation,
                "chain": [*conversation["chain"], *completion.token_ids],
                "pending": [],
                "messages": [*conversation.get("messages", ()), {"role": "assistant", "content": completion.text}],
                "list_open": self.guided and completion.text.endswith(BEGIN_LIST + "\n"),
                "opened": "",
            },
            decision=decision,
            completion=completion,
            prompt_ids=tuple(conversation["pending"]),
            chained=True,
        )

    async def _opened(self, conversation: dict[str, Any], tag: str) -> dict[str, Any]:
        """Write the opening tag of the block that is due, where the prompts do that."""
        if not self._opens:
            return conversation
        is_list = tag.startswith(BEGIN_LIST)
        return await self._extended(conversation, tag) | {"list_open": is_list, "opened": "" if is_list else tag}

    async def _append(self, conversation: Conversation, text: str) -> dict[str, Any] | None:
        extended = await self._extended(conversation, text)
        if len(extended["chain"]) + _TURN_TOKENS + conversation["rank_room"] > await self._limit():
            return None
        return extended

    async def _extended(self, conversation: Conversation, text: str) -> dict[str, Any]:
        return _extend(conversation, await self._policy.tokenize(text), text)

    async def _rank_guided(
        self,
        conversation: Conversation,
        numbers: Sequence[int],
        k: int,
        allowance: Allowance,
        sampling: SamplingConfig,
        events: TurnEvents,
    ) -> Completion:
        left = list(numbers)
        parts: list[Completion] = []
        while left and len(parts) < k:
            chain = [*conversation["chain"], *(token for part in parts for token in part.token_ids)]
            seed = None if allowance.seed is None else allowance.seed + len(parts)
            # The last line closes the list, so that a guided chain is one that a free model could have written.
            end = f"\n{END_LIST}" if len(left) == 1 or len(parts) == k - 1 else "\n"
            part = await self._policy.complete(
                chain,
                sampling=replace(sampling, seed=seed),
                stop=[end.strip() or end],
                regex=f"({'|'.join(map(str, left))}){end}",
                timeout_s=allowance.timeout_s,
            )
            parts.append(part)
            await events.wrote(part.text)
            named = LIST_LINE.match(part.text)
            if named is None or int(named.group(1)) not in left:
                break
            left.remove(int(named.group(1)))
            allowance.on_number(int(named.group(1)))
        return _joined(parts)

    def _events(self, conversation: Conversation, sampling: SamplingConfig) -> AbstractAsyncContextManager[TurnEvents]:
        model = self._policy.adapter or self._policy.model or "unknown"
        return turn_events(conversation.get("messages", ()), model=model, sampling=sampling)

    async def _room(self, conversation: Conversation) -> int:
        return max(1, await self._limit() - len(conversation["chain"]))

    async def _limit(self) -> int:
        return (await self._policy.connect()).max_model_len or _UNKNOWN_CONTEXT


_UNKNOWN_CONTEXT = 4096
"""Tokens that a model takes where its server does not name them."""
_LIST_TOKENS, _LINE_TOKENS = 32, 12
"""Tokens of the context that stay free for the final list: for its tags, and for each of its lines."""
_TURN_TOKENS = 64
"""Tokens that a turn needs at least; with fewer left it does not begin."""


def _extend(conversation: Conversation, ids: Sequence[int], text: str) -> dict[str, Any]:
    # Checkpoints of earlier versions lack the messages.
    messages = [*conversation.get("messages", ()), *([{"role": "user", "content": text}] if text else [])]
    return {
        **conversation,
        "chain": [*conversation["chain"], *ids],
        "pending": [*conversation["pending"], *ids],
        "messages": messages,
    }


def _joined(parts: Sequence[Completion]) -> Completion:
    """Join completions that continue one another."""
    return Completion(
        token_ids=tuple(token for part in parts for token in part.token_ids),
        logprobs=tuple(value for part in parts for value in part.logprobs),
        text="".join(part.text for part in parts),
        finish_reason=parts[-1].finish_reason,
        prompt_tokens=parts[0].prompt_tokens,
        latency_ms=sum(part.latency_ms for part in parts),
    )
