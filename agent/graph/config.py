"""The settings of an agent run: their names, defaults, ranges and meaning, for programs, files and commands alike.

A new setting is one field of `AgentConfig`. The `agent` block of suites and loops, the options of `deeprec recommend`
and the `config` of a logged run follow from the fields, and a request may set each for its own run, unless the field is
marked `FIXED_AT_BUILD`. Its default must leave runs as they were before it came: older runs, which do not name it, are
replayed with the default. Where new runs should change, `agent/replay/preconditions.py` says what older runs had.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from deeprec.trm_tool import ConfigError
from deeprec.trm_tool.errors import unlabelled

_Count = Annotated[int, Field(ge=1)]
FIXED_AT_BUILD = object()
"""The mark of a setting that holds for every run of a graph, so that no request can change it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """Budgets and sizes of one run. When a budget is spent the graph ranks what it has.

    Raises:
        ConfigError: a value has another type or is out of its range, or two settings contradict each other.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(use_attribute_docstrings=True)

    guided: Annotated[bool, FIXED_AT_BUILD] = False
    """Whether the server holds the model to the format (vLLM's structured outputs), for models too small to keep it by
    themselves. Guided runs warm a policy up; the RL trainer refuses them."""
    guided_by_message: bool = True
    """Whether a guided model chooses among the phrases of the person's message, where there is one: those that it
    names, and those of the items that are found for it. Else it chooses among those of the history."""
    guided_positions: _Count | None = None
    """Positions of the list that a guided model writes, the first ones: each takes a call of the server. What the
    retrievals found fills the others, in the order of their ranks. Without it the model writes all of them."""
    prompts: Annotated[Literal["trained", "instruct", "words"] | None, FIXED_AT_BUILD] = None
    """The texts that the model is shown: `trained` for policies trained on them, and for the embedded model; `instruct`
    for instruct models without training; `words` for policies that were trained to turn a message into a preference.
    Without it: `instruct` with tools, `trained` for tagged."""
    thinks: Annotated[bool | None, FIXED_AT_BUILD] = None
    """Whether a turn of the tagged protocol begins with a thought. Without it as the texts have it: `trained` and
    `instruct` ask for thoughts, `words` for none. The model has to be trained with the same."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    """Temperature of the sampling; 0 always takes the likeliest token."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the probability mass that tokens are drawn from, the likeliest first."""
    k: _Count = 10
    """Items in the recommended list."""
    retrieve_k: _Count = 10
    """Items that one retrieval returns."""
    max_retrieve_k: _Count | None = None
    """Items that a model which calls tools may ask of one retrieval, at most: how deep it looks is its own choice, and
    `retrieve_k` holds where it makes none. Without it, and in the tagged protocol, every retrieval has `retrieve_k`."""
    own_k: _Count | None = None
    """Items of the recommender's own list, by history and words, that count as retrieval 0 where positions are filled
    by what the retrievals found. The model does not see them. Without it only its own retrievals count."""
    allows_no_preference: bool = False
    """Whether an empty preference is a retrieval too, of the recommender's own list by history and words. A guided
    model has it on offer once a run. Without it an empty preference is malformed."""
    shows_evidence: bool = False
    """Whether the model sees beside each item that it finds what people's choices say for it, where the recommender
    knows that (`ItemEvidence`, such as a `Retriever` with signals)."""
    trust: Annotated[float, Field(ge=0, le=1)] | None = None
    """How far the recommender trusts a preference, 0 to 1. Without it the recommender uses what its training found for
    preferences that are true; what a model guesses from the same history deserves less."""
    hears_words: bool = True
    """Whether the recommender gets the person's message itself in every retrieval, beside the model's preference."""
    words_trust: Annotated[float, Field(ge=0, le=1)] | None = None
    """How far the recommender trusts the message, 0 to 1. Without it the recommender uses what its training found."""
    reads_constraints: bool = True
    """Whether a preference may say what must and must not be (`not horror`, `price <= 20`). What the person's words
    support excludes items, and the rest weighs. Without it all of a preference is text for the recommender."""
    enforces_words: bool = True
    """Whether what the message plainly refuses, limits itself to or bounds ("nothing red", "only comedies", "under
    20") excludes items though the model does not write it, and whether a refusal of what the catalogue lacks weighs as
    the closest phrase. It needs `reads_constraints`."""
    weighs_close_refusals: bool = True
    """Whether a refusal in other words than the person's ("nothing scary" and the model's `not horror`) weighs.
    Else it excludes items where it is among the phrases closest to what the person refuses, as in runs before."""
    describes_catalogue: bool = False
    """Whether a model that calls tools may ask what the catalogue can be asked for (`describe_catalogue`), three times
    a run, beside its retrievals. Guided models and the tagged protocol have no such tool."""
    shows_choices: bool = False
    """Whether a model that calls tools may ask what people also chose (`people_also_chose`), three times a run, beside
    its retrievals, where the recommender knows that (`CoChoices`, such as a `Retriever` with signals). As above."""
    weighs_missing: bool = True
    """Whether what a preference refuses or demands and the catalogue has no value for ("not scary") weighs as the
    closest phrase that it has; the model sees both. Without it such a constraint is only named."""
    diversity: Annotated[float, Field(ge=0, le=1)] = 0.0
    """How much the list shown avoids items that are similar to those above them, 0 to 1; 0 shows it as it was ranked.
    The trace keeps what the model wrote beside it. From 0.1 to 0.3 a list widens and stays relevant."""
    max_history: _Count = 20
    """Latest items of the history that the prompt shows. The recommender always gets the whole history."""
    strict_history: bool = False
    """Whether an id of the history that the catalogue lacks is an error. Else it is skipped, and the result names it in
    `unknown_items`: a shop's catalogue runs ahead of its recommender."""
    min_retrievals: Annotated[int, Field(ge=0)] = 2
    """Retrievals before a guided model may rank. A free model decides for itself."""
    max_retrievals: _Count = 8
    """Retrievals of one run, at most."""
    max_turns: _Count = 12
    """Turns of the policy before the ranking, at most."""
    max_malformed: Annotated[int, Field(ge=0)] = 2
    """Malformed outputs that are answered with a correction; the next one ends the exploration."""
    max_turn_tokens: _Count = 512
    """Tokens that the policy may write in one turn."""
    max_tokens: _Count = 16_384
    """Tokens that the policy may write in one run."""
    max_seconds: Annotated[float, Field(gt=0)] = 600.0
    """Wall time of one run in seconds, waiting for the server included."""
    raise_outages: bool = False
    """Whether an unavailable model or recommender raises an error, instead of a list without it and `fallback`."""

    def __post_init__(self) -> None:
        for name, adapter in _adapters().items():
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, adapter.validate_python(value))
            except ValidationError as error:
                rule = unlabelled(error.errors()[0]["msg"]).replace("Input should", "it should").rstrip(".")
                raise ConfigError(f"AgentConfig.{name} is {value!r}; {rule}.") from error
        if self.min_retrievals > self.max_retrievals:
            raise ConfigError(
                f"AgentConfig.min_retrievals is {self.min_retrievals}, above max_retrievals ({self.max_retrievals}); "
                "no run could end by itself. Lower one or raise the other."
            )


