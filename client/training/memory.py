"""What a round needs of memory, said before it trains: from the base's sizes, the plan and `Performance`; and what answers
need, where questions are asked.

Everything here is public: the longest prompts and answers are the round's bounds (what is longer trains nothing), not
those of this hospital's data, so that a refusal tells nothing of them. The need errs on the safe side: where the budgets
of `Performance` are used up, the measured peak is at most the need, and at least a quarter of it
(`test_training_memory.py`).

Letters: w width, q and k widths of all queries and all keys, f inner width, e bytes a value, R ranks of the active
experts together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from client.errors import ClientError
from client.model.adapters import is_four_bit
from client.model.base import Base
from client.model.visual import IMAGES_A_PASS
from client.training.batch import Performance
from client.training.cohort import PROMPT_TOKENS
from client.training.sft import THOUGHT_TOKENS
from privacy.descent import SEPARATOR
from privacy.experts import LAYERS, ROUTER

FRAME_TOKENS = 64  # at most, of the marks about an image's frames
FORM_TOKENS = 40  # at most, of the tags about thought and answer
SHORTEST = 32  # tokens of the shortest prompt that is reckoned with
FLOAT, DOUBLE = 4, 8
ROWS = (128, 64, 32, 16, 8, 4, 2, 1)  # questions that may be answered at once

LADDER = (
    Performance(),
    Performance(patients=32),
    Performance(patients=16, sampled_tokens=32768),
    Performance(patients=16, sampled_tokens=32768, checkpointing=True),
    Performance(patients=8, tokens=2048, sampled_tokens=16384, checkpointing=True),
    Performance(patients=4, tokens=1024, sampled_tokens=8192, checkpointing=True),
    Performance(patients=1, tokens=512, sampled_tokens=4096, checkpointing=True),
)


class DeviceMemoryError(ClientError):
    """Work that no setting brings down to the memory that there is."""


@dataclass(frozen=True)
class Need:
    """Bytes of memory: of the device's, but for the inputs, which lie in the machine's.

    weights: base and experts, where they lie; descent: start, weights and both moments, and a step's sum and noise;
    gradients: of the patients held together; activations: kept for a backward pass, and what it computes;
    logits: of a training pass; sampling: of a sampling pass, its keys and values, logits and merged experts;
    encoding: of the vision tower. Training, sampling and encoding take turns. inputs: what the patients held together show the
    model, all of it, and the numbers that sample their rollouts.
    """

    weights: int
    descent: int
    gradients: int
    activations: int
    logits: int
    sampling: int
    encoding: int
    inputs: int

    @property
    def more(self) -> int:
        """What is needed of the device beside the weights."""
        training = self.activations + self.logits
        return self.descent + self.gradients + max(training, self.sampling, self.encoding)

    @property
    def total(self) -> int:
        """The most of the device at any time."""
        return self.weights + self.more

    def fits(self, free: int, machine: int | None) -> bool:
        """Whether it does beside the weights: into the device's `free` bytes, and the inputs into the `machine`'s; None where
        the device is the machine.
        """
        if machine is None:
            return self.more + self.inputs <= free
        return self.more <= free and self.inputs <= machine

    def __str__(self) -> str:
        parts = ", ".join(f"{field.name} {gibibytes(getattr(self, field.name))}" for field in fields(self))
        return f"{gibibytes(self.total)} ({parts})"


@dataclass(frozen=True)
class Decoder:
    """The sizes of a base's language model that its memory follows from; `visual` is the most visual tokens of an input,
    `shown` the most bytes of one, `encoding` the bytes of the vision tower over one pass of images.
    """

    layers: int
    width: int
    queries: int
    keys: int
    inner: int
    vocabulary: int
    itemsize: int
    visual: int
    shown: int
    encoding: int
    packed: bool = False  # whether linear layers' weights are 4-bit

    @classmethod
    def of(cls, base: Base) -> Decoder:
        """The sizes of a loaded base."""
        config, pixels = base.language_model.config, base.scales.roi_pixels
        region = base.architecture.largest(pixels).tokens
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        itemsize = base.language_model.embed_tokens.weight.element_size()
        deepstack = getattr(base.model.config.vision_config, "deepstack_visual_indexes", None) or ()
        return cls(
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            queries=head * config.num_attention_heads,
            keys=head * config.num_key_value_heads,
            inner=config.intermediate_size,
            vocabulary=config.vocab_size,
            itemsize=itemsize,
            visual=max(base.scales.wsi_max_tokens, region),
            shown=itemsize
            * max(
                base.scales.wsi_max_tokens * base.projector.inner.in_features,
                region * config.hidden_size * (1 + len(deepstack)),
            ),
            encoding=max(
                _encoding(base.model.config, region, itemsize),
                0 if base.slide_encoder is None else _tiles(base.slide_encoder.model.config, itemsize),
            ),
            packed=any(is_four_bit(module) for module in base.language_model.modules()),
        )

    @property
    def dense_layer(self) -> int:
        """Values of a layer's adapted weights."""
        return self.width * (2 * self.queries + 2 * self.keys + 3 * self.inner)

    @property
    def factors_a_rank(self) -> int:
        """Values of A and B of all of a layer's adapted weights, a rank."""
        return 7 * self.width + 2 * self.queries + 2 * self.keys + 3 * self.inner


