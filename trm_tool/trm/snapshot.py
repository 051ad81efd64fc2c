"""One immutable state of a catalogue, with all that retrievals need. A change makes another state."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deeprec.trm_tool.catalogue.filters import AttributeIndex
from deeprec.trm_tool.trm.artifact import Artifact
from deeprec.trm_tool.trm.catalogue_changes import Change

PART = 4096
"""Items whose vectors are computed at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An artifact with its items' vectors and attributes laid out once. It never changes."""

    artifact: Artifact
    attributes: AttributeIndex
    popularity: NDArray[np.float32]
    """Share of the most popular item's popularity, in catalogue order."""
    item_vectors: Tensor
    """The vectors that queries are compared with, (items, width)."""

    @classmethod
    def of(cls, artifact: Artifact) -> "Snapshot":
        """Lay out an artifact."""
        model = artifact.model.eval()
        with torch.inference_mode():
            rows = torch.arange(len(artifact.catalogue), device=model.text_embeddings.device)
            # Parts bound the memory: the experts' outputs for a large catalogue are larger than the artifact.
            vectors = torch.cat([model.item_vectors(part) for part in torch.split(rows, PART)])
            return cls._with_vectors(artifact, vectors)

    def after(self, change: Change) -> "Snapshot":
        """Lay out the artifact that a change made of this snapshot's; only the vectors that changed are computed."""
        artifact, vectors = change.artifact, self.item_vectors
        if len(change.rows):
            rows = torch.from_numpy(change.rows).to(vectors.device)
            with torch.inference_mode():
                vectors = vectors.new_empty(len(artifact.catalogue), vectors.shape[1])
                vectors[: len(self.item_vectors)] = self.item_vectors
                for part in torch.split(rows, PART):
                    vectors[part] = artifact.model.item_vectors(part)
        return self._with_vectors(artifact, vectors)

    @classmethod
    def _with_vectors(cls, artifact: Artifact, item_vectors: Tensor) -> "Snapshot":
        peak = float(artifact.popularity.max(initial=0.0))
        return cls(
            artifact=artifact,
            attributes=AttributeIndex(artifact.catalogue),
            popularity=(artifact.popularity / (peak if peak > 0 else 1.0)).astype(np.float32),
            item_vectors=item_vectors,
        )
