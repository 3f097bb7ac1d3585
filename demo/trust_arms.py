"""The three trust modes of one stage of SFT, for the study: who adds noise, and how often.

| mode        | who sees what                                  | noise in the mean over n hospitals                         |
|-------------|------------------------------------------------|------------------------------------------------------------|
| local       | the server sees each hospital's noised change  | each hospital's own, averaged                              |
| distributed | the server sees the noised sum of a step       | one share a hospital, counted on t - c of them             |
| central     | somebody trusted sees every patient's gradient | once                                                       |

Distributed runs the real protocol (`privacy.secagg`) among all hospitals for every step. Its noise comes from the system's
secure source, because nothing else may be masked; draws of patients are seeded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from client.model.experts import Experts
from client.training.cohort import Cohort, cohort_of
from client.training.round import DEFAULT, clipped_sum
from demo.arms import Hospital, plan_of
from demo.recipe import BUDGET, DELTA, STUDY, sft_alone
from privacy import canonical
from privacy.keys import PrivateKey
from privacy.plan import Plan
from privacy.randomness import SecureRandom, SeededRandom
from privacy.secagg import hospital, server
from privacy.secagg.accounting import epsilon
from privacy.secagg.grid import Grid, to_real, word_bits
from privacy.secagg.session import Session
from privacy.secagg.shared_noise import Share, SharedNoise, add_share, shared_noise
from privacy.secagg.terms import least_threshold

COLLUDING = 1  # each hospital knows its own noise
RECIPE = sft_alone(STUDY)
_FINE = 64  # the grid's step is at most C / (64 sqrt(d)): rounding adds under 2 % to the sensitivity
_MOST_DRAWN = 1000  # patients in a hospital's sum: far above any draw


def noise_for(hospitals: int, size: int, epsilon_at_most: float = BUDGET) -> SharedNoise:
    """The least shares under which the recipe's steps stay within epsilon."""
    (stage,) = RECIPE.stages
    mechanism, steps = stage.mechanism, stage.rounds * stage.mechanism.steps
    finest = mechanism.clip_norm / (_FINE * size**0.5)
    grid = Grid(2.0 ** np.floor(np.log2(finest)), mechanism.clip_norm, size, _MOST_DRAWN)
    honest = least_threshold(hospitals, COLLUDING) - COLLUDING
    low, high = 0.25, 16.0
    while high / low > 1.002:
        middle = (low * high) ** 0.5
        spent = epsilon(shared_noise(middle, grid, honest), mechanism.sampling_rate, steps, DELTA)
        low, high = (low, middle) if spent <= epsilon_at_most else (middle, high)
    return shared_noise(high, grid, honest)


def train_distributed(experts: Experts, hospitals: Sequence[Hospital], seed: int) -> None:
    """All rounds of the recipe: the experts start where they stand, and hold the trained weights afterwards.

    Adam forgets between rounds, as it does in local mode, where a round is one release.
    """
    (stage,) = RECIPE.stages
    patients = sum(one.nominal_patients for one in hospitals)
    random = {one.name: SeededRandom(f"{seed}/{one.name}") for one in hospitals}
    step = 0
    for number in range(1, stage.rounds + 1):
        plan = plan_of(experts, stage, RECIPE, number)
        cohorts = {
            one.name: cohort_of(
                experts, plan.experts, one.samples, one.inputs, plan, DEFAULT, tasks=one.tasks
            )
            for one in hospitals
        }
        parameters = next(iter(cohorts.values())).parameters
        now = {name: value.detach().to(torch.float32).clone() for name, value in parameters.items()}
        descent = torch.optim.Adam(now.values(), stage.learning_rate)  # privacy.descent's own constants
        noise = noise_for(len(hospitals), sum(value.numel() for value in now.values()))
        for _ in range(stage.mechanism.steps):
            step += 1
            shares = {
                name: add_share(_flat(cohort, random[name]), noise, SecureRandom())
                for name, cohort in cohorts.items()
            }
            mean = sum_of(shares, plan, step) / (stage.mechanism.sampling_rate * patients)
            for name, part in _parts(mean, now).items():
                now[name].grad = part
            descent.step()
            experts.write(now)


def sum_of(shares: Mapping[str, Share], plan: Plan, step: int) -> NDArray[np.float64]:
    """The sum of all hospitals' shares, by the protocol: nothing else is seen of them."""
    noise = next(iter(shares.values())).noise
    keys = {name: _key(name) for name in shares}
    roll = {name: key.public for name, key in keys.items()}
    session = Session(
        campaign=plan.campaign,
        round=step,
        plan_hash=canonical.digest(f"{plan.hash}/{step}".encode()),
        roll=roll,
        threshold=least_threshold(len(roll), COLLUDING),
        colluding=COLLUDING,
        size=noise.grid.size,
        bits=word_bits(noise.grid, len(roll), noise.sigma),
    )
    advertised = {n: hospital.advertise(session, n, key, roll, COLLUDING) for n, key in keys.items()}
    adverts = server.Adverts(session)
    for _, data in advertised.values():
        adverts = adverts.add(data)
    shown = list(adverts.shown.values())
    dealt = {n: hospital.deal(advertised[n][0], shown, key) for n, key in keys.items()}
    deals = adverts.close()
    for _, data in dealt.values():
        deals = deals.add(data)
    shown = list(deals.shown.values())
    inputs = deals.close()
    masked = {}
    for name, key in keys.items():
        masked[name], data = hospital.mask(dealt[name][0], shown, shares[name], key)
        inputs = inputs.add(data)
    statements = inputs.close()
    agreed = {n: hospital.agree(masked[n], statements.survivors, key) for n, key in keys.items()}
    for _, data in agreed.values():
        statements = statements.add(data)
    shown = list(statements.shown.values())
    openings = statements.close()
    for name, key in keys.items():
        openings = openings.add(hospital.reveal(agreed[name][0], shown, key))
    return to_real(openings.close().words, noise.grid)


@cache
def _key(name: str) -> PrivateKey:
    return PrivateKey(Ed25519PrivateKey.generate())


def _flat(cohort: Cohort, random: SeededRandom) -> NDArray[np.float64]:
    total = clipped_sum(cohort.draw(random)).total
    return np.concatenate([total[name].reshape(-1).numpy() for name in sorted(total)])


def _parts(flat: NDArray[np.float64], like: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The vector's parts, shaped as the parameters, in the order of their names."""
    names = sorted(like)
    parts = torch.from_numpy(flat).to(torch.float32).split([like[name].numel() for name in names])
    return {name: part.reshape(like[name].shape) for name, part in zip(names, parts, strict=True)}
