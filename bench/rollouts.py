"""Rollouts by vLLM beside our own sampler: one patient's questions, the same uniform numbers.

    python -m bench.rollouts --vllm PYTHON [--base FOLDER] [--quick] [--json]

A call is one patient's: four questions about regions, eight answers each, of at most 256 tokens. The ratio is our time over
vLLM's, above 1 where vLLM is faster: the median over interleaved repeats, in seconds. `equal` is the share of equal
answers: in float32 nearly all, in bfloat16 those that rounding left alone.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch

from bench import command
from bench.privacy_timing import interleaved
from client.model.base import Base
from client.model.experts import Experts, attach
from client.model.forward import Query
from client.model.gates import declared
from client.model.stop import Stop
from client.model.visual import encode_images
from client.training import rollout
from client.training.rollout import Sampler
from client.training.vllm import VllmSampler
from demo.house import EMBEDDED
from privacy.experts import EXPERTS, same_form, tasks_at

ASKED = {
    "classification": "Which tissue is this?",
    "detection": "Mark every gland.",
    "segmentation": "Outline the tumour.",
    "vqa": "How many glands are there?",
}
ROLLOUTS, TOKENS, REPEATS = 8, 256, 5


def measure(python: Path, folder: Path, *, quick: bool) -> Mapping[str, object]:
    """All figures.  Progress goes to stderr."""
    base = Base.load(folder, "cuda" if torch.cuda.is_available() else "cpu")
    experts = attach(base, same_form(EXPERTS, 16, 32.0), seed=0)
    _randomise(experts)
    queries, tokens = _queries(experts), 32 if quick else TOKENS
    shape = (len(queries), ROLLOUTS, tokens)
    uniforms = torch.from_numpy(np.random.default_rng(0).random(shape))
    with tempfile.TemporaryDirectory() as place:
        vllm = VllmSampler(python, folder, Path(place) / "vllm")
        try:
            with experts.gated("roi", declared(list(ASKED), tasks_at("roi"))):
                return _compared(experts, queries, uniforms, vllm, 2 if quick else REPEATS)
        finally:
            vllm.close()


def _compared(
    experts: Experts, queries: list[Query], uniforms: torch.Tensor, vllm: Sampler, repeats: int
) -> Mapping[str, object]:
    samplers: dict[str, Sampler] = {"ours": rollout.sample, "vllm": vllm}
    stop = Stop(-1)  # all answers as long as they may be: the same work, whatever is said
    answers: dict[str, list[list[int]]] = {}

    def once(name: str) -> float:
        command.measuring(name)
        start = time.perf_counter()
        found = samplers[name](experts, queries, uniforms, stop)
        took = time.perf_counter() - start
        answers[name] = [answer for group in found for answer in group]
        return took

    taken = interleaved({name: partial(once, name) for name in samplers}, repeats)
    equal = [one == other for one, other in zip(*answers.values(), strict=True)]
    ratios = [ours / theirs for ours, theirs in zip(*taken.values(), strict=True)]
    return {
        "device": str(experts.base.device),
        "type": str(experts.base.model.dtype),
        "answers": len(equal),
        "tokens_an_answer": uniforms.shape[2],
        **{
            f"tokens_a_second_{name}": round(uniforms.numel() / statistics.median(s), 1)
            for name, s in taken.items()
        },
        "ratio_ours_to_vllm": round(statistics.median(ratios), 2),
        "ratio_least_and_most": [round(min(ratios), 2), round(max(ratios), 2)],
        "equal": round(sum(equal) / len(equal), 3),
    }


def _randomise(experts: Experts) -> None:
    generator = torch.Generator().manual_seed(0)
    parameters = experts.trainable(experts.names)
    experts.write({key: 0.02 * torch.randn(p.shape, generator=generator) for key, p in parameters.items()})


def _queries(experts: Experts) -> list[Query]:
    side = experts.base.scales.roi_pixels
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    (visual,) = encode_images(experts.base, [experts.base.fit(image)])
    return [Query(experts.prompts.prompt(question, visual), visual) for question in ASKED.values()]


def main() -> None:
    """Command line."""
    parser = command.options(__doc__, "short answers: proves that it runs")
    parser.add_argument("--vllm", type=Path, required=True, help="the Python of an environment that has vLLM")
    parser.add_argument("--base", type=Path, default=EMBEDDED, help="a base's folder (the embedded one)")
    asked = parser.parse_args()
    command.show({"rollouts": measure(asked.vllm, asked.base, quick=asked.quick)}, asked.json)


if __name__ == "__main__":
    main()
