"""The setting of a suite's systems: what each of them is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deeprec.evals.requests.cases import Case
from deeprec.evals.requests.leaks import holdout_of
from deeprec.evals.suites.suite import Suite
from deeprec.trm_tool import Artifact, ConfigError, Dataset, Encoder, Recommender, Retriever


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What systems are made from."""

    suite: Suite
    dataset: Dataset
    recommender: Recommender
    cases: Sequence[Case]

    @property
    def holdout(self) -> int:
        """How many of each person's last items the recommender has not learned from."""
        return holdout_of(self.recommender)

    @property
    def weights(self) -> Artifact | None:
        """The artifact behind the recommender, where it is the TRM."""
        return self.recommender.artifact if isinstance(self.recommender, Retriever) else None

    @property
    def artifact(self) -> Artifact:
        """The artifact behind the recommender.

        Raises:
            ConfigError: the recommender is not the TRM.
        """
        return self._trm.artifact

    @property
    def encoder(self) -> Encoder:
        """The text encoder of the artifact, or ConfigError as for `artifact`."""
        return self._trm.encoder

    @property
    def _trm(self) -> Retriever:
        if not isinstance(self.recommender, Retriever):
            raise ConfigError(
                f"A system of the suite {self.suite.name} needs the weights of the TRM, and the recommender is a "
                f"{type(self.recommender).__name__}. Leave that system out, or run the suite with an artifact."
            )
        return self.recommender
