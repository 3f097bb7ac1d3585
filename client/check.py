"""What is wrong with a hospital's home, found before a round finds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from client.errors import ClientError
from client.home import Home
from client.model.base import Base
from client.model.errors import ModelError
from client.selftest_word import selftest_word
from client.slides.index import index_slides
from client.tasks.manifest import read_manifest
from client.tasks.segmenter import SamSegmenter
from client.training import memory
from client.withdrawn import read_withdrawn
from privacy import keys
from privacy.code_hash import code_hash
from privacy.errors import PrivacyError
from privacy.ledger.store import Ledger

RANK, ROLLOUTS, ANSWER_TOKENS = 16, 8, 256  # of the round that memory is reckoned for


def findings(home: Home) -> tuple[list[str], list[str]]:
    """Problems that keep the hospital from taking part, and notes on what will be left out."""
    problems: list[str] = []
    notes: list[str] = []

    @contextmanager
    def trying() -> Iterator[None]:
        try:
            yield
        except (ClientError, PrivacyError, ModelError) as error:
            problems.append(str(error))

    def selftested() -> None:
        ledger = Ledger(home.ledger, keys.load(home.release_key))
        found = ledger.last_selftest(code_hash())
        (notes if found is None or found.passed else problems).append(selftest_word(found))

    looks: tuple[Callable[[], object], ...] = (
        lambda: home.policy,
        lambda: keys.load(home.release_key),
        lambda: home.coordinator,
        selftested,
        lambda: notes.append(f"{len(read_withdrawn(home.withdrawn))} patients have withdrawn"),
        lambda: notes.append(_memory(home)),
        lambda: (segmenter := home.settings.segmenter) and SamSegmenter.load(segmenter),
        lambda: notes.extend(_data(home)),
    )
    for look in looks:
        with trying():
            look()
    return list(dict.fromkeys(problems)), notes


def _memory(home: Home) -> str:
    """What a usual round of all the policy's experts needs of the device. Raises `DeviceMemoryError`."""
    base = Base.load(home.settings.base, "cuda" if torch.cuda.is_available() else "cpu")
    free = memory.free_bytes(base.device)
    _, need = memory.fitting(
        memory.Decoder.of(base),
        memory.resident(base.model.parameters()),
        memory.expert_shapes(base, home.policy.experts, RANK),
        free,
        ROLLOUTS,
        ANSWER_TOKENS,
    )
    return (
        f"training needs up to {need}; {memory.gibibytes(free)} are free on {base.device}. Reckoned for a round of GRPO "
        f"at rank {RANK}, with {ROLLOUTS} rollouts of {ANSWER_TOKENS} tokens; each plan is judged by its own"
    )


def _data(home: Home) -> Iterator[str]:
    settings = home.settings
    index = index_slides(settings.slides)
    yield f"{len(index.slides)} slides can serve"
    for error in index.skipped.values():
        yield f"skipped: {error}"
    manifest = read_manifest(settings.manifest, index.slides, index.skipped)
    left_out = sum(manifest.skipped_rows.values())
    yield f"{len(manifest.samples)} questions; {left_out} more went with the skipped slides"
