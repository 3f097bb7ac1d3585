"""A worker of a hospital with several GPUs: `python -m client.worker HOME RANK SIZE`, started by the agent.

It shares the agent's network namespace and user, takes the gradients of the patients that the agent names, from slides as
the agent has them indexed, and has neither ledger nor keys nor manifest nor a door of its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from client.expert_states import ExpertStates
from client.home import Home
from client.model.base import Base
from client.model.experts import Experts
from client.model.inputs import InputLoader
from client.model.slide_features import SlideFeatures
from client.sampler import settle, vllm_of
from client.slides.slide import Slide
from client.tasks.segmenter import use_segmenter
from client.training import rollout
from client.training.distributed import joined
from privacy.details import keep_details
from privacy.plan import Plan


def main(home: Home, rank: int, size: int) -> None:
    """Meet the agent, load the base on a GPU of its own, and work until the agent ends it or goes away."""
    with joined(home.meeting, rank, size) as team:
        device = f"cuda:{rank}" if torch.cuda.is_available() else "cpu"
        base = Base.load(home.settings.base, device)
        vllm = vllm_of(home, rank, lambda: home.policy.gpu_memory_share)
        states = ExpertStates(base)

        def load(plan: Plan, parts: Mapping[str, bytes]) -> Experts:
            settle(home, base.device, vllm, home.policy.gpu_memory_share, plan.stage == "grpo")
            return states.load(plan, parts)

        features = SlideFeatures(base, home.features)

        def open_inputs(slides: Mapping[str, Slide]) -> InputLoader:
            use_segmenter(home.settings.segmenter, slides, device)
            return InputLoader(slides, features)

        team.follow(load, open_inputs, vllm or rollout.sample)


if __name__ == "__main__":
    os.umask(0o077)
    place, own_rank = Home(Path(sys.argv[1])), int(sys.argv[2])
    keep_details(place.details(own_rank))
    main(place, own_rank, int(sys.argv[3]))
