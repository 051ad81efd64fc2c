import numpy as np
import pytest
import torch

from deeprec.trm_tool import Artifact, Dataset, HashingEncoder, encode_preferences
from deeprec.trm_tool.trm.training.trust_calibration import (
    TRUSTS,
    WRONG,
    calibrate_trust,
    choose_trust,
    draw_one,
    mix,
    write_probes,
)


def test_probes_say_the_truth_a_part_of_it_or_what_is_true_of_another() -> None:
    own = [("a", "b"), ("c", "d"), ("e", "f"), ()]
    probes = write_probes(own, seed=0)
    assert probes["exact"] == ["a; b", "c; d", "e; f", ""]
    for written, phrases in zip(probes["one"], own, strict=True):
        assert written in phrases if phrases else written == ""
    assert sorted(probes[WRONG]) == sorted(probes["exact"])
    assert all(written != own_said for written, own_said in zip(probes[WRONG], probes["exact"], strict=True))
    assert probes == write_probes(own, seed=0)


def test_a_mixture_is_half_right() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        mixed = mix(("a", "b", "c"), ("c", "x", "y", "z"), rng)
        assert len(set(mixed) & {"a", "b", "c"}) == 2
        assert len(set(mixed) & {"x", "y", "z"}) == 2
    assert mix(("a",), ("a",), rng) == ("a",)  # nothing false is left to say
    assert draw_one((), rng) == ()


def test_the_curve_is_the_recall_of_the_retriever(artifact: Artifact, dataset: Dataset) -> None:
    catalogue, encoder = artifact.catalogue, HashingEncoder()
    users = dataset.users
    targets = [dataset.target(user, 2) for user in users]
    histories = [catalogue.rows(dataset.history(user, 2)) for user in users]
    probes = write_probes([catalogue.phrases_of(target) for target in targets], seed=1)
    texts = {
        kind: (
            torch.from_numpy(encode_preferences(encoder, catalogue, written)),
            torch.tensor([bool(text) for text in written]),
        )
        for kind, written in probes.items()
    }
    curve = calibrate_trust(artifact.model, histories, catalogue.rows(targets), texts)
    from deeprec.trm_tool import Query, Retriever

    retriever = Retriever(artifact, encoder)
    for kind, written in probes.items():
        for trust in (0.0, 0.5, 1.0):
            queries = [
                Query(history=dataset.history(user, 2), preference=text, trust=trust)
                for user, text in zip(users, written, strict=True)
            ]
            hits = np.mean(retriever.ranks_of(targets, queries) <= 10)
            assert curve.recall_at_10[kind][TRUSTS.index(trust)] == pytest.approx(hits)
    assert curve.chosen in TRUSTS


def test_a_preference_is_trusted_as_far_as_a_wrong_one_leaves_enough() -> None:
    rising = [0.2 + 0.05 * step for step in range(len(TRUSTS))]
    falling = [0.2 - 0.015 * step for step in range(len(TRUSTS))]  # .14 = .7 * .2 at trust .4
    assert choose_trust({"exact": rising, WRONG: falling}) == 0.4
    assert choose_trust({"exact": rising, WRONG: rising}) == 1.0  # never wrong
    peaked = [0.2, 0.3, 0.5, 0.4, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert choose_trust({"exact": peaked, WRONG: [0.2] * len(TRUSTS)}) == 0.2
    assert choose_trust({"exact": [0.5] * len(TRUSTS), WRONG: [0.5] * len(TRUSTS)}) == 1.0  # says nothing against it
    useless = [0.2, *[0.1] * (len(TRUSTS) - 1)]
    assert choose_trust({"exact": useless, WRONG: useless}) == 0.0
