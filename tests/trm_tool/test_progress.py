from io import StringIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from deeprec.trm_tool.progress import StepProgress, stage


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
