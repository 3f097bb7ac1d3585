"""What secure aggregation costs each side, and what its noise costs in epsilon.

    python -m bench.secagg [--json] [--quick]

Processor time of one process, all hospitals in it, a tenth of them (as many as the threshold lets go) lost before their
masked input. "each" is one hospital's time for a step. Quick: fewer hospitals and coordinates.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench import command
from privacy import accounting as continuous
from privacy import canonical
from privacy.keys import PrivateKey
from privacy.mechanism import Event
from privacy.randomness import SecureRandom
from privacy.secagg import hospital, server
from privacy.secagg.accounting import epsilon
from privacy.secagg.discrete_gaussian import discrete_gaussian
from privacy.secagg.grid import Grid, to_words, word_bits, zeros
from privacy.secagg.masks import add_mask
from privacy.secagg.session import Session
from privacy.secagg.shared_noise import add_share, shared_noise
from privacy.secagg.terms import least_threshold

SIZES = ((10, 100_000), (30, 100_000), (30, 1_000_000), (100, 100_000))
QUICK_SIZES = ((10, 40_000),)
STEP = 2.0**-13
DELTA = 1e-5


@contextmanager
def timed(figures: dict[str, float], name: str, over: int = 1) -> Iterator[None]:
    """Note the block's processor milliseconds, over so many hospitals."""
    start = time.process_time()
    yield
    figures[name] = round((time.process_time() - start) * 1e3 / over, 2)


def round_of(hospitals: int, size: int) -> dict[str, float]:
    """Milliseconds by step, and bytes by message."""
    threshold = least_threshold(hospitals, 1)
    lost = min(max(1, hospitals // 10), hospitals - threshold)
    keys = {f"h{number:03}": PrivateKey(Ed25519PrivateKey.generate()) for number in range(hospitals)}
    roll = {name: key.public for name, key in keys.items()}
    grid = Grid(STEP, clip_norm=1.0, size=size, most_patients=100)
    noise = shared_noise(1.0, grid, threshold - 1)
    bits = word_bits(grid, hospitals, noise.sigma)
    session = Session("bench", 1, canonical.digest(b""), roll, threshold, 1, size, bits)
    found: dict[str, float] = {"threshold": threshold, "lost": lost, "sigma": noise.sigma, "bits": bits}
    adverts = server.Adverts(session)
    advertised = {name: hospital.advertise(session, name, key, roll, 1) for name, key in keys.items()}
    with timed(found, "server: adverts, ms"):
        for _, data in advertised.values():
            adverts = adverts.add(data)
        deals = adverts.close()
    shown = list(adverts.shown.values())
    with timed(found, "hospital: deal, ms each", hospitals):
        dealt = {name: hospital.deal(advertised[name][0], shown, key) for name, key in keys.items()}
    with timed(found, "server: deals, ms"):
        for _, data in dealt.values():
            deals = deals.add(data)
        inputs = deals.close()
    shown = list(deals.shown.values())
    found["deal, bytes"] = len(shown[0])
    with timed(found, "hospital: noise, ms"):
        share = add_share(np.random.default_rng(0).normal(size=size), noise, SecureRandom())
    masked, total = {}, zeros(size, bits)
    spent: dict[str, dict[str, float]] = {"mask": {}, "add": {}}
    for name in list(keys)[lost:]:
        with timed(spent["mask"], name):
            masked[name], data = hospital.mask(dealt[name][0], shown, share, keys[name])
        with timed(spent["add"], name):
            inputs = inputs.add(data)
        total += to_words(share.whole, bits)
    found["hospital: mask, ms each"] = round(sum(spent["mask"].values()) / len(masked), 2)
    found["server: add, ms each"] = round(sum(spent["add"].values()) / len(masked), 2)
    found["masked input, bytes"] = len(data)
    statements = inputs.close()
    agreed = {name: hospital.agree(state, statements.survivors, keys[name]) for name, state in masked.items()}
    for _, data in agreed.values():
        statements = statements.add(data)
    openings, shown = statements.close(), list(statements.shown.values())
    with timed(found, "hospital: reveal, ms each", len(agreed)):
        opened = [hospital.reveal(state, shown, keys[name]) for name, (state, _) in agreed.items()]
    with timed(found, "server: openings, ms"):
        for data in opened:
            openings = openings.add(data)
    with timed(found, "server: unmask, ms"):
        result = openings.close()
    if not (result.words == total).all():
        raise SystemExit("the sum differs from the plain one")
    return found


def speeds(size: int) -> dict[str, float]:
    """What the parts do in a second of one core, best of five."""
    vector, other = zeros(size, 32), zeros(size, 32)
    best = {"mask": 0.0, "add": 0.0, "noise": 0.0}
    for _ in range(5):
        for name, work in (
            ("mask", lambda: add_mask(vector, bytes(32))),
            ("add", lambda: np.add(vector, other, out=vector)),
            ("noise", lambda: discrete_gaussian(size // 16, 1000, SecureRandom())),
        ):
            start = time.process_time()
            work()
            best[name] = max(best[name], size / (time.process_time() - start))
    return {
        "masks, GB/s": round(4 * best["mask"] / 1e9, 2),
        "plain addition, GB/s": round(4 * best["add"] / 1e9, 2),
        "discrete Gaussians, million/s": round(best["noise"] / 16e6, 2),
    }


def epsilons(size: int) -> dict[str, str]:
    """Epsilon at delta 1e-5 by grid: sums under shares, beside the continuous mechanism of the same multiplier."""
    found = {}
    for multiplier, rate, steps in ((1.0, 0.05, 1000), (2.0, 0.05, 2000), (0.8, 0.1, 40)):
        told = f"multiplier {multiplier:g}, rate {rate:g}, steps {steps}"
        pld = continuous.epsilon([Event(multiplier, rate, steps)], DELTA)
        for step in (2.0**-10, 2.0**-13, 2.0**-16):
            noise = shared_noise(multiplier, Grid(step, 1.0, size, 100), 7)
            extra = noise.std(7) / multiplier - 1
            found[f"{told}, step {step:.1g}"] = (
                f"{epsilon(noise, rate, steps, DELTA):.2f} (continuous, by loss distribution: {pld:.2f}), "
                f"noise {100 * extra:+.1f} %"
            )
    return found


def main() -> None:
    """Measure and print."""
    asked = command.options(__doc__, "ten hospitals, small vectors").parse_args()
    found: dict[str, dict[str, object]] = {}
    for hospitals, size in QUICK_SIZES if asked.quick else SIZES:
        command.measuring(f"{hospitals} hospitals, {size:,} coordinates")
        found[f"{hospitals} hospitals, {size:,} coordinates"] = dict(round_of(hospitals, size))
    command.measuring("parts")
    found["one core"] = dict(speeds(1 << 20 if asked.quick else 1 << 23))
    found["epsilon, 40,000 coordinates, 7 honest shares"] = dict(epsilons(40_000))
    command.show(found, asked.json)


if __name__ == "__main__":
    main()
