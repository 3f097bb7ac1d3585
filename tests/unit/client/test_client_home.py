"""A hospital's home: who may open what, and errors that name the file and the cure."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from client import peers
from client.check import findings
from client.errors import HomeError
from client.findings import Finding
from client.home import Home, Settings, couriers_home_at, create, home_at
from privacy import keys
from tests.enrolment_cases import enrol_alone
from tests.unit.client.conftest import House

MakeHouse = Callable[..., House]
ROOT = os.geteuid() == 0


def test_only_the_couriers_two_folders_are_open_to_it(house: MakeHouse) -> None:
    """Catches a key, ledger, policy or setting that another user can read."""
    home = house().home
    house_ledger = home.ledger
    house_ledger.touch(0o600)
    for path in [home.folder, *home.folder.rglob("*")]:
        if home.courier in (path, *path.parents):
            continue
        mode, group = stat.S_IMODE(path.stat().st_mode), path.stat().st_gid
        allowed = {home.folder: 0o711, home.socket.parent: 0o2750 if ROOT else 0o750}.get(path)
        if allowed is not None:
            assert mode == allowed, path
        elif path.is_dir():
            assert mode == 0o700, path
        else:
            assert mode & 0o077 == 0 or path.suffix == ".pub" or path.name == "kit.json", path
        assert group == (home.courier_user if path == home.socket.parent and ROOT else os.getgid()), path


@pytest.mark.skipif(not ROOT, reason="only root gives the courier a user of its own")
def test_under_root_the_courier_is_a_user_of_its_own(house: MakeHouse) -> None:
    """Catches a courier that runs as root, or as a user with a name (and files) of its own."""
    home = house().home
    user = home.courier_user
    assert user is not None
    assert 61184 <= user < 65520
    assert {path.stat().st_uid for path in home.courier.iterdir()} == {user}


@pytest.mark.skipif(not ROOT, reason="only root makes homes for other users")
def test_root_makes_a_home_for_an_agent_and_a_courier_that_are_not_root(
    house: MakeHouse, tmp_path: Path
) -> None:
    """Catches a home that root sets up and its agent can't read, or whose agent's door the courier can't open; and a check
    that calls what is the courier's alone a problem, so that no `upgrade` is ever recorded.
    """
    agent, courier, other = 10001, 10002, 10003
    coordinator = house().coordinator
    folder = Path(tempfile.mkdtemp(prefix="home-"))
    try:
        os.chown(folder, agent, agent)
        (folder / "courier").mkdir(0o700)
        os.chown(folder / "courier", courier, courier)
        home = create(folder, Settings("north", Path("/slides"), Path("/m.csv"), Path("/base")))
        before = os.umask(0o077)
        enrol_alone(home, coordinator, tmp_path / "kit.json")
        os.umask(before)
        for name in ("kit.json", "coordinator.pub"):
            assert stat.S_IMODE((home.trust / name).stat().st_mode) == 0o644, "mounted for the courier"
        theirs = {path for path in folder.rglob("*") if home.courier not in path.parents} - {home.courier}
        assert {path.stat().st_uid for path in (folder, *theirs)} == {agent}
        assert {path.stat().st_uid for path in home.courier.iterdir()} == {courier}
        listen = "s.bind(where); os.chmod(where, 0o660)"
        assert _says(agent, listen, home.socket) == ""
        assert "refused" in _says(courier, "s.connect(where)", home.socket), "it may; nobody listens any more"
        assert "Permission denied" in _says(other, "s.connect(where)", home.socket)
        assert "Permission denied" in _says(courier, "open(where)", home.release_key)
        assert _says(agent, "open(where)", home.release_key) == ""
        with _as(agent):
            looked = findings(home)
        assert "node-key" in {note.code for note in looked.notes}
        assert {"node-key", "superlink"}.isdisjoint(problem.code for problem in looked.problems)
    finally:
        shutil.rmtree(folder)


@pytest.mark.skipif(not ROOT, reason="only root can be another user")
def test_another_user_is_told_whose_the_home_is() -> None:
    """Catches a bare "Permission denied", and one that hides whose folder is in the way; and a courier that needs settings
    which are not its own.
    """
    folder = Path(tempfile.mkdtemp(prefix="home-"))
    try:
        home = create(folder / "north", Settings("north", Path("/slides"), Path("/m.csv"), Path("/base")))
        nobody = pwd.getpwnam("nobody")
        for path in (folder, home.folder, home.folder / "hospital.toml"):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        for mode, named in ((0o711, home.folder), (0o700, folder)):
            folder.chmod(mode)
            with (
                _as(10003),
                pytest.raises(HomeError, match=f"^{named}: belongs to the user nobody") as caught,
            ):
                home_at(home.folder)
            assert "`runuser -u nobody -- fedpath-hospital ...`" in str(caught.value)
        with _as(nobody.pw_uid):
            assert home_at(home.folder).settings.name == "north"
        folder.chmod(0o711)
        home.trust.chmod(0o711)
        home.kit_file.touch(0o644)
        with _as(10003):
            assert couriers_home_at(home.folder).folder == home.folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def _as(user: int) -> Iterator[None]:
    """Be that user in this process, for what it may read."""
    os.setegid(user)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def _says(user: int, act: str, where: Path) -> str:
    """How a program ends that does this as `user`."""
    code = f"""
