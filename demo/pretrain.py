"""Pretrains the embedded base on public procedural tissue and writes it as a Hugging Face folder.

    python -m demo.pretrain --steps 1500 --out client/model/embedded

Everything is trained at once: next-token loss on answers (coordinates with soft targets, because 480 for 490 is
nearly right), and a dense head on the visual tokens (tissue kind and objects, every four pixels) that is thrown
away afterwards; it teaches the vision tower where things are long before the language model can say so.
A checkpoint every 100 steps makes a killed run go on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from client.model.projector import Projector
from demo.base_data import DENSE_STRIDE, STEP, Asked, PublicBatch, PublicTissue
from demo.base_tokenizer import COORDINATES, build
from demo.tissue import FIELD, KINDS

SEED = 20261123
WORKERS = 2
WIDTH = 192
SLIDE_HIDDEN = 16  # of the slide projector: its second layer is noised whole, so it is kept small
TOKENS = 16  # visual tokens of a region
SOFT_WIDTH = 12.0  # deviation of a coordinate's soft target, in thousandths of the image
SCALES = {"roi_pixels": FIELD, "roi_mpp": 1.0, "wsi_mpp": 1.0, "wsi_max_tokens": 576, "coordinate_step": STEP}


def config(tokenizer: PreTrainedTokenizerFast) -> Qwen3VLConfig:
    """The architecture: Qwen3-VL, very small."""

    def ids(token: str) -> int:
        return int(tokenizer.convert_tokens_to_ids(token))  # type: ignore[arg-type]  # one token has one id

    positions = {"mrope_section": [6, 5, 5], "mrope_interleaved": True}
    return Qwen3VLConfig(
        text_config={
            "vocab_size": (len(tokenizer) + 7) // 8 * 8, "hidden_size": WIDTH, "intermediate_size": 512,
            "num_hidden_layers": 6, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 32,
            "max_position_embeddings": 1024, "pad_token_id": ids("<|pad|>"), "eos_token_id": ids("<|end|>"),
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, **positions},
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 4, "hidden_size": WIDTH, "intermediate_size": 768, "num_heads": 6, "patch_size": 16,
            "temporal_patch_size": 2, "spatial_merge_size": 2, "out_hidden_size": WIDTH,
            "num_position_embeddings": 64, "deepstack_visual_indexes": [1],
        },
        image_token_id=ids("<|image_pad|>"), video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"), vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=True,
    )  # fmt: skip


def patches(images: Tensor) -> Tensor:
    """uint8 [N, 128, 128, 3] -> [N * 64, 3 * 2 * 16 * 16]: Qwen's patches in merge order, the frame doubled in time."""
    n = images.shape[0]
    x = (images.float() / 127.5 - 1).permute(0, 3, 1, 2).reshape(n, 3, 4, 2, 16, 4, 2, 16)
    x = x.permute(0, 2, 5, 3, 6, 1, 4, 7)  # [N, gh, gw, mh, mw, C, ph, pw]
    return x.unsqueeze(6).expand(-1, -1, -1, -1, -1, -1, 2, -1, -1).reshape(n * 64, -1)


