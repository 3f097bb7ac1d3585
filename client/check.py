"""What is wrong with a hospital's home, found before a round finds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from client.errors import ClientError
from client.home import Home
from client.model.base import Base
from client.model.errors import ModelError
from client.selftest_word import selftest_word
from client.slides.index import index_slides
from client.tasks.manifest import read_manifest
from client.withdrawn import read_withdrawn
from privacy import keys
from privacy.code_hash import code_hash
from privacy.errors import PrivacyError
from privacy.ledger.store import Ledger


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
        lambda: Base.load(home.settings.base),
        lambda: notes.extend(_data(home)),
    )
    for look in looks:
        with trying():
            look()
    return list(dict.fromkeys(problems)), notes


def _data(home: Home) -> Iterator[str]:
    settings = home.settings
    index = index_slides(settings.slides)
    yield f"{len(index.slides)} slides can serve"
    for error in index.skipped.values():
        yield f"skipped: {error}"
    manifest = read_manifest(settings.manifest, index.slides, index.skipped)
    left_out = sum(manifest.skipped_rows.values())
    yield f"{len(manifest.samples)} questions; {left_out} more went with the skipped slides"
