"""The course of a training loop as one figure, from the files in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeprec.evals.plotting import INK, LIGHT, MIDDLE, new_figure
from deeprec.training.loop.state import CONFIG_FILE, WARM_START, read_state
from deeprec.training.trainers.step_log import read_log
from deeprec.trm_tool import ConfigError
from deeprec.trm_tool.bounded_json import read_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_loop(out: Path) -> Figure:
    """Draw the loss of the warm start where there was one, reward and format of each step, and validation by version.

    Args:
        out: the loop's folder; the loop may still run.

    Raises:
        ConfigError: the folder holds no loop, or nothing to draw yet, or matplotlib is not installed.
    """
    if not (out / CONFIG_FILE).is_file():
        raise ConfigError(
            f"{out} is not the folder of a loop: it has no {CONFIG_FILE}. Name the --out of `train loop`."
        )
    try:
        course = read_json(out / CONFIG_FILE)
        stages, warmed = [plan["stage"] for plan in course["stages"]], course.get("warm_start") is not None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{out} holds no loop that can be read ({error}). Name the --out of `train loop`.") from error
    warm_log, validated = read_log(out / WARM_START), read_state(out).validation
    if not (warm_log or validated):
        raise ConfigError(f"The loop in {out} has nothing to draw yet. Come back after its first validation.")
    figure, [*first, steps, validation] = new_figure((12 if warmed else 8, 3.6), columns=3 if warmed else 2)
    for axes in first:
        _plot_warm_start(axes, warm_log)
    _plot_steps(steps, {stage: read_log(out / stage) for stage in stages})
    _plot_validation(validation, validated)
    return figure


def _plot_warm_start(axes: Any, lines: list[dict[str, Any]]) -> None:
    trained = [(line["step"], line["loss"]) for line in lines if line.get("loss") is not None]
    held_out = [(line["step"], line["eval_loss"]) for line in lines if line.get("eval_loss") is not None]
    axes.plot(*_points(trained), color=LIGHT, label="trained on")
    axes.plot(*_points(held_out), "o-", color=INK, label="held-out runs")
    axes.set(title="warm start", xlabel="step", ylabel="loss, nats a token of the policy")
    axes.legend(fontsize=8)


def _plot_steps(axes: Any, logs: dict[str, list[dict[str, Any]]]) -> None:
    first = 0
    for stage, lines in logs.items():
        rewarded = [line for line in lines if line.get("reward") is not None]
        if not rewarded:
            continue
        steps = [first + line["step"] for line in rewarded]
        axes.plot(steps, [line["reward"] for line in rewarded], "o-", color=INK, markersize=3)
        axes.plot(steps, [line["format_valid"] for line in rewarded], "s--", color=MIDDLE, markersize=3)
        if first:
            axes.axvline(first + 0.5, color=LIGHT, linewidth=1)
        axes.annotate(stage, (steps[0], 1.02), xycoords=("data", "axes fraction"), fontsize=8)
        first += max(line["step"] for line in rewarded)
    axes.plot([], [], "o-", color=INK, label="reward, mean of the step's runs")
    axes.plot([], [], "s--", color=MIDDLE, label="share in the format")
    axes.set(xlabel="step")
    axes.set_title("GRPO", pad=16)
    axes.legend(fontsize=8)


def _plot_validation(axes: Any, validation: dict[str, dict[str, float | None]]) -> None:
    versions = [name for name in validation if name != "trm"]
    for measure, style, colour in (("written", "s--", MIDDLE), ("filled", "o-", INK), ("valid", "^:", LIGHT)):
        keys = [next((key for key in validation[name] if _is(key, measure)), None) for name in versions]
        values = [validation[name][key] if key else None for name, key in zip(versions, keys, strict=True)]
        points = [(name, value) for name, value in zip(versions, values, strict=True) if value is not None]
        label = "share in the format" if measure == "valid" else next(filter(None, keys), measure)
        axes.plot(*_points(points), style, color=colour, label=label)
    alone = next((value for key, value in validation.get("trm", {}).items() if _is(key, "filled")), None)
    if alone is not None:
        axes.axhline(alone, color=INK, linewidth=0.8, linestyle="-.", label="recommender alone")
    axes.set(title="validation targets", ylim=(0, None))
    axes.tick_params(axis="x", labelrotation=45)
    axes.legend(fontsize=8)


def _is(key: str, measure: str) -> bool:
    return key == measure or (key.startswith("ndcg@") and key.endswith(f" {measure}"))


def _points(pairs: list[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    return [x for x, _ in pairs], [y for _, y in pairs]