class Pretraining(nn.Module):
    """The base with what only pretraining needs: the dense head and the soft targets."""

    soft: Tensor

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.base = Qwen3VLForConditionalGeneration(config(tokenizer))
        self.base.set_attn_implementation(
            "eager"
        )  # short rows: its backward is faster here than the fused one
        self.projector = Projector(WIDTH, WIDTH, SLIDE_HIDDEN)
        nn.init.zeros_(self.projector.out.weight)
        nn.init.zeros_(self.projector.out.bias)
        self.cells = FIELD // DENSE_STRIDE // 4  # dense cells a side of one visual token
        self.dense = nn.Linear(WIDTH, self.cells**2 * (len(KINDS) + 1 + 4))
        soft = torch.eye(len(self.base.lm_head.weight))
        for suffix in ("", ","):
            ids = [tokenizer.encode(f"{c}{suffix}")[0] for c in COORDINATES]
            gap = torch.tensor(COORDINATES, dtype=torch.float32)
            kernel = torch.exp(-((gap[:, None] - gap) ** 2) / (2 * SOFT_WIDTH**2))
            soft[torch.tensor(ids)[:, None], torch.tensor(ids)] = kernel / kernel.sum(1, keepdim=True)
        self.register_buffer("soft", soft, persistent=False)

    def see(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Images -> visual tokens [N, 16, WIDTH] and the deepstack tokens of each level."""
        grid = torch.tensor([[1, 8, 8]]).expand(len(images), 3)
        out = self.base.model.visual(patches(images), grid_thw=grid)
        return out.pooler_output.reshape(-1, TOKENS, WIDTH), [
            d.reshape(-1, TOKENS, WIDTH) for d in out.deepstack_features
        ]

    def read(
        self, rows: list[Asked], visual: list[Tensor], deep: list[list[Tensor]] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Runs the language model over rows; returns logits, targets and target mask, each [N, L(, V)]."""
        encode = self.tokenizer.encode
        start, pad, end = (
            encode("<|user|><|vision_start|>"),
            encode("<|image_pad|>")[0],
            encode("<|vision_end|>"),
        )
        prefix = [
            start + [pad] * len(v) + end + encode(r.prompt) + encode("<|assistant|>")
            for r, v in zip(rows, visual, strict=True)
        ]
        answers = [encode(r.target) + encode("<|end|>") for r in rows]
        length = max(len(p) + len(a) for p, a in zip(prefix, answers, strict=True))
        ids = torch.zeros(len(rows), length, dtype=torch.long)
        mask = torch.zeros(len(rows), length, dtype=torch.long)
        target = torch.zeros(len(rows), length, dtype=torch.bool)
        for i, (p, a) in enumerate(zip(prefix, answers, strict=True)):
            ids[i, : len(p) + len(a)] = torch.tensor(p + a)
            mask[i, : len(p) + len(a)] = 1
            target[i, len(p) : len(p) + len(a)] = True
        embeds = self.base.model.get_input_embeddings()(ids)
        slots = ids == pad
        embeds = embeds.masked_scatter(slots[..., None], torch.cat(visual).to(embeds.dtype))
        text = self.base.model.language_model
        if deep is None:
            hidden = text(inputs_embeds=embeds, attention_mask=mask, use_cache=False).last_hidden_state
        else:
            positions = self.positions(length).expand(3, len(rows), length)
            levels = [torch.cat(level) for level in deep]
            hidden = text(
                inputs_embeds=embeds, attention_mask=mask, position_ids=positions, visual_pos_masks=slots,
                deepstack_visual_embeds=levels, use_cache=False,
            ).last_hidden_state  # fmt: skip
        picked = target[:, 1:]
        return self.base.lm_head(hidden[:, :-1][picked]), ids[:, 1:][picked], picked

    def positions(self, length: int) -> Tensor:
        """Qwen's 3-axis positions [3, 1, length] of a prompt that starts with two tokens and a 4 x 4 image."""
        where = torch.zeros(3, length, dtype=torch.long)
        where[:, :2] = torch.arange(2)
        where[0, 2:18] = 2
        where[1, 2:18] = 2 + torch.arange(4).repeat_interleave(4)
        where[2, 2:18] = 2 + torch.arange(4).repeat(4)
        where[:, 18:] = 6 + torch.arange(length - 18)
        return where[:, None]

    def losses(self, batch: PublicBatch) -> dict[str, Tensor]:
        """Mean loss of each part of one batch."""
        visual, deep = self.see(batch.images)
        out: dict[str, Tensor] = {}
        dense = self.dense(visual).reshape(-1, 4, 4, self.cells, self.cells, len(KINDS) + 5)
        dense = dense.permute(0, 5, 1, 3, 2, 4).reshape(
            len(visual), len(KINDS) + 5, 4 * self.cells, 4 * self.cells
        )
        out["kinds"] = F.cross_entropy(dense[:, : len(KINDS) + 1].float(), batch.kinds)
        weight = torch.tensor([0.5, 1.0, 1.0, 4.0])
        out["objects"] = F.cross_entropy(dense[:, len(KINDS) + 1 :].float(), batch.objects, weight)
        rois = sorted(batch.rois, key=lambda r: len(r.target) + len(r.prompt))
        half = len(rois) * 2 // 3  # two lengths of padding rather than one
        for rows in (rois[:half], rois[half:]):
            index = torch.tensor([r.source for r in rows])
            self._tell(out, rows, *self.read(rows, list(visual[index]), [list(d[index]) for d in deep]))
        slides = [self.projector(visual[torch.tensor(s)].mean(1)) for s in batch.slides]
        self._tell(
            out,
            batch.wsis,
            *self.read(batch.wsis, [slides[r.source] for r in batch.wsis], None),
            prefix="wsi ",
        )
        return out

    def _tell(
        self,
        out: dict[str, Tensor],
        rows: list[Asked],
        logits: Tensor,
        ids: Tensor,
        picked: Tensor,
        prefix: str = "",
    ) -> None:
        logp = F.log_softmax(logits.float(), -1)
        row = picked.nonzero()[:, 0]
        coordinates = torch.tensor([r.task in ("detection", "segmentation") for r in rows])[row]
        soft = -(self.soft[ids] * logp).sum(1)
        hard = -logp.gather(1, ids[:, None])[:, 0]
        each = torch.where(coordinates, soft, hard)
        by_row = torch.zeros(len(rows)).index_add(0, row, each) / torch.bincount(row, minlength=len(rows))
        tasks = [prefix + r.task for r in rows]
        for task in set(tasks):
            mine = by_row[torch.tensor([t == task for t in tasks])]
            key = f"{task}.sum"
            out[key] = out.get(key, torch.zeros(())) + mine.sum()
            out[f"{task}.n"] = out.get(f"{task}.n", torch.zeros(())) + len(mine)


def schedule(step: int, steps: int, peak: float) -> float:
    """Warm-up over 200 steps, then a cosine to a hundredth."""
    if step < 200:
        return peak * (step + 1) / 200
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - 200) / max(1, steps - 200))))


