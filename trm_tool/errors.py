"""The exception tree. Everything a user can get wrong raises a `DeepRecError`, and the command line exits with 2."""


class DeepRecError(Exception):
    """A mistake that the caller can mend. Its message says what was seen, why it fails and what to do next."""


class ConfigError(DeepRecError, ValueError):
    """A setting that cannot work. Raised before any download, training or model call."""


class DataError(DeepRecError, ValueError):
    """An interaction or item file, or a value taken from it, that cannot be used."""


class ArtifactError(DeepRecError):
    """A TRM artifact folder that is missing, damaged, or of another version."""


class UnknownItemError(DeepRecError, KeyError):
    """An item id that the catalogue does not have."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class RecommenderUnavailableError(DeepRecError):
    """A recommender that gives no answer now. The same call may succeed later, so the graph tries it again."""


class RecommenderRefusedError(DeepRecError):
    """A call that a recommender will not answer, however often it is repeated. The graph does not try it again."""
