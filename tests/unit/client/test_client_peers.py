"""The hospital's own record of the others: who may share a round under distributed trust with it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client import peers
from client.cli import app
from client.errors import HomeError
from client.home import Settings, create
from privacy import keys
from privacy.errors import KeyFileError


def public(folder: Path, name: str) -> Path:
    """The public key file of a hospital of that name."""
    keys.generate(folder / f"{name}.key")
    return keys.public_path(folder / f"{name}.key")


def test_a_key_on_record_is_read_again_and_belongs_to_the_agent_alone(tmp_path: Path) -> None:
    """Catches a record that is lost, or that another user may read or write."""
    folder, file = tmp_path / "peers", public(tmp_path, "south")
    assert peers.known(folder) == {}
    added = peers.add(folder, "north", "south", file)
    assert peers.add(folder, "north", "south", file) == added  # once more changes nothing
    assert peers.known(folder) == {"south": keys.load_public(file)} == {"south": added}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "south.pub").stat().st_mode) == 0o600


def test_nobody_takes_the_place_of_a_hospital_on_record(tmp_path: Path) -> None:
    """Catches a key that is swapped without a word, one key under two names, and names that are paths or one's own."""
    folder, file = tmp_path / "peers", public(tmp_path, "south")
    added = peers.add(folder, "north", "south", file)
    with pytest.raises(HomeError, match="by telephone"):
        peers.add(folder, "north", "south", public(tmp_path, "other"))
    with pytest.raises(HomeError, match="key of south"):
        peers.add(folder, "north", "east", file)
    for name in ("north", "../x", "", "South"):
        with pytest.raises(HomeError, match="another hospital's name"):
            peers.add(folder, "north", name, file)
    with pytest.raises(KeyFileError):
        peers.add(folder, "north", "west", tmp_path / "south.key")
    assert peers.known(folder) == {"south": added}


def test_a_file_that_is_no_key_is_named(tmp_path: Path) -> None:
    """Catches a record that is passed over in silence, so that a round is refused and nobody sees why."""
    folder = tmp_path / "peers"
    peers.add(folder, "north", "south", public(tmp_path, "south"))
    (folder / "notes.txt").write_text("x")
    with pytest.raises(HomeError, match=r"notes\.txt"):
        peers.known(folder)


def test_what_a_death_left_of_an_addition_is_no_key(tmp_path: Path) -> None:
    """Catches a hospital that takes part in nothing, and can add nobody, after a power cut in `peer add`."""
    folder = tmp_path / "peers"
    added = peers.add(folder, "north", "south", public(tmp_path, "south"))
    (folder / "south.pub.0123456789abcdef.part").write_bytes(b"-----BEG")
    assert peers.known(folder) == {"south": added}
    peers.add(folder, "north", "east", public(tmp_path, "east"))


def test_the_commands_show_fingerprints(tmp_path: Path) -> None:
    """Catches a list that can't be compared by telephone: this hospital's own fingerprint stands there too."""
    home = create(tmp_path / "home", Settings("north", tmp_path, tmp_path / "m.csv", tmp_path))
    file, run = public(tmp_path, "south"), CliRunner().invoke
    added = run(app, ["peer", "add", str(home.folder), "south", str(file)])
    theirs, own = keys.load_public(file).fingerprint, keys.load(home.release_key).public.fingerprint
    assert added.exit_code == 0
    assert theirs in added.output
    listed = run(app, ["peer", "list", str(home.folder)])
    assert listed.output.splitlines() == [f"north: {own}  (this hospital)", f"south: {theirs}"]
    again = run(app, ["peer", "add", str(home.folder), "north", str(file)])
    assert (again.exit_code, "another hospital's name" in again.output) == (2, True)
    secret = run(app, ["peer", "add", str(home.folder), "east", str(tmp_path / "south.key")])
    assert (secret.exit_code, "this is a private key" in secret.output) == (2, True)