REQUEST_SETTINGS = tuple(
    field.name
    for field in fields(AgentConfig)
    if FIXED_AT_BUILD not in getattr(get_type_hints(AgentConfig, include_extras=True)[field.name], "__metadata__", ())
)
"""The settings that a request may set for its own run."""


@cache
def _adapters() -> dict[str, TypeAdapter[Any]]:
    """Setting -> what validates its type and range."""
    hints = get_type_hints(AgentConfig, include_extras=True)
    return {field.name: TypeAdapter(hints[field.name]) for field in fields(AgentConfig)}


def make_agent_config(named: Mapping[str, Any], **defaults: Any) -> AgentConfig:
    """Make the settings of a run from those that a file, a command or a request names.

    Args:
        named: Setting -> value. Where it leaves out `min_retrievals`, that is lowered to `max_retrievals` if need be.
        defaults: Settings that replace the defaults of `AgentConfig` here.

    Raises:
        ConfigError: there is no such setting, or `AgentConfig` refuses a value.
    """
    check_setting_names(named, [field.name for field in fields(AgentConfig)])
    return _with(AgentConfig(), {**defaults, **named})


def adjust_agent_config(config: AgentConfig, named: Mapping[str, Any]) -> AgentConfig:
    """Make the settings of one run: those of its graph, with what its request names in their place.

    Args:
        config: The settings that the graph was built with.
        named: Setting -> value, of `REQUEST_SETTINGS`. `min_retrievals` is lowered as in `make_agent_config`.

    Raises:
        ConfigError: a request cannot set a name, or `AgentConfig` refuses a value.
    """
    check_setting_names(named, REQUEST_SETTINGS)
    return _with(config, named) if named else config


def check_setting_names(named: Iterable[object], known: Sequence[str]) -> None:
    """Raise ConfigError for the first name that is not a known setting, with the one that it resembles."""
    for name in named:
        if name not in known:
            close = get_close_matches(str(name), known, n=1)
            choice = f"Did you mean {close[0]!r}?" if close else f"Choose from {', '.join(known)}."
            if any(name == field.name for field in fields(AgentConfig)):
                raise ConfigError(f"The setting {name!r} is fixed when the graph is built. Give it to build_graph.")
            raise ConfigError(f"The agent has no setting {str(name)[:80]!r}. {choice}")


def _with(config: AgentConfig, named: Mapping[str, Any]) -> AgentConfig:
    if "min_retrievals" in named:
        return replace(config, **named)
    lowered = replace(config, **named, min_retrievals=0)
    return replace(lowered, min_retrievals=min(config.min_retrievals, lowered.max_retrievals))
