"""Rollouts by vLLM: `client.training.rollout.sample`, in a process and a Python environment of its own.

vLLM pins its torch, transformers and much else, so it has an environment of its own, whose Python `hospital.toml` names
(docs/howto/vllm.md); `vllm_serve` runs there. It holds a second copy of the base on the same device, and is handed what
the decoder reads, that is what the vision tower or the slide projector made, and each request's experts as one LoRA.

A patient's rollouts must not depend on who else was drawn (docs/adr/0016). One call's requests are one patient's, as every
sampler's are; vLLM batches them with each other alone, and keeps no prefix from one call to the next. docs/adr/0047.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from client.errors import ClientError
from client.model.experts import Experts
from client.model.forward import Query, embedded
from client.model.stop import Stop
from client.model.visual import encode_images
from client.training import memory, rollout
from privacy.experts import SCALES, tasks_at

SERVED = "0.32"  # releases of vLLM: what is asked of it changes with others
SHARE = 0.4  # of the GPU memory that the hospital gives, for vLLM: its copy of the base, keys and values
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM makes room for
_LOG_BYTES = 1 << 20
_SERVE = Path(__file__).with_name("vllm_serve.py")
_SETTINGS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # one process: its batches follow from what is asked alone
    "VLLM_USE_V2_MODEL_RUNNER": "0",  # the other runner takes no logits processor
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
_OF_A_GPU = {"VLLM_BATCH_INVARIANT": "1"}  # else sums of adapters are added up in no fixed order
# Of the agent's own environment: what finds programs, libraries and devices, and nothing that would change vLLM.
_KEPT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "CUDA_HOME", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")
_PATIENCE_S = 3600
_PROBE = "How many?"
_PROBED = (16, 4)  # answers and their tokens


class EngineError(ClientError):
    """vLLM can't be started, ended, or does not compute what the base computes; its own words are in its log."""


@dataclass(frozen=True)
class _Start:
    """What vLLM is started for: the base's type, room for the ranks of one request's experts together, the longest prompt
    and answer together, and its share of a GPU's memory.
    """

    dtype: str
    rank: int
    longest: int
    share: float