def start(steps: int, canvases: int, rows_an_image: int, peak: float, work: Path) -> Pretraining:
    """Builds the model, or loads the last checkpoint of `work` into it, and trains it to `steps` in WORKERS processes."""
    torch.manual_seed(SEED)
    work.mkdir(parents=True, exist_ok=True)
    asked = PublicTissue(SEED, 20, 6).batch(np.random.default_rng(SEED))
    module = Pretraining(
        build(sorted({r.prompt for r in asked.rois + asked.wsis} | {r.target for r in asked.wsis}))
    )
    spawn(train, (module, steps, canvases, rows_an_image, peak, work), nprocs=WORKERS)
    module.load_state_dict(torch.load(work / "checkpoint.pt", weights_only=True)["module"])
    return module


def train(
    rank: int, module: Pretraining, steps: int, canvases: int, rows_an_image: int, peak: float, work: Path
) -> None:
    """One of WORKERS equal processes, one core each: gradients are averaged, so that all hold the same model."""
    torch.set_num_threads(1)
    store = distributed.FileStore(  # type: ignore[attr-defined]
        str(work / f"rendezvous-{os.getppid()}"), WORKERS
    )
    distributed.init_process_group("gloo", rank=rank, world_size=WORKERS, store=store)
    optimiser = torch.optim.AdamW(module.parameters(), lr=peak, weight_decay=0.02, betas=(0.9, 0.98))
    saved, first = work / "checkpoint.pt", 0
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        module.load_state_dict(state["module"])
        optimiser.load_state_dict(state["optimiser"])
        first = int(state["step"])
    stream = PublicTissue(SEED + 1 + rank, canvases, rows_an_image, first)
    loader = iter(DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=4))
    began, sums = time.monotonic(), defaultdict(list)
    for step in range(first, steps):
        for group in optimiser.param_groups:
            group["lr"] = schedule(step, steps, peak)
        with torch.autocast("cpu", torch.bfloat16):
            parts = module.losses(next(loader))
        means = {k[:-4]: parts[k] / parts[k[:-4] + ".n"] for k in parts if k.endswith(".sum")}
        rows = sum(parts[k] for k in parts if k.endswith(".sum")) / sum(
            parts[k] for k in parts if k.endswith(".n")
        )
        loss = rows + 0.5 * parts["kinds"] + 1.0 * parts["objects"]
        optimiser.zero_grad(set_to_none=False)
        loss.backward()
        average_gradients(module)
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        for key, value in {**means, "kinds": parts["kinds"], "objects": parts["objects"]}.items():
            sums[key].append(float(value.detach()))
        if rank == 0 and (step + 1) % 50 == 0:
            line: dict[str, Any] = {"step": step + 1, "seconds": round(time.monotonic() - began, 1)}
            line |= {k: round(float(np.mean(v)), 4) for k, v in sorted(sums.items())}
            with (work / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            sums.clear()
        if rank == 0 and ((step + 1) % 100 == 0 or step + 1 == steps):
            state = {"module": module.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}
            torch.save(state, saved.with_suffix(".new"))
            saved.with_suffix(".new").replace(saved)
    distributed.destroy_process_group()


def average_gradients(module: nn.Module) -> None:
    """Replaces every gradient by its mean over the processes, in one message."""
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    distributed.all_reduce(flat)
    for gradient, mean in zip(
        gradients, flat.div_(WORKERS).split([g.numel() for g in gradients]), strict=True
    ):
        gradient.copy_(mean.view_as(gradient))


def export(module: Pretraining, out: Path) -> None:
    """Writes the base as bfloat16 safetensors with its tokenizer, processor sizes and slide projector."""
    out.mkdir(parents=True, exist_ok=True)
    base = module.base.bfloat16()
    base.generation_config.eos_token_id = module.tokenizer.eos_token_id
    base.generation_config.pad_token_id = module.tokenizer.pad_token_id
    base.save_pretrained(out)
    module.tokenizer.save_pretrained(out)
    weights = {k: v.to(torch.bfloat16).contiguous() for k, v in module.projector.state_dict().items()}
    save_file(weights, out / "projector.safetensors")
    processor = {
        "patch_size": 16, "temporal_patch_size": 2, "merge_size": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
        "size": {"shortest_edge": FIELD * FIELD, "longest_edge": FIELD * FIELD},
    }  # fmt: skip
    (out / "preprocessor_config.json").write_text(json.dumps(processor, indent=1) + "\n")
    (out / "fedpath.json").write_text(json.dumps(SCALES, indent=1) + "\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument(
        "--canvases", type=int, default=2, help="canvases a step and worker (about ten images each)"
    )
    parser.add_argument("--rows", type=int, default=3, help="questions an image")
    parser.add_argument("--peak", type=float, default=1e-3)
    parser.add_argument("--work", type=Path, default=Path("build/pretrain"))
    parser.add_argument("--out", type=Path, default=Path("client/model/embedded"))
    asked = parser.parse_args()
    export(start(asked.steps, asked.canvases, asked.rows, asked.peak, asked.work), asked.out)


if __name__ == "__main__":
    main()
