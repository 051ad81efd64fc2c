"""How close a phrase has to be to stand for a wish that a catalogue lacks: `python -m tools.listening.closest_values`.

The wishes are the wordings of the made catalogues and of made requests for training. Each is compared with the phrases
of its catalogue, which have what it means; with those without that one; and with those of another catalogue.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from deeprec.trm_tool import make_encoder
from deeprec.trm_tool.data import TRAINING_WORDS
from tools.listening.build import CATALOGUES
from tools.listening.catalogue_file import read_catalogue_file

COSINES = (0.30, 0.35, 0.40, 0.45, 0.50, 0.55)
OTHERS = 60
"""Wishes of other catalogues that each catalogue gets."""


def vocabularies(folder: Path = CATALOGUES) -> list[dict[str, list[str]]]:
    """Phrase -> wordings, for each catalogue."""
    read = [read_catalogue_file(path) for path in sorted(folder.glob("*.json"))]
    written = [{value: list(said) for a in each.attributes for value, said in a.values.items()} for each in read]
    return [*written, {value: list(said) for value, said in TRAINING_WORDS.values.items()}]


def main() -> None:
    """Print, for each cosine, which share of the wishes it maps, and which share of these rightly."""
    encoder, rng = make_encoder(), random.Random(5)
    known = vocabularies()
    meant, lacked, strange, right = [], [], [], []
    for values in known:
        phrases = list(values)
        vectors = encoder.encode([f"something {phrase}" for phrase in phrases], role="preference")
        said = [(phrases.index(value), wording) for value in phrases for wording in values[value]]
        cosines = encoder.encode([wording for _, wording in said], role="preference") @ vectors.T
        at = np.array([place for place, _ in said])
        right += list(cosines.argmax(axis=1) == at)
        meant += list(cosines.max(axis=1))
        cosines[np.arange(len(said)), at] = -1
        lacked += list(cosines.max(axis=1))
        others = [w for other in known if other is not values for wordings in other.values() for w in wordings]
        far = encoder.encode(rng.sample(others, OTHERS), role="preference") @ vectors.T
        strange += list(far.max(axis=1))
    print(f"{len(meant):,} wishes; cosine, mapped, right of these, mapped without the meaning, of another catalogue")
    for cosine in COSINES:
        mapped = np.array(meant) >= cosine
        shares = [mapped.mean(), np.array(right)[mapped].mean()]
        shares += [(np.array(values) >= cosine).mean() for values in (lacked, strange)]
        print(f"{cosine:.2f}", *(f"{share:.2f}" for share in shares))


if __name__ == "__main__":
    main()