def _encoding(config: Any, tokens: int, itemsize: int) -> int:
    """Of a pass of the largest regions, which become so many tokens each, of `merge` by `merge` patches."""
    vision = config.vision_config
    merge = getattr(vision, "spatial_merge_size", None) or config.scale_factor
    patches = IMAGES_A_PASS * tokens * merge**2
    return patches * (8 * vision.hidden_size + 2 * vision.intermediate_size) * itemsize


def _tiles(config: Any, itemsize: int) -> int:
    """Of a pass of tiles through a slide encoder."""
    tokens = IMAGES_A_PASS * (1 + (config.image_size // config.patch_size) ** 2)
    inner = getattr(config, "intermediate_size", None) or config.mlp_ratio * config.hidden_size
    return int(tokens * (8 * config.hidden_size + 2 * inner) * itemsize)


def need(
    decoder: Decoder,
    weights: int,
    trained: Mapping[str, Sequence[int]],
    rank: int,
    performance: Performance,
    samples: int,
    rollouts: int,
    longest_answer: int,
) -> Need:
    """What training needs at most: `weights` bytes lie on the device, `trained` are the shapes of what trains.

    `rank` is the highest of the plan's experts, all of whose columns are in the forward pass, whatever trains; `samples` (a
    patient's), `rollouts` and `longest_answer` are the plan's too, and in SFT there are no rollouts.
    """
    sizes = [math.prod(shape) for shape in trained.values()]
    answers = max(1, rollouts)
    answer = longest_answer if rollouts else longest_answer + THOUGHT_TOKENS + FORM_TOKENS
    prompt = longest_prompt(decoder)
    tokens = max(performance.tokens, prompt + answer)  # the longest answer is a batch of its own
    patients = performance.patients
    return Need(
        weights=weights,
        descent=sum(sizes) * (5 * FLOAT + 3 * DOUBLE),
        gradients=patients * (sum(sizes) * FLOAT + 2 * max(sizes, default=0) * DOUBLE),
        activations=_activations(decoder, tokens, answers, 2 * rank, performance.checkpointing)
        + _per_row(trained, tokens, answers),
        logits=_answer_tokens(tokens, answers) * decoder.vocabulary * (decoder.itemsize + 3 * FLOAT),
        sampling=_sampling(decoder, max(performance.sampled_tokens, answers * (prompt + answer)), answer)
        + _held(decoder, rank, len({name.split(SEPARATOR)[0] for name in trained}) if rollouts else 0),
        encoding=decoder.encoding,
        inputs=patients * samples * (decoder.shown + rollouts * longest_answer * DOUBLE),
    )


def longest_prompt(decoder: Decoder) -> int:
    """Tokens of the longest prompt of a round, its image's among them."""
    return decoder.visual + FRAME_TOKENS + PROMPT_TOKENS


def _activations(decoder: Decoder, tokens: int, answers: int, rank: int, checkpointing: bool) -> int:
    """Of all layers, or with checkpointing every layer's input and one layer's inner values; and what one layer's
    backward pass computes.

    A layer keeps the inputs of both norms in float32, queries before and after their norm, keys and values, attention's
    result, three inner values, and seven products with A. Answers attend to a copy of their prompt's keys and values.
    """
    d, e = decoder, decoder.itemsize
    whole = 4 * d.width * max(e, FLOAT) + (4 * d.queries + 4 * d.keys + 3 * d.inner) * e + 7 * rank * FLOAT
    copies = 2 * (d.keys + d.queries) * e if answers > 1 else 2 * d.keys * e
    kept = (d.width + 2 * d.keys) * e + (2 * d.keys * e) * answers
    backward = tokens * (3 * d.inner + 2 * d.width) * max(e, FLOAT)
    backward += d.width * d.inner * e if d.packed else 0  # one weight at a time is made dense
    layer = tokens * whole + tokens * answers * copies
    if checkpointing:
        return d.layers * tokens * kept + layer + backward
    return d.layers * layer + backward


def _per_row(trained: Mapping[str, Sequence[int]], tokens: int, answers: int) -> int:
    """One layer's gradient a row, before rows are added up by patient."""
    largest = max((math.prod(shape) for shape in trained.values()), default=0)
    return 2 * _rows(tokens, answers) * largest * FLOAT


def _rows(tokens: int, answers: int) -> int:
    return math.ceil(tokens * answers / (SHORTEST + SHORTEST // 4 * answers))


def _answer_tokens(tokens: int, answers: int) -> int:
    """How many tokens of a pass are answers': half of it where each prompt has one, nearly all where it has many."""
    return tokens // 2 if answers == 1 else tokens


def _sampling(decoder: Decoder, tokens: int, answer: int) -> int:
    """Keys and values twice, as their buffers grow out of the prompts'; the next token's distribution in float64."""
    d, e = decoder, decoder.itemsize
    cached = 2 * tokens * d.layers * 2 * d.keys * e
    rows = math.ceil(tokens / (SHORTEST + answer))
    distribution = rows * d.vocabulary * (e + 2 * FLOAT + 2 * DOUBLE)
    reading = rows * SHORTEST * (2 * d.width + 2 * d.inner) * e
    return cached + distribution + reading


def _held(decoder: Decoder, rank: int, tasks: int) -> int:
    """The active experts, ready for sampling, of which so many tasks' train: the scale expert one matrix a layer with a
    float32 base's, and so the task expert where one only trains; else the factors of all.
    """
    d = decoder
    merges = d.itemsize == FLOAT and not d.packed
    whole = d.dense_layer * FLOAT if merges else 0
    factors = (0 if tasks <= 1 else tasks) if merges else 1 + tasks
    return d.layers * (whole + d.factors_a_rank * factors * rank * d.itemsize)


def fitting(
    decoder: Decoder,
    weights: int,
    trained: Mapping[str, Sequence[int]],
    rank: int,
    free: int,
    machine: int | None,
    samples: int,
    rollouts: int,
    longest_answer: int,
) -> tuple[Performance, Need]:
    """The fastest of the ladder that fits (`Need.fits`), and its need. Raises `DeviceMemoryError` where none does."""
    for performance in LADDER:
        wanted = need(decoder, weights, trained, rank, performance, samples, rollouts, longest_answer)
        if wanted.fits(free, machine):
            return performance, wanted
    raise DeviceMemoryError(
        f"the round needs at least {_beside(wanted, free, machine)}: take a larger device or a smaller base, or ask for lower "
        "ranks, fewer rollouts or samples, or shorter answers"
    )


def answering(
    decoder: Decoder, weights: int, rank: int, tasks: int, free: int, machine: int | None, longest_answer: int
) -> tuple[int, Need]:
    """How many questions can be answered at once, each by itself, and what that needs; `tasks` are how many task experts
    there are. Raises `DeviceMemoryError` where not even one can.
    """
    for rows in ROWS:
        prompts = rows * longest_prompt(decoder)
        reading = prompts * 2 * (decoder.width + decoder.inner) * decoder.itemsize
        wanted = Need(
            weights=weights,
            descent=0,
            gradients=0,
            activations=0,
            logits=0,
            sampling=_sampling(decoder, prompts + rows * longest_answer, longest_answer)
            + reading
            + _held(decoder, rank, tasks),
            encoding=decoder.encoding,
            inputs=rows * decoder.shown,
        )
        if wanted.fits(free, machine):
            return rows, wanted
    raise DeviceMemoryError(
        f"an answer needs at least {_beside(wanted, free, machine)}: take a larger device or a smaller base, or ask for lower "
        "ranks or shorter answers"
    )


def _beside(wanted: Need, free: int, machine: int | None) -> str:
    has = f"{wanted}, of which {gibibytes(wanted.more)} beside the weights, but the device has {gibibytes(free)} free"
    return has if machine is None else f"{has}, and the machine {gibibytes(machine)} for inputs"


def next_smaller(performance: Performance) -> Performance | None:
    """The ladder's next rung down that computes less of one patient at once, and no more in any respect; None on the last."""

    def size(one: Performance) -> tuple[int, int, bool]:
        return one.tokens, one.sampled_tokens, not one.checkpointing

    for rung in LADDER:
        smaller = all(a <= b for a, b in zip(size(rung), size(performance), strict=True))
        if smaller and size(rung) != size(performance):
            return rung
    return None


def expert_shapes(base: Base, experts: Iterable[str], rank: int) -> dict[str, tuple[int, int]]:
    """What these LoRA experts would train at this rank, all layers adapted: before any is attached."""
    names = [name for name in experts if name != ROUTER]
    return {
        f"{expert}::{name}.lora_B": (module.out_features, rank)
        for name, module in base.language_model.named_modules()
        if isinstance(module, nn.Linear) and name.rsplit(".", 1)[-1] in LAYERS
        for expert in names
    }


def cap(device: torch.device, share: float | None) -> None:
    """Keep this process' tensors within a share of a GPU's memory (None: all of it), and give back what it holds in reserve;
    elsewhere nothing is capped.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(1.0 if share is None else share, device)


def within_share(free: int, total: int, allocated: int, share: float | None) -> int:
    """What may still be allocated of a device's `total` bytes: of those that are `free`, within the share; may be negative."""
    return free if share is None else min(free, int(share * total) - allocated)


def free_bytes(device: torch.device, share: float | None = None) -> int:
    """What the device can still give this process: a GPU's free memory, of which it may have a share in all, or the
    machine's within this process' cgroup.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        allocated = torch.cuda.memory_allocated(device)
        return within_share(free + torch.cuda.memory_reserved(device) - allocated, total, allocated, share)
    return _machine_free()


def machine_free(device: torch.device) -> int | None:
    """What the machine's memory still gives this process beside the device's; None where the device is the machine."""
    return _machine_free() if device.type == "cuda" else None


def _machine_free() -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return min(int(lines["MemAvailable"].split()[0]) << 10, _cgroup_free())


def _cgroup_free(folder: Path = Path("/sys/fs/cgroup")) -> int:
    """What is left of the cgroup's limit; without bound where there is none."""
    try:
        most, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return int(most) - int(used)  # "max" is no number
    except (OSError, ValueError):
        return 1 << 62


def weights(base: Base) -> int:
    """Bytes of the base's weights, a slide encoder's among them, where they lie."""
    encoder = () if base.slide_encoder is None else base.slide_encoder.model.parameters()
    return resident((*base.model.parameters(), *encoder))


def resident(tensors: Iterable[Tensor]) -> int:
    """Bytes of these tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def gibibytes(count: int) -> str:
    """For the reader: "1.5 GiB", "12 MiB"."""
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MiB"
