"""What hospital IT does to the ledger: withdrawals, a new key, an export, another database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from client.cli import app
from client.data import open_data
from client.enrolment import answer
from client.errors import HomeError
from client.home import Home, Settings, create
from client.key_rotation import rotate_key
from client.ledger_place import ledger_place
from client.withdrawn import add_withdrawn, read_withdrawn
from privacy import keys
from privacy.codes import Refusal
from privacy.enrolment.request import Request
from privacy.errors import LedgerError
from privacy.handover import successors
from privacy.ledger.export import read_export, verify_export
from privacy.ledger.store import Ledger
from tests.enrolment_cases import invitation
from tests.unit.client.conftest import House

MakeHouse = Callable[..., House]


def run(*arguments: object, text: str | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=text)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home that was invited, and whose ledger has an entry."""
    return invited(tmp_path)


def invited(folder: Path) -> Home:
    made = create(folder / "home", Settings("north", folder, folder / "m.csv", folder))
    coordinator = keys.generate(folder / "coordinator.key").public
    answer(made, invitation("north", coordinator), datetime.now(UTC))
    ledger_of(made).refuse(Refusal.BUSY, None)
    return made


def ledger_of(home: Home) -> Ledger:
    return Ledger(home.ledger, keys.load(home.release_key))


@pytest.mark.parametrize("letter", ["\x85", "\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"])
def test_a_name_with_another_line_end_is_one_name(tmp_path: Path, letter: str) -> None:
    """Catches a patient who withdrew, was told so, and is drawn: the file was split within the name."""
    path, name = tmp_path / "withdrawn.txt", f"DOE{letter}1"
    assert add_withdrawn(path, [name]) == read_withdrawn(path) == {name}


@pytest.mark.parametrize("letter", ["\n", "\r"])
def test_a_name_that_no_line_can_hold_is_refused(tmp_path: Path, letter: str) -> None:
    """Catches a withdrawal that is written and then read as another patient's, or as one patient for many."""
    path = tmp_path / "withdrawn.txt"
    with pytest.raises(HomeError, match="one patient a line"):
        add_withdrawn(path, [f"DOE{letter}1"])
    assert not path.exists()
    path.write_bytes(b"DOE-1\rDOE-2\r")
    with pytest.raises(HomeError, match="carriage return"):
        read_withdrawn(path)


def test_withdrawals_add_up_and_stay(tmp_path: Path) -> None:
    """Catches a withdrawal that replaces another, is glued to a last line, or is counted twice."""
    path = tmp_path / "withdrawn.txt"
    assert read_withdrawn(path) == frozenset()
    path.write_bytes(b"\xef\xbb\xbfDOE-1\r\n\r\n  DOE-2")  # from an editor, without an end of line
    assert read_withdrawn(path) == {"DOE-1", "DOE-2"}
    assert add_withdrawn(path, [" DOE-3 ", "DOE-1", ""]) == {"DOE-1", "DOE-2", "DOE-3"}
    before = path.read_bytes()
    assert add_withdrawn(path, ["DOE-3"]) == read_withdrawn(path) == {"DOE-1", "DOE-2", "DOE-3"}
    assert path.read_bytes() == before


def test_a_list_that_can_not_be_read_stops_everything(tmp_path: Path) -> None:
    """Catches training on patients who withdrew, because their list was damaged; and a name in the error."""
    (tmp_path / "withdrawn.txt").write_bytes(b"DOE-1\n\xff\xfe")
    with pytest.raises(HomeError, match="one patient a line") as caught:
        read_withdrawn(tmp_path / "withdrawn.txt")
    assert "DOE" not in str(caught.value)


def test_withdraw_reads_patients_from_standard_input(house: MakeHouse) -> None:
    """Catches a patient's name in the process list, in the output or in the ledger; and a typo that goes unsaid."""
    place = house()
    folder = place.home.folder
    patient = sorted({sample.patient for sample in _samples(place)})[0]
    questions = sum(sample.patient == patient for sample in _samples(place))
    done = run("withdraw", folder, text=f"{patient}\nDOE-17\n")
    assert done.exit_code == 0, done.output
    assert f"{questions} questions are left out" in done.output
    assert "of 1 the manifest has no question" in done.output
    assert patient not in done.output
    assert read_withdrawn(place.home.withdrawn) == {patient, "DOE-17"}
    assert place.home.withdrawn.stat().st_mode & 0o777 == 0o600
    told = [entry for entry in place.ledger().entries() if entry.kind == "withdrawal"]
    assert [entry.body["withdrawn"] for entry in told] == [2]


