"""A new coordinator's key: what it takes over, and a crash between any two files."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from privacy import keys
from privacy.enrolment.kit import Kit
from privacy.errors import SignatureInvalid
from privacy.plan import Plan
from privacy.receipt import Receipt
from server.campaign import Train, plan_for
from server.errors import CampaignBusy, KeyReplaced
from server.home import Home
from server.provision.approve import approve
from server.provision.rotate import rotate
from server.receipts import write_receipts
from tests.federation.simulator import initial
from tests.provision_cases import NOW, Hospital, invited
from tests.unit.server.test_server_store import CAMPAIGN, STAGE, TRAINED, VERDICTS

LATER = NOW + timedelta(hours=1)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home", "rhine", "127.0.0.1", 19092)


def test_the_journal_goes_on_under_the_new_key_and_the_old_one_opens_nothing(home: Home) -> None:
    """Catches a store that is lost with the old key, and an old key that still writes in it."""
    invited(home)
    old = home.coordinator()
    new = rotate(home, LATER)
    assert home.coordinator().public == new != old.public
    assert keys.load_public(keys.public_path(home.coordinator_key)) == new
    assert not list((home.folder / "keys").glob("coordinator-next*"))
    (entry,) = home.store().journal()
    assert entry.kind == "rotation"
    keys.public_path(home.coordinator_key).unlink()
    home.coordinator_key.unlink()
    _put(home.coordinator_key, old)
    with pytest.raises(KeyReplaced, match="finish `fedpath-consortium rotate`"):
        home.store()


def _put(path: Path, key: keys.PrivateKey) -> None:
    from cryptography.hazmat.primitives import serialization

    pem = key._key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(pem)
    path.chmod(0o600)


def test_kits_lead_from_every_earlier_key_to_the_new_one(home: Home, tmp_path: Path) -> None:
    """Catches a hospital that slept through two rotations and is locked out; and a request from before them."""
    north = Hospital(tmp_path / "north", invited(home))
    first = home.coordinator().public
    rotate(home, LATER)
    second = home.coordinator().public
    done = approve(home, north.request(), LATER)
    rotate(home, LATER)
    third = home.coordinator().public
    for trusted, steps in ((first, 2), (second, 1), (third, 0)):
        kit = Kit.load(done.kit, trusted)
        assert len(kit.successions) == steps
        assert (kit.successions[-1].new if steps else trusted) == third


def test_what_hospitals_are_still_to_get_is_signed_anew(home: Home) -> None:
    """Catches a round that no hospital takes up again after a rotation, and a receipt that none believes."""
    store = home.store()
    store.begin(CAMPAIGN, initial(), "1")
    first = store.open_round(plan_for(CAMPAIGN, Train(1, 1, STAGE), store.states("spring")))
    verdicts = [replace(VERDICTS[0], reservation="cd" * 32)]
    receipts = write_receipts(first.plan, verdicts, home.coordinator())
    store.commit_round(first, TRAINED, verdicts, receipts, {}, keep_releases=False)
    second = store.open_round(plan_for(CAMPAIGN, Train(2, 2, STAGE), store.states("spring")))
    old = home.coordinator().public
    new = rotate(home, LATER)
    store = home.store()
    again = store.open_round(second.plan)
    assert Plan.open(again.plan.to_bytes(), again.signature, new) == second.plan
    with pytest.raises(SignatureInvalid):
        Plan.open(again.plan.to_bytes(), again.signature, old)
    assert Receipt.open(store.owed()["north"].data, new) == Receipt.open(receipts["north"], old)


def test_no_key_is_rotated_under_a_running_campaign(home: Home) -> None:
    """Catches a runner that goes on signing with a key that nobody trusts any more."""
    home.store().begin(CAMPAIGN, initial(), "1")
    with home.only_runner("spring"), pytest.raises(CampaignBusy, match="spring is running"):
        rotate(home, LATER)
    assert home.store().journal()[-1].kind == "campaign"
    rotate(home, LATER)


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from server.home import Home
from server.provision.rotate import rotate

def dies(event, arguments):
    global left
    if event in ("open", "os.rename", "os.remove") and "coordinator" in str(arguments[0]):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

left = -1
home = Home.open(Path(sys.argv[1]))
for points in map(int, sys.stdin):
    child = os.fork()
    if child == 0:
        left = points
        sys.addaudithook(dies)
        rotate(home, datetime.now(UTC))
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
"""


def test_a_rotation_killed_at_any_file_it_touches_is_finished_by_the_next(home: Home) -> None:
    """Catches a consortium that is locked out of its own journal by a crash between two files."""
    arguments = [sys.executable, "-c", KILLED, str(home.folder)]
    nursery = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    points = killed = 0
    while True:
        points += 1
        print(points, file=nursery.stdin, flush=True)
        if os.WIFEXITED(int(nursery.stdout.readline())):
            break
        killed += 1
        rotate(home, datetime.now(UTC))
        assert home.store().journal()[-1].kind == "rotation"
    nursery.communicate()
    assert killed > 8
    assert len(home.store().successions()) in range(killed, 2 * killed + 2)
