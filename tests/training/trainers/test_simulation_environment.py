"""A policy trains on conversations with simulated people: TRL's own trainer with the environment as its factory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from datasets import Dataset as Rows
from transformers import AutoTokenizer, LlamaForCausalLM
from trl import GRPOConfig, GRPOTrainer

from deeprec.evals import DrawnNeed, NeedConfig, SimulationEnvironment, make_need_cards, simulation_rows
from deeprec.trm_tool import Dataset, Retriever

CALL = (
    '<tool_call>\n{{"name": "reply", "arguments": {{"text": "This?", "item_ids": ["{item}"]}}}}\n</tool_call><|im_end|>'
)


@pytest.fixture
def needs(dataset: Dataset) -> list[DrawnNeed]:
    return make_need_cards(dataset, NeedConfig(split="train"))


def scripted(answers: list[list[int]], pad: int) -> Callable[..., torch.Tensor]:
    """A `generate` that writes the answers in turn, because a random model writes no tool call."""
    calls = iter(answers)

    def generate(input_ids: torch.Tensor, **_: Any) -> torch.Tensor:
        rows = [torch.tensor(next(calls)) for _ in input_ids]
        written = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad)
        return torch.cat([input_ids, written], dim=1)

    return generate


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You are using 'environment_factory':UserWarning")
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_a_policy_is_rewarded_for_what_the_simulated_person_accepts(
    dataset: Dataset, needs: list[DrawnNeed], artifact_folder: Path, chat_base: Path, tmp_path: Path
) -> None:
    template = Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja"
    tokenizer = AutoTokenizer.from_pretrained(chat_base, chat_template=template.read_text(encoding="utf-8"))
    tokenizer.pad_token = tokenizer.eos_token
    fits = [item.id for item in dataset.catalogue if needs[0].card.fits(item.attributes)]
    misfits = [item.id for item in dataset.catalogue if not needs[0].card.fits(item.attributes)]
    model = LlamaForCausalLM.from_pretrained(chat_base)
    before = {name: value.clone() for name, value in model.named_parameters()}

    def ids(text: str) -> list[int]:
        return [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]

    first = [ids(CALL.format(item=item)) for item in (fits[0], misfits[0])]
    model.generate = scripted([*first, *[ids("Done.<|im_end|>")] * 2], tokenizer.pad_token_id)  # type: ignore[method-assign]
    trainer = GRPOTrainer(
        model=model,
        args=GRPOConfig(
            output_dir=str(tmp_path),
            max_steps=1,
            per_device_train_batch_size=2,
            num_generations=2,
            max_completion_length=2_000,
            learning_rate=0.1,
            bf16=False,
            use_cpu=True,
            activation_checkpointing=False,
            report_to=[],
            save_strategy="no",
            logging_steps=1,
        ),
        train_dataset=Rows.from_list(simulation_rows(needs[:1], "Serve the customer.")),
        environment_factory=partial(SimulationEnvironment, needs, Retriever.load(artifact_folder)),
        processing_class=tokenizer,
    )
    trainer.train()
    [step] = [line for line in trainer.state.log_history if "reward" in line]
    assert step["rewards/SimulationEnvironment/mean"] == 0.5
    assert step["tools/call_frequency"] == 1
    assert step["tools/failure_frequency"] == 0
    assert any(not torch.equal(before[name], value) for name, value in model.named_parameters())
