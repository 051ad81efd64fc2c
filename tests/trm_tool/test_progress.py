import time
from io import StringIO

import pytest
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from deeprec.trm_tool.progress import StepProgress, stage, training_bar
from deeprec.trm_tool.trm.training.train import TrainingProgress


def follow(console: Console, steps: int = 200) -> None:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with StepProgress(*columns, console=console) as bar:
        task = bar.add_task("steps [b]", total=200)
        for step in range(1, steps + 1):
            bar.update(task, completed=step)


def test_a_log_gets_a_line_for_each_tenth() -> None:
    log = StringIO()
    follow(Console(file=log, width=20))
    lines = log.getvalue().splitlines()
    assert lines[0] == "steps [b]    1/200"
    assert [line.split()[-1] for line in lines[1:]] == [f"{20 * tenth}/200" for tenth in range(1, 11)]


def test_a_log_tells_where_a_task_ended_before_its_time() -> None:
    log = StringIO()
    follow(Console(file=log, width=20), steps=67)
    assert [line.split()[-1] for line in log.getvalue().splitlines()] == [
        "1/200",
        "20/200",
        "40/200",
        "60/200",
        "67/200",
    ]


def test_a_terminal_gets_a_bar_and_a_quiet_console_nothing() -> None:
    log = StringIO()
    follow(Console(file=log, force_terminal=True))
    assert "━" in log.getvalue()
    log = StringIO()
    follow(Console(file=log, quiet=True))
    assert not log.getvalue()


def test_a_stage_is_named_while_it_lasts() -> None:
    log, shown = StringIO(), StringIO()
    console = Console(file=log)
    with stage(console, "Reading [b]"):
        assert log.getvalue() == "Reading [b] …\n"
    with stage(Console(file=shown, force_terminal=True, width=80), "Reading"):
        pass
    assert "Reading …" in shown.getvalue()
    assert "0:00:00" in shown.getvalue()


def test_a_log_is_not_silent_while_a_stage_lasts() -> None:
    log = StringIO()
    with stage(Console(file=log), "Reasoning", every_s=0.01):
        while log.getvalue().count("s so far") < 2:
            time.sleep(0.01)
    lines = log.getvalue().splitlines()
    assert lines[:2] == ["Reasoning …", "Reasoning … 0 s so far"]
    time.sleep(0.05)
    assert log.getvalue().splitlines() == lines  # it ends with the stage


def test_a_log_is_not_silent_during_a_long_step() -> None:
    log = StringIO()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with StepProgress(*columns, console=Console(file=log, width=20), every_s=0.01) as bar:
        bar.update(bar.add_task("steps", total=200), completed=67)
        while log.getvalue().count(" 67/200") < 3:
            time.sleep(0.01)
    lines = log.getvalue().splitlines()
    assert set(lines) == {"steps   67/200"}
    time.sleep(0.05)
    assert log.getvalue().splitlines() == lines  # it ends with the task


@pytest.mark.parametrize(("epoch_s", "left"), [(4.0, " 108 s left"), (20.0, " 9 min left")])
def test_a_training_says_from_the_first_epoch_on_how_long_it_takes_at_its_pace(epoch_s: float, left: str) -> None:
    log = StringIO()
    with training_bar(Console(file=log, width=200)) as show:
        show(TrainingProgress(stage="training", epoch=0, epochs=28, seconds=30.0))
        show(TrainingProgress(stage="training", epoch=1, epochs=28, seconds=30.0 + epoch_s, ndcg_at_10=0.1))
        show(TrainingProgress(stage="training", epoch=28, epochs=28, seconds=30.0 + 28 * epoch_s, ndcg_at_10=0.1))
    lines = log.getvalue().splitlines()
    assert [left in line for line in lines if "/28" in line] == [False, True, False]
