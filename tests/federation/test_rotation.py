"""The coordinator's key is rotated in the midst of a campaign: rounds go on, and both sides' books can be audited."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from privacy import accounting, keys
from privacy.audit.findings import Code
from privacy.audit.sources import read_source
from privacy.audit.verify import Audit, Trusted, audit
from privacy.keys import PublicKey
from privacy.ledger.export import write_export
from server import journal
from server.provision.rotate import rotate
from tests.federation.test_rounds import Killed, World, world


def rotated(folder: Path) -> tuple[World, PublicKey, PublicKey]:
    """One round committed and the second under way when the run dies; a rotation; the campaign to its end."""
    here = world(folder, "north", "south")
    south, count = here.hospitals["south"], 0
    answer = south.answer

    def dies(method: str, parts: dict[str, bytes]) -> dict[str, bytes]:
        nonlocal count
        count += method == "train"
        said = answer(method, parts)
        if method == "train" and count == 2:
            raise Killed
        return said

    south.answer = dies  # type: ignore[method-assign]
    with pytest.raises(Killed):
        here.run()
    south.answer = answer  # type: ignore[method-assign]
    old = here.home.coordinator().public
    new = rotate(here.home, here.clock.now())
    here.run(run_id="2")
    return here, old, new


def audited(here: World, folder: Path, coordinator: PublicKey, *, with_journal: bool = True) -> Audit:
    """Simulated hospitals log no replies: that alone is not looked at."""
    paths = []
    for name, hospital in here.hospitals.items():
        paths.append(folder / f"{name}.jsonl")
        write_export(paths[-1], hospital.ledger.entries(), hospital.key, "2031-01-01")
    if with_journal:
        paths.append(folder / "journal.jsonl")
        journal.export(paths[-1], here.store.journal(), here.home.coordinator(), here.clock.now())
    hospitals = tuple(hospital.key.public for hospital in here.hospitals.values())
    trusted = Trusted(hospitals, (coordinator,))
    found = audit([read_source(path) for path in paths], trusted, accounting.epsilon)
    return replace(found, findings=tuple(f for f in found.findings if f.code is not Code.NOT_LOGGED))


def test_a_campaign_goes_on_under_the_new_key_and_nobody_pays_twice(tmp_path: Path) -> None:
    """Catches a round that is lost with the key that signed it, and hospitals that refuse the new one's."""
    here, _, new = rotated(tmp_path)
    assert here.shown()["state"] == "done"
    for hospital in here.hospitals.values():
        assert hospital.coordinator == new
        summary = hospital.ledger.summary()
        assert (summary.spent, summary.receipts) == (2, 2)
        assert [e.body["new"] for e in hospital.ledger.entries() if e.kind == "succession"] == [new.raw.hex()]


@pytest.mark.parametrize("given", ["old", "new"])
def test_either_key_vouches_for_both_sides_books(tmp_path: Path, given: str) -> None:
    """Catches an auditor who has to be given every key there ever was, and is told of forged receipts if not."""
    here, old, new = rotated(tmp_path)
    found = audited(here, tmp_path, old if given == "old" else new)
    assert found.findings == ()
    assert [len(book.chain.keys) for book in found.journals] == [2]


def test_ledgers_alone_lead_from_the_old_key_on_and_not_back(tmp_path: Path) -> None:
    """Catches receipts that are believed because a later key is trusted: anyone may say that it handed over to that one."""
    here, old, new = rotated(tmp_path)
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    assert audited(here, tmp_path / "old", old, with_journal=False).findings == ()
    found = audited(here, tmp_path / "new", new, with_journal=False)
    assert {finding.code for finding in found.findings} == {Code.FORGED_RECEIPT}
    stranger = keys.generate(tmp_path / "stranger.key").public
    (tmp_path / "stranger").mkdir()
    assert audited(here, tmp_path / "stranger", stranger, with_journal=False).findings
