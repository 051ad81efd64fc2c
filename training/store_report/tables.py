"""Tables of a store report for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from rich import box
from rich.table import Table
from rich.text import Text

from deeprec.agent import visible
from deeprec.evals.metrics.streaming import Spread
from deeprec.training.rewards.reward_tally import RewardFigures
from deeprec.training.store_report.records import Distance, GroupSizes, PolicyRuns, StoreReport

_SIZES_SHOWN = 8
_POLICIES_SHOWN = 12


def store_tables(report: StoreReport) -> Iterator[tuple[str, Table | None]]:
    """Build the tables of a report with their titles; figures that the report does not have are left out."""
    refused = _table("refused", "runs", "such as")
    for refusal in report.refused:
        refused.add_row(refusal.reason, f"{refusal.runs:,}", str(refusal.example))
    yield f"{report.runs:,} runs, {report.rollouts:,} of them rollouts", refused if report.refused else None
    if report.policies:
        older = len(report.policies) - _POLICIES_SHOWN
        title = "Policies, oldest first" + (f"; {older:,} older ones are left out" if older > 0 else "")
        yield title, _policies(report.policies[-_POLICIES_SHOWN:])
    if report.groups is None:
        return
    yield f"{report.groups.groups:,} groups", _groups(report.groups, report.rewards)
    lengths = _table("", "median", "p95", "largest", "mean")
    for name, spread in report.lengths.items():
        lengths.add_row(name, *_spread(spread))
    yield "Tokens a rollout", lengths
    if report.rewards is not None:
        yield _reward_title(report.rewards), _rewards(report.rewards)
    if report.distance is not None:
        title = "Logged log-probabilities of free runs beside the current policy's, nats a token"
        yield title, _distance(report.distance)


def _policies(policies: tuple[PolicyRuns, ...]) -> Table:
    table = _table("model", "adapter", "version", "", "runs", "rollouts", "last")
    now = datetime.now(UTC)
    for each in policies:
        table.add_row(
            _text(each.model),
            _text(each.adapter),
            _text(each.version),
            "guided" if each.guided else "free",
            f"{each.runs:,}",
            f"{each.rollouts:,}",
            f"{_age(now - each.last)} ago",
        )
    return table


def _groups(groups: GroupSizes, rewards: RewardFigures | None) -> Table:
    table = _table("rollouts", "groups")
    commonest = sorted(groups.sizes.items(), key=lambda pair: -pair[1])[:_SIZES_SHOWN]
    for size, count in sorted(commonest):
        table.add_row(f"{size:,}", f"{count:,}")
    if len(groups.sizes) > _SIZES_SHOWN:
        rest = groups.groups - sum(count for _, count in commonest)
        table.add_row(f"others, {groups.smallest:,} to {groups.largest:,}", f"{rest:,}")
    table.add_section()
    table.add_row("median", f"{groups.median:g}")
    if rewards is not None:
        table.add_row("of two or more, rewards all equal", f"{rewards.flat_groups:,}")
    return table


def _reward_title(rewards: RewardFigures) -> str:
    variance = rewards.variance
    where = "within groups" if variance.within_groups else "over all, because no group has two rewards"
    return (
        f"Reward of the stage {rewards.stage} in {rewards.with_reward:,} rollouts: mean {_number(rewards.mean)}, "
        f"deviation {_number(variance.deviation)} {where}; the format is kept (its reward is 0) in "
        f"{_share(rewards.format_held)}"
    )


def _rewards(rewards: RewardFigures) -> Table:
    variance = rewards.variance
    table = _table("component", "weight", "mean", "NaN", "share of the variance")
    for name in (*rewards.weights, *(name for name in rewards.components if name not in rewards.weights)):
        table.add_row(
            _text(name),
            f"{rewards.weights[name]:g}" if name in rewards.weights else "not counted",
            _number(rewards.components.get(name, math.nan)),
            f"{rewards.not_computable.get(name, 0):,}",
            _share(variance.shares[name]) if name in variance.shares else "",
        )
    return table


def _distance(distance: Distance) -> Table:
    gap = distance.gap
    table = _table("", "")
    table.add_row("mean difference", _number(gap.mean))
    table.add_row("largest", _number(gap.largest) if gap.at is None else f"{_number(gap.largest)}, in run {gap.at}")
    table.add_row("over", f"{gap.tokens:,} tokens of {gap.rollouts:,} rollouts")
    table.add_row("with tokens that the model does not know", f"{distance.foreign_tokens:,} rollouts")
    table.add_row("longer than its context", f"{distance.too_long:,} rollouts")
    return table


def _table(*headers: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, show_header=any(headers))
    for position, header in enumerate(headers):
        table.add_column(header, justify="left" if position == 0 or header in _WORDS else "right", overflow="fold")
    return table


_WORDS = ("such as", "adapter", "version", "", "last")


def _spread(spread: Spread) -> list[str]:
    return [f"{value:,.0f}" for value in (spread.median, spread.p95, spread.largest, spread.mean)]


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4g}"


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1%}"


def _age(age: timedelta) -> str:
    hours = age.total_seconds() / 3600
    if hours < 1:
        return f"{hours * 60:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.0f} days"


def _text(text: str | None) -> Text:
    """Text of a database: no markup."""
    return Text(visible(text or "–", 60))
