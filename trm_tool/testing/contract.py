"""`check_recommender`: run the rules of a recommender, and name those that it breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.recommender import AnyRecommender, AsyncRecommender, is_async
from deeprec.trm_tool.testing.checked_recommender import CheckedRecommender, running_loop
from deeprec.trm_tool.testing.rules import CHECKS, RULES, has_the_interface


def check_recommender(
    recommender: AnyRecommender, *, preference: str | None = None, k: int = 5, rules: Collection[str] | None = None
) -> None:
    """Check that a recommender keeps the contract of `Recommender`; an `AsyncRecommender` runs in a loop of its own.

    Args:
        recommender: It is called some fifty times; nothing in it is changed.
        preference: Words for the rules that need some; by default a phrase of the catalogue.
        k: Items of a usual retrieval. The catalogue needs at least three times as many available items.
        rules: Names from `RULES`; all by default. `set(RULES) - {"same_answer_twice"}` leaves one out.

    Raises:
        AssertionError: names every broken rule, what it demands and what was seen.
        ConfigError: a rule is unknown, or the catalogue is too small to check.
    """
    if not is_async(recommender):
        _check(CheckedRecommender(recommender, k=k, preference=preference), rules)
        return
    with running_loop() as loop:
        _check(CheckedRecommender(recommender, k=k, preference=preference, loop=loop), rules)


async def check_async_recommender(
    recommender: AsyncRecommender, *, preference: str | None = None, k: int = 5, rules: Collection[str] | None = None
) -> None:
    """`check_recommender` in the running event loop, for a recommender that is bound to it, as many clients are."""
    subject = CheckedRecommender(recommender, k=k, preference=preference, loop=asyncio.get_running_loop())
    await asyncio.to_thread(_check, subject, rules)


def _check(subject: CheckedRecommender, rules: Collection[str] | None) -> None:
    unknown = sorted(set(rules or ()) - set(RULES))
    if unknown:
        raise ConfigError(f"There is no rule {unknown[0]!r}. The rules are {', '.join(RULES)}.")
    chosen = [check for check in CHECKS if check is has_the_interface or rules is None or check.__name__ in rules]
    broken: list[str] = []
    cause: Exception | None = None
    for check in chosen:
        seen = _seen(subject, check)
        if seen is not None:
            cause = cause or seen
            why = str(seen) if type(seen) is AssertionError else f"{subject.call} raised {type(seen).__name__}: {seen}"
            broken.append(f"{check.__name__}: {check.__doc__} Seen: {why}.")
        if check is has_the_interface:
            if broken:
                break  # nothing else can be called
            _check_size(subject)
    if broken:
        name = type(subject.recommender).__name__
        raise AssertionError(
            "\n  ".join([f"{name} breaks {len(broken)} of {len(chosen)} rules of a recommender:", *broken])
        ) from cause


def _seen(subject: CheckedRecommender, check: Callable[[CheckedRecommender], None]) -> Exception | None:
    subject.call = "no retrieval"
    try:
        check(subject)
    except Exception as error:  # whatever it raises breaks the rule
        return error
    return None


def _check_size(subject: CheckedRecommender) -> None:
    available = len(subject.available())
    if available < 3 * subject.k:
        raise ConfigError(
            f"The catalogue has {available} available items, too few to check lists of {subject.k}. Give the "
            f"recommender {3 * subject.k} or more, or a smaller k."
        )
