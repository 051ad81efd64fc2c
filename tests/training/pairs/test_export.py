"""Exported pairs, read as TRL reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import load_dataset
from transformers import AutoTokenizer
from trl import DPOConfig, DPOTrainer

from deeprec.agent import TraceStore
from deeprec.training import StoredReward, export_pairs, make_pairs, read_rollout_pairs
from deeprec.trm_tool import ConfigError
from tests.made_runs import store_runs
from tests.training.pairs.answers import answered


@pytest.mark.slow
def test_trl_reads_the_prompt_and_both_answers_as_they_were_logged(chat_base: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(chat_base)
    prompt = tuple(tokenizer("user: drei Wünsche\nassistant: ")["input_ids"])
    with TraceStore(tmp_path / "traces.db") as store:
        for number, text in enumerate(("sci-fi; 1980s", "any film\n")):
            ids = tuple(tokenizer(text)["input_ids"])
            [trace] = store_runs(store, answered("g", ids, text=text, prompt=prompt))
            store.write_rewards(trace.run.run_id, "deeprec", {"hit": 1.0 - number})
        make_pairs(store, reward=StoredReward(scheme="deeprec", component="hit"))
        pairs = read_rollout_pairs(store, "pairs")
    export_pairs(pairs, tmp_path / "pairs.jsonl", tokenizer)
    rows = load_dataset("json", data_files=str(tmp_path / "pairs.jsonl"), split="train", cache_dir=str(tmp_path))
    assert (rows[0]["prompt"], rows[0]["chosen"], rows[0]["rejected"]) == (
        *("user: drei Wünsche\nassistant: ", "sci-fi; 1980s", "any film\n"),
    )
    args = DPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, activation_checkpointing=False, report_to=[])
    text_only = rows.select_columns(["prompt", "chosen", "rejected"])
    trainer = DPOTrainer(model=str(chat_base), args=args, train_dataset=text_only, processing_class=tokenizer)
    [read] = trainer.train_dataset.to_list()
    assert read["prompt_ids"] == rows[0]["prompt_ids"] == list(prompt)
    for side in ("chosen", "rejected"):
        assert read[f"{side}_ids"] == [*rows[0][f"{side}_ids"], tokenizer.eos_token_id]
        assert rows[0][f"{side}_mask"] == [1] * len(rows[0][f"{side}_ids"])
    with pytest.raises(ConfigError, match="There is no pair"):
        export_pairs([], tmp_path / "none.jsonl", tokenizer)
