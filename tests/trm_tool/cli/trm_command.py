"""`deeprec trm` as its tests run it, without the root command."""

from typer.testing import CliRunner, Result

from deeprec.trm_tool import DeepRecError
from deeprec.trm_tool.cli.trm import app


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refusal(*arguments: object) -> DeepRecError:
    """The mistake that the root command turns into one line and exit code 2."""
    error = run(*arguments).exception
    assert isinstance(error, DeepRecError)
    assert "\n" not in str(error)
    return error
