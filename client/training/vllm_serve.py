"""vLLM's side of `client.training.vllm`: `python vllm_serve.py FD`, run by the Python that vLLM is installed for.

That environment has vLLM and what vLLM brings, and nothing of FedPath: this file imports nothing else. FD is a socket
that was inherited. The first message says how to start, each further one is a batch of requests; they come as torch saves
values and tensors. Answers are JSON: vLLM's version, then each request's tokens.

A token is chosen by inversion with the uniform number that its request brings for its place, as in
`client.training.rollout`: so vLLM has no randomness of its own, and what it samples can be held against what we sample.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from vllm import LLM, SamplingParams, __version__
from vllm.lora.request import LoRARequest
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality

UNIFORMS = "uniforms"
_NO_WEIGHTS_OF_THE_MODEL = "projector.safetensors"
_AT_ONCE = 64  # requests: more than a patient has, and a bound of what choosing tokens takes


class Inversion(LogitsProcessor):
    """Leaves each row the one token that its next uniform number chooses."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        self._rows: dict[int, tuple[Sequence[float], list[int]]] = {}

    def is_argmax_invariant(self) -> bool:
        """It decides what is most likely."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow which request is which row; a request's tokens so far are a list that vLLM adds to."""
        if batch_update is None:
            return
        rows = self._rows
        for row in batch_update.removed:
            rows.pop(row, None)
        for row, params, _, tokens in batch_update.added:
            rows[row] = params.extra_args[UNIFORMS], tokens
        for one, other, direction in batch_update.moved:
            moved, back = rows.pop(one, None), rows.pop(other, None)
            if moved is not None:
                rows[other] = moved
            if back is not None and direction is MoveDirectionality.SWAP:
                rows[one] = back

    def apply(self, logits: Tensor) -> Tensor:
        """logits [N, vocabulary], a row for each request of the batch."""
        if not self._rows:
            return logits
        places = [self._rows[row] for row in range(len(logits))]
        uniforms = torch.tensor([numbers[len(tokens)] for numbers, tokens in places], dtype=torch.float64)
        cumulative = torch.softmax(logits.float(), dim=-1).double().cumsum(-1)
        aim = uniforms.to(logits.device)[:, None] * cumulative[:, -1:]
        chosen = torch.searchsorted(cumulative, aim, right=True).clamp_(max=logits.shape[-1] - 1)
        return logits.fill_(float("-inf")).scatter_(1, chosen, 0.0)


class Engine:
    """One base in vLLM, and the adapters that its requests are served by."""

    def __init__(self, start: Mapping[str, Any]) -> None:
        self._folder = Path(start["folder"])
        self._llm = LLM(
            model=str(_model_alone(Path(start["base"]), self._folder / "base")),
            dtype=start["dtype"],
            max_model_len=start["longest"],
            enable_lora=True,
            max_lora_rank=start["rank"],
            max_loras=start["adapters"],
            enable_prompt_embeds=True,
            enable_mm_embeds=True,
            limit_mm_per_prompt={"image": 1},
            skip_mm_profiling=True,
            max_num_seqs=_AT_ONCE,
            mm_processor_cache_gb=0,
            enable_prefix_caching=True,  # a group's prompt is read once
            async_scheduling=False,  # a row's place is how many tokens it has
            logits_processors=[Inversion],
            disable_log_stats=True,
            generation_config="vllm",  # nothing that the base's folder says of sampling
            **start["device"],
        )

    def sample(self, asked: Mapping[str, Any]) -> list[list[int]]:
        """The tokens of each request, the one that ended it last; `served` is which adapter each has, `adapters` those
        that are new or changed.
        """
        for number, factors in asked["adapters"].items():
            self._load(number, factors)
        told = self._llm.generate(
            asked["prompts"],
            [
                SamplingParams(
                    temperature=0.0,
                    max_tokens=len(uniforms),
                    stop=asked["stop"],
                    include_stop_str_in_output=True,
                    stop_token_ids=asked["ends"],
                    ignore_eos=True,
                    skip_special_tokens=False,
                    spaces_between_special_tokens=False,
                    extra_args={UNIFORMS: uniforms},
                )
                for uniforms in asked[UNIFORMS]
            ],
            lora_request=[self._adapter(number) if number else None for number in asked["served"]],
            use_tqdm=False,
        )
        self._forget()
        answers = [output.outputs[0] for output in told]
        for answer, uniforms in zip(answers, asked[UNIFORMS], strict=True):
            whole = len(answer.token_ids) == len(uniforms)
            if answer.finish_reason != "stop" and not (answer.finish_reason == "length" and whole):
                raise RuntimeError(
                    f"an answer of {len(answer.token_ids)} tokens ended by {answer.finish_reason}"
                )
        return [list(answer.token_ids) for answer in answers]

    def _forget(self) -> None:
        """The next requests are another patient's. What is left in memory that is given out anew must not reach them, not
        even where attention gives it no weight: nothing times infinity is no number.
        """
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("a request is still under way")
        self._llm.llm_engine.reset_encoder_cache()  # what is in it would be scheduled otherwise
        self._llm.collective_rpc(_clear)

    def _adapter(self, number: int, changed: bool = False) -> LoRARequest:
        return LoRARequest(str(number), number, str(self._folder / str(number)), load_inplace=changed)

    def _load(self, number: int, factors: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Factors `A` [r, in] and `B` [out, r] by layer, given to vLLM as it reads them: a folder as peft writes it."""
        folder = self._folder / str(number)
        folder.mkdir(exist_ok=True)
        rank = next(iter(factors.values()))[0].shape[0]
        layers = sorted({layer.rsplit(".", 1)[-1] for layer in factors})
        config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": layers}
        (folder / "adapter_config.json").write_text(json.dumps(config))
        named = {
            f"base_model.model.{layer}.lora_{letter}.weight": factor
            for layer, both in factors.items()
            for letter, factor in zip("AB", both, strict=True)
        }
        save_file(named, folder / "adapter_model.safetensors")
        self._llm.llm_engine.add_lora(self._adapter(number, changed=True))


@torch.inference_mode()
def _clear(worker: Any) -> None:
    caches = worker.model_runner.kv_caches
    if not caches:
        raise RuntimeError("there is no cache of keys and values to clear")
    for cache in caches:
        cache.zero_()


def _model_alone(base: Path, folder: Path) -> Path:
    """The base's files without the weights that are not the model's: vLLM reads every one that it finds."""
    folder.mkdir()
    for path in base.iterdir():
        if path.is_file() and path.name != _NO_WEIGHTS_OF_THE_MODEL:
            (folder / path.name).symlink_to(path.resolve())
    return folder


def main(channel: Connection) -> None:
    """Start as the first message says, then answer until the other end is closed."""
    start = _hear(channel)
    threading.Thread(target=_end_with, args=(os.getppid(), start["folder"]), daemon=True).start()
    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(start["device"]["gpu_memory_utilization"])
    engine = Engine(start)
    _say(channel, __version__)
    while True:
        try:
            asked = _hear(channel)
        except EOFError:
            return
        _say(channel, engine.sample(asked))


def _end_with(parent: int, folder: str) -> None:
    """The agent may go at any time, and its successor wants the memory: nothing is left of this process then."""
    while os.getppid() == parent:
        time.sleep(1)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def _hear(channel: Connection) -> Any:
    return torch.load(io.BytesIO(channel.recv_bytes()), weights_only=True)


def _say(channel: Connection, what: object) -> None:
    channel.send_bytes(json.dumps(what).encode())


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])))
