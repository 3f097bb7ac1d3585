"""What is wrong with a hospital's home, found before a round finds it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import torch

from client import check_host, check_machine, peers
from client.check_data import data_findings
from client.errors import ClientError
from client.findings import Finding
from client.home import Home
from client.model.base import Base
from client.model.errors import ModelError
from client.sampler import own_share
from client.selftest_word import selftest_word
from client.slides.index import Looking
from client.tasks.segmenter import SamSegmenter
from client.training import memory
from client.withdrawn import read_withdrawn
from privacy import keys
from privacy.code_hash import code_hash
from privacy.enrolment import node_key
from privacy.enrolment.expiry import Level
from privacy.errors import PrivacyError
from privacy.ledger.store import Ledger
from privacy.ranks import first_columns
from privacy.secagg.terms import FEWEST

RANK, ROLLOUTS, ANSWER_TOKENS = 16, 8, 256  # of the round that memory is reckoned for


@dataclass(frozen=True)
class Findings:
    """Problems that keep the hospital from taking part, notes on what will be left out or is good to know, and the codes of
    looks that found nothing to say.
    """

    problems: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    fine: tuple[str, ...]


def findings(home: Home, looking: Looking | None = None) -> Findings:
    """Look at everything that a round needs; what one look stumbles over keeps no other from being taken."""
    base = cache(lambda: Base.load(home.settings.base, "cuda" if torch.cuda.is_available() else "cpu"))
    looks: tuple[tuple[str, Callable[[], Iterable[Finding]]], ...] = (
        ("policy", lambda: _said(home.policy)),
        ("release-key", lambda: _said(keys.load(home.release_key))),
        ("node-key", lambda: _node_key(home)),
        ("kit", lambda: _kit(home)),
        ("clock", check_host.clock),
        ("ledger", lambda: check_machine.ledger(home)),
        ("superlink", lambda: check_machine.superlink(home)),
        ("disk", lambda: check_host.disk(home)),
        ("gpu", lambda: check_machine.gpu(home)),
        ("selftest", lambda: _selftest(home)),
        ("withdrawn", lambda: _withdrawn(home)),
        ("peers", lambda: _peers(home)),
        ("memory", lambda: _memory(home, base())),
        ("segmenter", lambda: _segmenter(home)),
        ("vllm", lambda: check_machine.vllm(home)),
        ("data", lambda: data_findings(home, looking or Looking(), _image_token(base))),
    )
    found: list[Finding] = []
    fine: list[str] = []
    for code, look in looks:
        try:
            said = list(look())
        except (ClientError, PrivacyError, ModelError) as error:
            said = [Finding(code, str(error), grave=True)]
        found += said
        fine += [] if said else [code]
    problems: dict[tuple[str, str], Finding] = {}  # one cause may stop several looks
    for finding in found:
        if finding.grave:
            problems.setdefault((finding.where, finding.what), finding)
    notes = tuple(finding for finding in found if not finding.grave)
    return Findings(tuple(problems.values()), notes, tuple(fine))


def _said(what: object) -> Iterable[Finding]:
    """Nothing is said of what could be read: it is fine."""
    return ()


def _node_key(home: Home) -> Iterator[Finding]:
    """The courier's folder is shut to an agent's user of its own, who can tell that it is there. Raises `KeyFileError`."""
    if not home.courier.is_dir():
        advice = "bring it back with its owner, from where it went or from the backup: its key is the one that is enrolled"
        yield Finding("node-key", "there is no such folder", str(home.courier), advice, grave=True)
    elif os.access(home.courier, os.X_OK, effective_ids=True):
        node_key.load(home.node_key)
    else:
        said = "the courier's alone, as it should be: `fedpath-hospital reach`, where it runs, reads it"
        yield Finding("node-key", said)


def _kit(home: Home) -> Iterator[Finding]:
    """What of the kit ends when. Raises `HomeError`, `KeyFileError`, `EnrolmentFileError` where there is none to trust."""
    for expiry in home.kit.expiries(datetime.now(UTC)):
        advice = (
            "" if expiry.level is Level.FINE else "ask the coordinator for a renewed kit, and join with it"
        )
        yield Finding("expiry", str(expiry), "", advice, grave=expiry.level is Level.PROBLEM)


def _selftest(home: Home) -> Iterator[Finding]:
    found = Ledger(home.ledger, keys.load(home.release_key)).last_selftest(code_hash())
    yield Finding("selftest", selftest_word(found), grave=found is not None and not found.passed)


def _withdrawn(home: Home) -> Iterator[Finding]:
    yield Finding("withdrawn", f"{len(read_withdrawn(home.withdrawn))} patients have withdrawn")


def _peers(home: Home) -> Iterator[Finding]:
    """Whether enough hospitals are on record for what the policy offers; without distributed trust nobody asks."""
    policy = home.policy
    if not policy.distributed_trust:
        return
    try:
        known = peers.known(home.peers)
    except (ClientError, PrivacyError) as error:
        advice = (
            "no round under distributed trust can be answered: remove that file; if it was a hospital's key, ask the "
            "hospital for it and add it again with `fedpath-hospital peer add`"
        )
        yield Finding("peers", str(error), advice=advice, grave=True)
        return
    needed = max(FEWEST - 1, policy.colluding)
    if len(known) < needed:
        yield Finding(
            "peers",
            f"the policy offers distributed trust, which takes {needed} other hospitals on record, and there are "
            f"{len(known)}: such rounds will be refused",
            str(home.peers),
            "ask each hospital itself for its keys/release.key.pub, and add it with `fedpath-hospital peer add`",
        )
    else:
        yield Finding("peers", f"{len(known)} other hospitals are on record for distributed trust")


def _segmenter(home: Home) -> Iterable[Finding]:
    if (segmenter := home.settings.segmenter) is not None:
        SamSegmenter.load(segmenter)
    return ()


def _image_token(base: Callable[[], Base]) -> str | None:
    """The base's; None where it can't be loaded, which the look at memory says."""
    try:
        return base().architecture.image_token
    except ModelError:
        return None


def _memory(home: Home, base: Base) -> Iterator[Finding]:
    """What a usual round of all the policy's experts needs of the device. Raises `DeviceMemoryError`."""
    free = memory.free_bytes(base.device, own_share(home, home.policy.gpu_memory_share, sampling=True))
    _, need = memory.fitting(
        memory.Decoder.of(base),
        memory.resident(base.model.parameters()),
        first_columns(memory.expert_shapes(base, home.policy.experts, RANK), home.policy.max_rank),
        RANK,
        free,
        memory.machine_free(base.device),
        home.policy.maximum_samples_per_patient,
        ROLLOUTS,
        ANSWER_TOKENS,
    )
    yield Finding(
        "memory",
        f"training needs up to {need}; {memory.gibibytes(free)} are free on {base.device}. Reckoned for a round of GRPO "
        f"at rank {RANK}, with {ROLLOUTS} rollouts of {ANSWER_TOKENS} tokens; each plan is judged by its own",
    )