import os, socket, sys
where, s = sys.argv[1], socket.socket(socket.AF_UNIX)
os.umask(0o077); os.setgroups([]); os.setresgid({user}, {user}, {user}); os.setresuid({user}, {user}, {user})
{act}
"""
    command = [sys.executable, "-I", "-c", code, str(where)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stderr


def test_a_home_is_never_made_twice(house: MakeHouse) -> None:
    """Catches keys that are overwritten: with them the ledger's signatures would be lost."""
    place = house()
    before = place.home.release_key.read_bytes()
    with pytest.raises(HomeError, match="never overwritten"):
        create(place.home.folder, place.home.settings)
    assert place.home.release_key.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('name = "north"\nslides = "s"\nmanifest = "m"\n', "base"),
        ('name = "north"\nslides = "s"\nmanifest = "m"\nbase = "b"\nslide = "s"\n', "slide"),
        ('name = 3\nslides = "s"\nmanifest = "m"\nbase = "b"\n', "no text"),
        ("name = ", "not TOML"),
    ],
)
def test_wrong_settings_are_named(text: str, named: str, tmp_path: Path) -> None:
    """Catches a wrong key that is silently taken for nothing."""
    (tmp_path / "hospital.toml").write_text(text)
    with pytest.raises(HomeError, match=named):
        _ = Home(tmp_path).settings


def test_relative_paths_start_from_the_home(tmp_path: Path) -> None:
    """Catches a setting that means another folder when the command is run elsewhere."""
    (tmp_path / "hospital.toml").write_text('name = "north"\nslides = "s"\nmanifest = "/m.csv"\nbase = "b"\n')
    assert Home(tmp_path).settings == Settings("north", tmp_path / "s", Path("/m.csv"), tmp_path / "b")


def test_the_policy_must_be_this_hospitals(house: MakeHouse) -> None:
    """Catches a policy copied from another hospital."""
    home = house().home
    policy = home.folder / "policy.toml"
    policy.write_text(policy.read_text().replace("north", "south"))
    with pytest.raises(HomeError, match="south's"):
        _ = home.policy


def test_check_names_everything_that_is_wrong_at_once(house: MakeHouse, tmp_path: Path) -> None:
    """Catches a check that stops at the first problem, or passes a home that no agent could open."""
    home = house().home
    assert findings(home).problems == ()
    home.release_key.chmod(0o644)
    (home.folder / "trust" / "coordinator.pub").unlink()
    policy = home.folder / "policy.toml"
    policy.write_text(policy.read_text() + "epsilon = 3\n")
    home.node_key.chmod(0o640)
    problems = [problem.what for problem in findings(home).problems]
    assert len(problems) == 4
    for word in ("release.key has mode", "supernode.key has mode", "coordinator.pub", "epsilon"):
        assert any(word in problem for problem in problems), word


def _said_of_peers(home: Home) -> list[Finding]:
    found = findings(home)
    return [said for said in (*found.problems, *found.notes) if said.code == "peers"]


def test_check_says_whether_distributed_trust_can_be_given(house: MakeHouse, tmp_path: Path) -> None:
    """Catches a hospital that offers distributed trust, and is refused in every round without knowing why."""
    home = house().home
    (tmp_path / "keys").mkdir()
    for name in ("south", "east", "west"):
        keys.generate(tmp_path / "keys" / name)
    assert _said_of_peers(home) == []
    policy = home.folder / "policy.toml"
    text = policy.read_text() + "distributed_trust = true\n"
    policy.write_text(text)
    for number, name in enumerate(("south", "east")):
        (few,) = _said_of_peers(home)
        assert (f"there are {number}" in few.what, few.grave) == (True, False)
        assert "peer add" in few.advice
        peers.add(home.peers, "north", name, keys.public_path(tmp_path / "keys" / name))
    (enough,) = _said_of_peers(home)
    assert (enough.what.startswith("2 other hospitals"), enough.grave) == (True, False)
    policy.write_text(text + "colluding = 3\n")
    (few,) = _said_of_peers(home)
    assert "takes 3 other hospitals" in few.what
    policy.write_text(text)
    record = home.peers / "south.pub"
    record.write_bytes(record.read_bytes()[:40])
    (damaged,) = _said_of_peers(home)
    assert (damaged.grave, "south.pub" in damaged.what, "peer add" in damaged.advice) == (True, True, True)


def test_a_home_has_one_agent_at_a_time(house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches two agents on one ledger: the second's start would void what the first has reserved."""
    monkeypatch.setattr("client.home._LOCK_SECONDS", 0.2)
    home = house().home
    with home.only_agent(), pytest.raises(HomeError, match="another agent"), home.only_agent():
        pass
    with home.only_agent():
        pass


def test_an_agent_without_a_home_is_told_what_to_do(tmp_path: Path) -> None:
    """Catches a traceback about a lock file where the home's path is wrong."""
    with pytest.raises(HomeError, match="fedpath-hospital init"), Home(tmp_path / "none").only_agent():
        pass
