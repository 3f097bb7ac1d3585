"""TRL's SFTTrainer or GRPOTrainer; run by TRL's own environment:

    trl_training.py WORK sft WEIGHTS TRAINED LOSS
    trl_training.py WORK grpo WEIGHTS TRAINED BETA

For every line on stdin one optimiser step is taken, and the seconds that it took are printed.  It is refused where the
number of trained parameters, the first step's loss or the length of a rollout is not what the other side has.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from bench.training_work import (
    LEARNING_RATE,
    WORKS,
    Work,
    answers,
    clock,
    decoder,
    device,
    prompts,
    score,
    tokenizer,
)
from privacy.experts import LAYERS

STEPS = 64  # more than are ever asked for
SAME = 1e-3


class Pace(TrainerCallback):
    """A step for every line of stdin, its seconds to `out`."""

    def __init__(self, out: Any) -> None:
        self._out, self._begun = out, 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> Any:
        """Wait for the first line."""
        return self._next(control)

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> Any:
        """Tell, and wait for the next line."""
        print(clock() - self._begun, file=self._out, flush=True)
        return self._next(control)

    def _next(self, control: Any) -> Any:
        control.should_training_stop = not sys.stdin.readline()
        self._begun = clock()
        return control


class CheckedSFT(SFTTrainer):
    """Its first loss is held against the other side's."""

    expected: float | None = None

    def compute_loss(self, *args: Any, **more: Any) -> Any:
        """As TRL does."""
        loss = super().compute_loss(*args, **more)
        if self.expected is not None and abs(float(loss) - self.expected) > SAME * self.expected:
            raise SystemExit(
                f"the first loss is {float(loss)} and should be {self.expected}: not the same work"
            )
        self.expected = None
        return loss


def main() -> None:
    """Answer until stdin ends."""
    out, sys.stdout = sys.stdout, sys.stderr
    name, stage, weights, trained, number = sys.argv[1:]
    torch.set_num_threads(1)
    work = WORKS[name]
    model = decoder(work, Path(weights) if weights else None)
    with tempfile.TemporaryDirectory() as folder:
        if stage == "sft":
            trainer: Any = _sft(work, model, folder)
            trainer.expected = float(number)
        else:
            trainer = _grpo(work, model, folder, float(number))
        for key, parameter in trainer.model.named_parameters():
            if "lora_A" in key:  # the other side trains B alone
                parameter.requires_grad_(False)
        count = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
        if count != int(trained):
            raise SystemExit(f"{count} parameters train and not {trained}: not the same work")
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(Pace(out))
        trainer.train()


def _settings(folder: str, rows: int) -> dict[str, Any]:
    return {
        "output_dir": folder,
        "per_device_train_batch_size": rows,
        "max_steps": STEPS,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "gradient_checkpointing": False,
        "bf16": device() == "cuda",
        "use_cpu": device() == "cpu",
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def _lora(work: Work) -> LoraConfig:
    return LoraConfig(
        r=work.rank,
        lora_alpha=2 * work.rank,
        target_modules=list(LAYERS),
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )


def _sft(work: Work, model: Any, folder: str) -> SFTTrainer:
    words = tokenizer(work)
    asked, told = (make(work, work.sequences) for make in (prompts, answers))
    rows = [
        {
            "input_ids": words(f"{p} {a}")["input_ids"],
            "completion_mask": [0] * work.prompt + [1] * work.answer,
        }
        for p, a in zip(asked, told, strict=True)
    ]
    return CheckedSFT(
        model=model,
        args=SFTConfig(
            **_settings(folder, work.sequences),
            completion_only_loss=True,
            max_length=None,
            train_sampling_strategy="sequential",
        ),
        train_dataset=Dataset.from_list(rows * STEPS),
        processing_class=words,
        peft_config=_lora(work),
    )


def _grpo(work: Work, model: Any, folder: str, beta: float) -> GRPOTrainer:
    def rewards(completions: list[str], **more: Any) -> list[float]:
        return [score(text, work.completion) for text in completions]

    return GRPOTrainer(
        model=model,
        reward_funcs=rewards,
        args=GRPOConfig(
            **_settings(folder, work.prompts * work.group),
            num_generations=work.group,
            max_completion_length=work.completion,
            steps_per_generation=1,
            loss_type="dr_grpo",
            beta=beta,
            shuffle_dataset=False,
        ),
        train_dataset=Dataset.from_list([{"prompt": text} for text in prompts(work, work.prompts)] * STEPS),
        processing_class=tokenizer(work),
        peft_config=_lora(work),
    )


if __name__ == "__main__":
    main()
