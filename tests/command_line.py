"""Commands as people run them: through the root command, with their exit code and what they print."""

import pytest

from deeprec.agent.cli.main import main


def run_command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run a command. Returns its exit code, stdout and stderr."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    return int(ended.value.code or 0), printed.out, printed.err


def answer_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that has to succeed. Returns what it writes to stdout."""
    code, out, err = run_command(capsys, *arguments)
    assert code == 0, err
    return out


def refusal_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that has to fail by a user's mistake. Returns its one line on stderr."""
    code, _, err = run_command(capsys, *arguments)
    assert code == 2, err
    assert len(err.splitlines()) == 1, err
    assert err.startswith("error: ")
    return err
