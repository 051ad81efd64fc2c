"""The exception tree. Every mistake of a user raises a `DeepRecError`, and the command line exits with 2."""

from deeprec.trm_tool.text import hide_passwords


class DeepRecError(Exception):
    """A mistake that the caller can correct. The message states what was seen, why it fails and what to do next.

    Passwords and keys in addresses are masked in the message, whoever wrote it: it reaches logs, terminals and runs.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(hide_passwords(part) if isinstance(part, str) else part for part in args))


class ConfigError(DeepRecError, ValueError):
    """A setting cannot work. It is raised before any download, training or model call."""


class DataError(DeepRecError, ValueError):
    """An interaction or item file, or a value from it, cannot be used."""


class ArtifactError(DeepRecError):
    """A TRM artifact folder is missing, damaged, or of another version."""


class UnknownItemError(DeepRecError, KeyError):
    """An item id is not in the catalogue."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class RecommenderUnavailableError(DeepRecError):
    """A recommender is unavailable at the moment. The same call may succeed later, so the graph repeats it."""


class RecommenderRefusedError(DeepRecError):
    """A recommender refuses a call, and would refuse it again. The graph does not repeat it."""


def reason_of(error: BaseException) -> str:
    """The first line of another library's error, at most 200 characters; the name of its type where it has no text."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")


def unlabelled(message: str) -> str:
    """A message of pydantic without the label "Value error, " that it puts before that of a check of our own."""
    return message.removeprefix("Value error, ")
