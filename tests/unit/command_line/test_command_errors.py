"""What each command says to a home that is none: what, where, what to do; exit status 2, nothing on standard output."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from privacy.command_line import Exit
from tests.unit.command_line.programs import DAEMONS, LEAVES, PROGRAMS, Leaf

HOMES = ("missing", "a file", "an empty folder", "damaged")
OF_HOMES = [leaf for leaf in LEAVES if leaf.arguments and leaf.arguments[0].name == "home"]
MAKERS = {"fedpath-hospital init", "fedpath-consortium init"}  # they want a home that is not there yet
NO_HOME = {  # what every command of a hospital says of the same folder
    "missing": "is no hospital's home: there is no such folder: ",
    "a file": "is no hospital's home: it is no folder: ",
    "an empty folder": "is no hospital's home: it has no hospital.toml: ",
    "damaged": "hospital.toml: not TOML: ",
}
NAMES = {"name", "campaign", "user", "question"}  # arguments that are no files
NEEDED = {  # where click asks for none, and the command does
    "fedpath-consortium experts": ["--list"],
    "fedpath-consortium track": ["--tensorboard", "runs"],
    "fedpath-consortium users add": ["--password-file", "word"],
    "fedpath-consortium users password": ["--password-file", "word"],
}
VALUES = {"role": "auditor", "last": "1", "out": "out.png"}


def made(kind: str, folder: Path) -> Path:
    """A home that is none."""
    place = folder / kind.replace(" ", "-")
    if kind == "a file":
        place.write_text("not a folder")
    elif kind != "missing":
        place.mkdir()
    if kind == "damaged":
        for name in ("hospital.toml", "consortium.toml"):
            (place / name).write_text("\x00 = [")
    return place


def words(leaf: Leaf, home: Path, folder: Path) -> list[str]:
    """A command line that lacks nothing but a good home."""
    given = [
        str(home),
        *("any" if each.name in NAMES else str(folder / "any") for each in leaf.arguments[1:]),
    ]
    for option in leaf.options:
        if option.required:
            given += [option.opts[0], VALUES[option.name]]
    return [*leaf.path[1:], *given, *NEEDED.get(str(leaf), ())]


def plainly(status: int, output: str, errors: str, home: Path) -> None:
    """It ended as it should."""
    assert status == Exit.NOT_DONE, errors
    assert output == ""
    assert "Traceback" not in errors
    assert errors.startswith("error: ")
    assert str(home) in errors.replace("\n", "")


@pytest.mark.parametrize("kind", HOMES)
@pytest.mark.parametrize("leaf", [leaf for leaf in OF_HOMES if str(leaf) not in DAEMONS | MAKERS], ids=str)
def test_a_home_that_is_none_is_named(
    leaf: Leaf, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a traceback, a silent success, and an error that leaves the reader to guess where."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "word").write_text("a long password\n")
    home = made(kind, tmp_path)
    done = CliRunner().invoke(PROGRAMS[leaf.path[0]], words(leaf, home, tmp_path))
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    if leaf.path[0] != "fedpath-consortium":
        assert NO_HOME[kind] in done.stderr.replace("\n", "")
    plainly(done.exit_code, done.stdout, done.stderr, home)
    if kind == "missing":
        assert not home.exists(), "nothing is made by a command that fails"
    if kind == "an empty folder":
        assert list(home.iterdir()) == []


@pytest.mark.parametrize("leaf", [leaf for leaf in OF_HOMES if leaf.path[0] != "fedpath-consortium"], ids=str)
def test_whose_a_home_is_is_said_by_us(leaf: Leaf) -> None:
    """Catches a HOME that the command line's library turns away first: it knows neither whose it is nor what to do."""
    assert not leaf.arguments[0].type.readable


def test_daemons_say_it_too(tmp_path: Path) -> None:
    """Catches a daemon that starts on nothing, or that dies without saying why. In processes of their own: they cut their
    network and take signals.
    """
    daemons = [leaf for leaf in OF_HOMES if str(leaf) in DAEMONS]
    assert len(daemons) == len(DAEMONS)
    places = [made(kind, tmp_path) for kind in ("missing", "damaged")]

    def run(leaf: Leaf, home: Path) -> subprocess.CompletedProcess[str]:
        module = {"fedpath-hospital": "client.cli", "fedpath-consortium": "server.cli"}[leaf.path[0]]
        code = f"from {module} import app; app()"
        return subprocess.run(
            [sys.executable, "-c", code, *words(leaf, home, tmp_path)],
            capture_output=True,
            text=True,
            timeout=300,
        )

    with ThreadPoolExecutor(2) as pool:
        asked = [(leaf, home) for leaf in daemons for home in places]
        for (leaf, home), done in zip(asked, pool.map(lambda pair: run(*pair), asked), strict=True):
            plainly(done.returncode, done.stdout, done.stderr, home)
            if leaf.path[0] == "fedpath-hospital":
                assert NO_HOME[home.name] in done.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_crash_shows_no_variables(program: str) -> None:
    """Catches a traceback that prints what variables held: it is pasted into reports, and patients' names with it."""
    code = (
        "import sys\nfrom importlib.metadata import entry_points\n"
        f"(found,) = entry_points(group='console_scripts', name='{program}')\n"
        "app = found.load()\n"
        "def crash() -> None:\n    patient = 'p-' + str(4711)\n    raise RuntimeError('no word of it')\n"
        "app.command('crash')(crash)\nsys.argv = ['x', 'crash']\napp()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "no word of it" in done.stderr
    assert "p-4711" not in done.stderr