class VllmSampler:
    """A `client.training.rollout.Sampler`. Starts vLLM with the first call, and anew where a call asks for more.

    python: of the environment that vLLM is installed in; base: the base's folder; place: a folder of the home for vLLM's
    log, caches and adapters; share: of a GPU's memory, what the hospital gives now (None: all).
    """

    def __init__(
        self, python: Path, base: Path, place: Path, share: Callable[[], float | None] = lambda: None
    ) -> None:
        self._python, self._base, self._place = python.absolute(), base.absolute(), place.absolute()
        self._share = share
        self._started: _Start | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Connection | None = None
        self._work: Path | None = None  # what vLLM reads and writes while it runs; gone with it
        self._prompt = 0  # most tokens of a prompt; a base's, so worked out once
        self._of: Experts | None = None
        # By who serves a request: the adapter's number, and the experts' version that vLLM has of it.
        self._held: dict[tuple[tuple[str, float], ...], tuple[int, int]] = {}

    def __call__(
        self, experts: Experts, queries: Sequence[Query], uniforms: Tensor, stop: Stop
    ) -> list[list[list[int]]]:
        """As `client.training.rollout.sample`. Raises `EngineError`."""
        wanted = self._wanted(experts, uniforms.shape[2])
        if self._started != wanted:
            self.close()
            self._start(experts, wanted)
        return self._sampled(experts, queries, uniforms, stop)

    def close(self) -> None:
        """End vLLM, and give its memory back; the next call starts it again."""
        process, self._process, self._started = self._process, None, None
        self._of, self._held = None, {}
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if process is not None:
            process.kill()
            process.wait()
        if self._work is not None:
            shutil.rmtree(self._work, ignore_errors=True)
            self._work = None

    @property
    def _log(self) -> Path:
        return self._place / "vllm.log"

    def _wanted(self, experts: Experts, most: int) -> _Start:
        base, given = experts.base, self._share()
        if not self._prompt:
            self._prompt = memory.longest_prompt(memory.Decoder.of(base))
        return _Start(
            str(base.model.dtype).removeprefix("torch."),
            _rank(experts),
            min(self._prompt + most, base.language_model.config.max_position_embeddings),
            SHARE * (1.0 if given is None else given),
        )

    def _start(self, experts: Experts, wanted: _Start) -> None:
        device = experts.base.device
        self._place.mkdir(mode=0o700, exist_ok=True)
        for left in self._place.glob("work-*"):  # by one that was killed with its agent
            shutil.rmtree(left, ignore_errors=True)
        self._work = Path(tempfile.mkdtemp(prefix="work-", dir=self._place))
        ours, theirs = socket.socketpair()
        how = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW
        log = os.open(self._log, how, 0o600)
        try:
            self._process = subprocess.Popen(
                [self._python, "-I", _SERVE, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(device, self._work),
                cwd=self._work,
                umask=0o077,
            )
        except OSError as error:
            self.close()
            raise EngineError(
                f"{self._python} can't be run: {error.strerror} (docs/howto/vllm.md)"
            ) from error
        finally:
            os.close(log)
            theirs.close()
        self._channel = Connection(ours.detach())
        version = self._ask(
            {
                "base": str(self._base),
                "folder": str(self._work),
                "dtype": wanted.dtype,
                "rank": wanted.rank,
                "longest": wanted.longest,
                "adapters": sum(len(tasks_at(scale)) for scale in SCALES),
                "device": {"gpu_memory_utilization": wanted.share}
                if device.type == "cuda"
                else {"enforce_eager": True},
            }
        )
        if not version.startswith(f"{SERVED}."):
            self.close()
            raise EngineError(f"{self._python} has vLLM {version}; served is {SERVED} (docs/howto/vllm.md)")
        self._agree(experts)
        self._started = wanted

    def _agree(self, experts: Experts) -> None:
        """A made-up question, asked of both: a base of which vLLM reads other weights, or reads them otherwise, must not
        go unnoticed. Rounding makes some answers differ: in float32 hardly any, in bfloat16 less than half.
        """
        base, (answers, tokens) = experts.base, _PROBED
        image = base.fit(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
        (visual,) = encode_images(base, [image])
        query = Query(experts.prompts.prompt(_PROBE, visual), visual)
        uniforms = torch.from_numpy(np.random.default_rng(0).random((1, answers, tokens)))
        asked = (experts, [query], uniforms, experts.prompts.stop())
        (theirs,), (ours,) = self._sampled(*asked), rollout.sample(*asked)
        equal = sum(one == other for one, other in zip(ours, theirs, strict=True))
        if equal < answers * (0.9 if base.model.dtype == torch.float32 else 0.5):
            self.close()
            raise EngineError(
                f"vLLM does not compute what this base computes: of {answers} answers {equal} are the same. Leave vllm out "
                "of hospital.toml, and tell the consortium which base it is"
            )

    def _environment(self, device: torch.device, work: Path) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        if device.type == "cuda":
            index, visible = device.index or 0, os.environ.get("CUDA_VISIBLE_DEVICES")
            kept |= {
                "CUDA_VISIBLE_DEVICES": visible.split(",")[index] if visible else str(index),
                **_OF_A_GPU,
            }
        return {**kept, **_SETTINGS, "HOME": str(self._place), "TMPDIR": str(work)}

    def _sampled(
        self, experts: Experts, queries: Sequence[Query], uniforms: Tensor, stop: Stop
    ) -> list[list[list[int]]]:
        group, version = uniforms.shape[1], experts.version
        adapters: dict[int, dict[str, tuple[Tensor, Tensor]]] = {}
        if self._of is not experts:
            self._of, self._held = experts, {}
        try:
            served = [self._adapter(experts, request, version, adapters) for request in range(len(queries))]
            if 0 in served and any(served):
                raise EngineError(
                    "some of a patient's requests have experts and some none: vLLM would mix them up"
                )
            prompts = [_prompt(experts, query) for query in queries]
            answers = self._ask(
                {
                    "adapters": adapters,
                    "served": [number for number in served for _ in range(group)],
                    "prompts": [prompt for prompt in prompts for _ in range(group)],
                    "uniforms": uniforms.flatten(0, 1).tolist(),
                    "ends": [stop.end] if stop.end >= 0 else [],
                    "stop": [stop.tag] if stop.tag else [],
                }
            )
        except BaseException:
            self._held = {}  # what was to be sent may not have been
            raise
        return [answers[i : i + group] for i in range(0, len(answers), group)]

    def _adapter(
        self, experts: Experts, request: int, version: int, new: dict[int, dict[str, tuple[Tensor, Tensor]]]
    ) -> int:
        """The number of the adapter that serves a request, put among the `new` where vLLM has not got it as it is now; 0
        where no expert serves it.
        """
        kind = experts.serves(request)
        if not kind:
            return 0
        number, held = self._held.get(kind, (len(self._held) + 1, -1))
        if held != version:
            self._held[kind] = number, version
            new[number] = {
                layer: (a.cpu().contiguous(), b.cpu().contiguous())
                for layer, (a, b) in experts.as_one(request).items()
            }
        return number

    def _ask(self, message: Mapping[str, Any]) -> Any:
        assert self._channel is not None, "asked before it was started"
        data = io.BytesIO()
        torch.save(dict(message), data)
        try:
            if self._log.stat().st_size > _LOG_BYTES:
                os.truncate(self._log, 0)
            self._channel.send_bytes(data.getbuffer())
            if not self._channel.poll(_PATIENCE_S):
                raise TimeoutError
            return json.loads(self._channel.recv_bytes())
        except (EOFError, OSError, ValueError) as error:
            self.close()
            raise EngineError(f"vLLM ended, or did not answer: {self._log} says why") from error


def _rank(experts: Experts) -> int:
    """Room for the most ranks that a scale expert and a task expert have together."""
    ranks = {name: form.rank for name, form in experts.forms.items()}
    most = max(
        ranks.get(f"scale/{scale}", 0) + max(ranks.get(f"task/{task}", 0) for task in tasks_at(scale))
        for scale in SCALES
    )
    if most > _RANKS[-1]:
        raise EngineError(
            f"a scale and a task expert have {most} ranks together, and vLLM takes {_RANKS[-1]}: leave vllm out of "
            "hospital.toml for this campaign"
        )
    return next(rank for rank in _RANKS if rank >= most)


def _prompt(experts: Experts, query: Query) -> dict[str, Any]:
    """A query as vLLM takes it.

    Where a region's positions are those of its grid, vLLM works them out, of one placeholder and the grid; all else stands
    as text does, and the decoder's own inputs are handed over.
    """
    base, prompt, visual = experts.base, query.prompt, query.visual
    if base.architecture.axes == 1 or visual.grid is None:
        embeds, _ = embedded(experts, [query])
        return {"prompt_embeds": embeds[0].cpu()}
    merge = base.model.config.vision_config.spatial_merge_size
    rows, columns = visual.grid
    placeholder = prompt.visual & ~prompt.visual.roll(1)
    return {
        "prompt_token_ids": prompt.ids[placeholder | ~prompt.visual].tolist(),
        "multi_modal_data": {
            "image": {
                "image_embeds": torch.cat([visual.tokens, *visual.deepstack], dim=1).cpu(),
                "image_grid_thw": torch.tensor([[1, rows * merge, columns * merge]]),
            }
        },
    }
