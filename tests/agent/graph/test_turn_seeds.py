"""Every turn draws by itself: no two turns of a suite or a collection share a seed."""

import pytest

from deeprec.agent.graph.turn_seeds import MAX_SEED, derive_seed, turn_seed


@pytest.mark.parametrize(
    "seeds",
    [range(1_000), [derive_seed("smoke@1a2b3c4d", user, 0) for user in range(1_000)]],
    ids=["seeds next to each other", "seeds of a suite's runs"],
)
def test_no_two_of_1000_runs_of_12_turns_draw_with_the_same_seed(seeds: list[int]) -> None:
    drawn = {turn_seed(seed, turn) for seed in seeds for turn in range(12)}
    assert len(drawn) == 12_000
    assert all(0 <= seed <= MAX_SEED for seed in drawn)


def test_the_counted_rule_of_older_runs_adds_the_position() -> None:
    assert [turn_seed(11, turn, "counted") for turn in range(3)] == [11, 12, 13]


def test_the_parts_of_a_key_do_not_run_together() -> None:
    assert derive_seed("a", 1) == derive_seed("a", "1")
    assert len({derive_seed("a", 11), derive_seed("a1", 1), derive_seed(1, "a"), derive_seed("a", 1, 1)}) == 4
