"""Pairs as JSON lines in TRL's preference format, for trainers elsewhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeprec.training.pairs.pairing import prompt_of
from deeprec.training.pairs.rollout_pairs import RolloutPair, check_pairs
from deeprec.training.rollouts.rollouts import Rollout
from deeprec.trm_tool.folders import write_file


def export_pairs(pairs: Sequence[RolloutPair], path: Path, tokenizer: Any) -> None:
    """Write pairs as JSON lines, one object a pair; a file that is there is replaced.

    `prompt`, `chosen` and `rejected` are the texts that TRL's DPO trainer reads. It tokenises them again, closes them
    with the end of sequence, and learns tool output like the model's own text, so that pairs of several turns are only
    exact by their ids: `prompt_ids`, `chosen_ids` and `rejected_ids`, with `chosen_mask` and `rejected_mask`, which
    are 1 where the policy wrote the token. `chosen_reward`, `rejected_reward` and the run ids come with them.

    Args:
        pairs: the pairs (`read_rollout_pairs`).
        path: the file.
        tokenizer: the tokenizer of the model that wrote the runs; it has `decode`.

    Raises:
        ConfigError: there are no pairs, one does not compare two answers to one prompt, or the file cannot be written.
    """
    check_pairs(pairs)

    def text(ids: np.ndarray) -> str:
        return str(tokenizer.decode(ids.tolist(), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def line(pair: RolloutPair) -> str:
        prompt = prompt_of(pair.chosen)
        row: dict[str, Any] = {"prompt": text(prompt), "prompt_ids": prompt.tolist()}
        sides: tuple[tuple[str, Rollout, float], ...] = (
            ("chosen", pair.chosen, pair.chosen_reward),
            ("rejected", pair.rejected, pair.rejected_reward),
        )
        for side, rollout, reward in sides:
            answer = rollout.token_ids[prompt.size :]
            row[side] = text(answer)
            row[f"{side}_ids"] = answer.tolist()
            row[f"{side}_mask"] = rollout.env_mask[prompt.size :].tolist()
            row[f"{side}_reward"] = reward
            row[f"{side}_run_id"] = str(rollout.run_id)
        return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"

    write_file(path, "".join(map(line, pairs)))