def test_a_withdrawal_waits_for_no_manifest(house: MakeHouse) -> None:
    """Catches a consent that is still taken for given because a file of labels, or the policy, wants a mend."""
    home = house().home
    toml = home.folder / "hospital.toml"
    toml.write_text(toml.read_text().replace(str(home.settings.manifest), "/none/labels.csv"))
    done = run("withdraw", home.folder, "--json", text="DOE-17\n")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"questions_left_out": None, "withdrawn": 1, "unknown": None}
    assert "could not be compared with the manifest's: /none/labels.csv: there is no such file" in done.stderr
    home.policy_file.write_text("nothing")
    done = run("withdraw", home.folder, text="DOE-18\n")
    assert (done.exit_code, done.stdout) == (0, "2 withdrawn in all, from the next round on\n")
    assert "policy.toml" in done.stderr
    assert read_withdrawn(home.withdrawn) == {"DOE-17", "DOE-18"}
    entries = Ledger(home.ledger, keys.load(home.release_key)).entries()
    assert [entry.body["withdrawn"] for entry in entries if entry.kind == "withdrawal"] == [1, 2]


def _samples(place: House) -> tuple[object, ...]:
    return open_data(place.home).manifest.samples


def test_a_new_key_takes_the_old_ones_place(home: Home) -> None:
    """Catches a rotation that leaves the old secret about, or a request that still asks for the old key."""
    old, secret = keys.load(home.release_key), home.release_key.read_bytes()
    done = run("rotate-key", home.folder)
    assert done.exit_code == 0, done.output
    new = keys.load(home.release_key)
    assert new.public != old.public
    assert new.public.fingerprint in done.output
    assert keys.load_public(keys.public_path(home.release_key)) == new.public
    request = Request.load(home.request)
    assert request.release_key == new.public
    assert request.ticket is not None, "the invitation was not answered yet"
    (handover,) = request.handovers
    assert successors([handover], "north", old.public) == (handover,)
    assert handover.new == new.public
    assert sorted(path.name for path in home.release_key.parent.iterdir()) == [
        "pseudonyms.key",
        "release.key",
        "release.key.pub",
    ]
    assert not [path for path in home.folder.rglob("*") if path.is_file() and secret in path.read_bytes()]
    for key in (old, new):
        ledger_of(home).verify(key.public)
    with pytest.raises(LedgerError, match="handed over"):
        Ledger(home.ledger, old)


KILLED = """
import os, signal, sys
from pathlib import Path
import client.key_rotation as rotation
from client.home import Home

def dies(event, arguments):
    global left
    if event in ("open", "os.rename", "os.remove") and str(sys.argv[1]) in str(arguments[0]):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

left = -1
home = Home(Path(sys.argv[1]))
for points in map(int, sys.stdin):
    child = os.fork()
    if child == 0:
        left = points
        sys.addaudithook(dies)
        rotation.rotate_key(home)
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
"""


def test_a_rotation_killed_at_any_file_it_touches_is_finished_by_the_next(tmp_path: Path) -> None:
    """Catches a hospital that is locked out of its own ledger by a crash between two files."""
    made = invited(tmp_path)
    arguments = [sys.executable, "-c", KILLED, str(made.folder)]
    nursery = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    points = killed = 0
    while True:
        points += 1
        before = sum(entry.kind == "rotation" for entry in _entries(made))
        print(points, file=nursery.stdin, flush=True)
        if os.WIFEXITED(int(nursery.stdout.readline())):
            break
        killed += 1
        rotated = sum(entry.kind == "rotation" for entry in _entries(made)) - before
        rotate_key(
            made
        )  # finishes that one, or, where it had reached its end or not the ledger, makes another
        entries = ledger_of(made).entries()
        assert sum(entry.kind == "rotation" for entry in entries) - before in (1, rotated + 1)
        assert Request.load(made.request).release_key == keys.load(made.release_key).public
    nursery.communicate()
    assert killed > 15


def _entries(home: Home) -> list[object]:
    """All entries, though a rotation may be half done."""
    from privacy.ledger.database import Database
    from privacy.ledger.reading import read

    return list(read(Database(home.ledger), keys.load(home.release_key).public)[0])


def test_an_export_verifies_with_the_public_key(home: Home, tmp_path: Path) -> None:
    """Catches an export that needs the hospital to be read."""
    done = run("export", home.folder, tmp_path / "ledger.jsonl")
    assert done.exit_code == 0, done.output
    account = verify_export(
        read_export(tmp_path / "ledger.jsonl"), keys.load_public(keys.public_path(home.release_key))
    )
    assert account.refused == 1
    assert run("export", home.folder, tmp_path / "ledger.jsonl").exit_code == 2


def test_a_ledger_may_be_kept_in_postgresql(home: Home) -> None:
    """Catches a URL that is not passed on, and a password file that PostgreSQL's client would pass over."""
    toml = home.folder / "hospital.toml"
    assert home.ledger == home.folder / "ledger.db"
    url = "postgresql+psycopg://north@/ledger?host=/run/postgresql"
    toml.write_text(toml.read_text() + f'ledger = "{url}"\n')
    assert home.ledger == url
    password = home.release_key.parent / "ledger.pgpass"
    password.write_text("*:*:*:*:secret")
    password.chmod(0o644)
    with pytest.raises(HomeError, match="chmod 600"):
        _ = home.ledger
    password.chmod(0o600)
    assert home.ledger == f"{url}&passfile={password}"
    assert (
        ledger_place(home.folder, "postgresql+psycopg://n@h/d")
        == f"postgresql+psycopg://n@h/d?passfile={password}"
    )
