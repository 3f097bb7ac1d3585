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
from dataclasses import replace
from functools import cache

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client.model.experts import Experts
from client.training.cohort import cohort_of
from client.training.round import DEFAULT, clipped_sum
from demo.arms import Hospital, State, load, plan_of
from demo.recipe import BUDGET, DELTA, STUDY, sft_alone
from privacy import tensors
from privacy.keys import PrivateKey
from privacy.plan import Plan
from privacy.randomness import SecureRandom, SeededRandom
from privacy.secagg import hospital, server
from privacy.secagg.accounting import epsilon
from privacy.secagg.clipped_share import share_of
from privacy.secagg.grid import Grid, Words, word_bits
from privacy.secagg.session import Session
from privacy.secagg.shared_noise import Share, SharedNoise, shared_noise
from privacy.secagg.terms import least_threshold
from strategies.summed import layout_of, stepped

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


def train_distributed(experts: Experts, hospitals: Sequence[Hospital], start: State, seed: int) -> State:
    """All steps of the recipe from `start`, each a round of its own; the experts' state afterwards.

    Each step is the server's own (`strategies.summed`): its Adam goes on from round to round.
    """
    (stage,) = RECIPE.stages
    once = replace(stage, mechanism=replace(stage.mechanism, steps=1))
    plan = plan_of(experts, once, RECIPE, 1)
    states = {name: tensors.encode(value) for name, value in start.items()}
    memories: dict[str, bytes] = {}
    layout = layout_of(plan, states)
    noise = noise_for(len(hospitals), layout.size)
    patients = {one.name: one.nominal_patients for one in hospitals}
    random = {one.name: SeededRandom(f"{seed}/{one.name}") for one in hospitals}
    cohorts = {
        one.name: cohort_of(experts, plan.experts, one.samples, one.inputs, plan, DEFAULT, tasks=one.tasks)
        for one in hospitals
    }
    for number in range(1, stage.rounds * stage.mechanism.steps + 1):
        plan = replace(plan, round=number)
        load(experts, _decoded(states))
        shares = {
            name: share_of(clipped_sum(cohort.draw(random[name])), layout, noise, SecureRandom())
            for name, cohort in cohorts.items()
        }
        made = stepped(plan, states, memories, sum_of(shares, plan), noise, sorted(shares), patients)
        states |= {expert: found.state for expert, found in made.items()}
        memories |= {expert: found.memory for expert, found in made.items() if found.memory is not None}
    return _decoded(states)


def _decoded(states: Mapping[str, bytes]) -> State:
    return {name: tensors.decode(state, len(state)) for name, state in states.items()}


def sum_of(shares: Mapping[str, Share], plan: Plan) -> Words:
    """The sum of all hospitals' shares, by the protocol: nothing else is seen of them."""
    noise = next(iter(shares.values())).noise
    keys = {name: _key(name) for name in shares}
    roll = {name: key.public for name, key in keys.items()}
    session = Session(
        campaign=plan.campaign,
        round=plan.round,
        plan_hash=plan.hash,
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
    return openings.close().words


@cache
def _key(name: str) -> PrivateKey:
    return PrivateKey(Ed25519PrivateKey.generate())
