"""Folds of requests by conversation, so that no conversation teaches its own test."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from deeprec.trm_tool.data.requests.request import Request
from deeprec.trm_tool.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationFold:
    """One of several parts of all conversations. A conversation lies in the same part whatever file it stands in."""

    number: int
    """1-based."""
    of: int
    """Parts in all."""

    def __post_init__(self) -> None:
        if self.of < 2 or not 1 <= self.number <= self.of:
            raise ConfigError(f"The fold {self.number}/{self.of} does not exist. Give one such as 1/5, from 1 to 5.")

    def __contains__(self, conversation: str) -> bool:
        key = f"{self.of}\0{conversation}".encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()) % self.of == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def read_fold(text: str) -> ConversationFold:
    """Read a fold such as `1/5`.

    Raises:
        ConfigError: the text is another, or there is no such fold.
    """
    found = re.fullmatch(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*", text)
    if found is None:
        raise ConfigError(f"The fold is {text[:40]!r}. Give its number and how many there are, such as 1/5.")
    return ConversationFold(number=int(found[1]), of=int(found[2]))


def split_requests(requests: Iterable[Request], fold: ConversationFold) -> tuple[list[Request], list[Request]]:
    """Split requests into those outside a fold, for training, and those inside it, whole conversations each."""
    outside, inside = list[Request](), list[Request]()
    for request in requests:
        (inside if request.conversation in fold else outside).append(request)
    return outside, inside
