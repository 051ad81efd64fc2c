"""The interface of a policy that writes tokens after tokens, which the tagged protocol asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from deeprec.agent.policy.completion import Completion, SamplingConfig, ServedModel


class TokenPolicy(Protocol):
    """A policy that continues token ids. `CompletionPolicy` asks a server; the demonstrator of training has a script.

    Its methods raise `PolicyError` where no completion can be had.
    """

    @property
    def model(self) -> str | None:
        """The name of the model in the lineage of runs; None where it is not known yet."""

    @property
    def adapter(self) -> str | None:
        """The name of the adapter in use; None without one."""

    def asking(self, model: str, /) -> TokenPolicy:
        """Make the same policy with another model or adapter."""

    async def connect(self) -> ServedModel:
        """Describe the model, with the length of its context."""

    async def tokenize(self, text: str, /) -> list[int]:
        """Token ids of a text, without special tokens around it."""

    async def tokenize_chat(self, messages: Sequence[Mapping[str, str]], /) -> list[int]:
        """Token ids of a conversation under the model's chat template, up to where the assistant starts to write."""

    async def complete(
        self,
        token_ids: Sequence[int],
        /,
        *,
        sampling: SamplingConfig,
        stop: Sequence[str] = (),
        regex: str | None = None,
        timeout_s: float | None = None,
    ) -> Completion:
        """Continue token ids, up to a stop string, or so that the whole completion matches a regular expression."""
