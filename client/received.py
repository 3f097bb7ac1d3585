"""The experts that the coordinator sent last, kept in the home for `evaluate` and `ask`.

They are the model as it stood when it was sent: before the round that it was sent for. They hold nothing of this
hospital's that has not left it as a release.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from client.expert_states import Asked
from privacy.evaluation import Evaluation, NoisedEvaluation
from privacy.expert_folder import write_experts
from privacy.plan import Plan


def keep_received(folder: Path, asked: Asked, parts: Mapping[str, bytes]) -> None:
    """Keep the states of a request that were checked, in place of those before; a request without any changes nothing."""
    if asked.experts_hash:
        states = {name: parts[f"expert/{name}"] for name in asked.experts_hash}
        write_experts(folder, experts_of(asked), states)


def experts_of(asked: Asked) -> Evaluation:
    """Which experts a request names, and at what stage."""
    return Evaluation(
        stage=asked.point if isinstance(asked, NoisedEvaluation) else asked.stage,
        base_hash=asked.base_hash,
        experts_hash=asked.experts_hash,
        forms=asked.forms,
        expert_seed=asked.expert_seed,
        max_answer_tokens=asked.longest_answer if isinstance(asked, Plan) else asked.max_answer_tokens,
    )
