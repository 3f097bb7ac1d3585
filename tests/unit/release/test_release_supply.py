"""The supply chain: what is locked is hashed, installed by its hashes, listed in a bill that is one, and audited in earnest."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

from demo.processes import ROOT
from release import sbom
from release.audit import found
from release.lock import HASHES, LOCK, hashes, pins
from release.wheels import strangers

_BASE = "http://cyclonedx.org/schema/"


def validator() -> Draft7Validator:
    """CycloneDX' own JSON schema, as its library ships it."""
    folder = Path(str(distribution("cyclonedx-python-lib").locate_file("cyclonedx/schema/_res")))
    schemas = {
        path.name: DRAFT7.create_resource(json.loads(path.read_text("utf-8")))
        for path in folder.glob("*.schema.json")
    }
    named = [(f"{base}{name}", body) for name, body in schemas.items() for base in ("", _BASE)]
    bom = schemas["bom-1.6.SNAPSHOT.schema.json"].contents
    return Draft7Validator(bom, registry=Registry().with_resources(named))


def test_every_locked_package_has_hashes_and_no_other() -> None:
    """Catches a version that was changed in one file alone: `make` would install what nobody tried, or nothing."""
    assert pins(LOCK) == pins(HASHES)
    assert len(pins()) > 100
    assert all(files for files in hashes().values())


def test_make_installs_by_hashes_alone() -> None:
    """Catches an installation that takes whatever file an index offers under a name and version."""
    recipe = (ROOT / "Makefile").read_text().split("$(READY):")[1]
    (line,) = [
        line for line in recipe.splitlines() if "requirements.hashes" in line and "pip install" in line
    ]
    assert "--require-hashes" in line
    assert "--no-deps" in line


def test_a_file_with_another_hash_is_not_installed(tmp_path: Path) -> None:
    """Catches a file of hashes that pip does not go by. Offline: the one package lies in a folder."""
    wheel = tmp_path / "wheels" / "iniconfig-2.3.1-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.write_bytes(b"not what was locked")
    (tmp_path / "r.txt").write_text(f"iniconfig==2.3.1 --hash=sha256:{hashes()['iniconfig'][0]}\n")
    command = [
        sys.executable,
        "-m",
        "pip",
        "--isolated",
        "install",
        "--no-index",
        "--find-links",
        str(wheel.parent),
    ]
    options = [
        "--target",
        str(tmp_path / "out"),
        "--no-deps",
        "--require-hashes",
        "-r",
        str(tmp_path / "r.txt"),
    ]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr


def test_the_bill_is_cyclonedx_and_holds_the_locked_set() -> None:
    """Catches a bill that no tool reads, and one that leaves a package out."""
    done = subprocess.run([sys.executable, "-m", "release.sbom"], cwd=ROOT, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    bill: dict[str, Any] = json.loads(done.stdout)
    check = validator()
    assert [error.message for error in check.iter_errors(bill)] == []
    assert {part["name"]: part["version"] for part in bill["components"]} == pins()
    stated = [part for part in bill["components"] if "licenses" in part]
    assert len(stated) > 0.9 * len(bill["components"])
    again = subprocess.run([sys.executable, "-m", "release.sbom"], cwd=ROOT, capture_output=True, timeout=120)
    assert again.stdout == done.stdout
    spoilt = {**bill, "components": [{**bill["components"][0], "type": "thing"}]}
    assert list(check.iter_errors(spoilt)), "a schema that takes anything checks nothing"


@pytest.mark.parametrize(
    ("dependencies", "status"),
    [
        ([{"name": "a", "vulns": []}, {"name": "b", "vulns": []}], 0),
        ([{"name": "a", "vulns": []}, {"name": "b", "vulns": [{"id": "GHSA-1"}]}], 1),
        ([{"name": "a", "vulns": []}, {"name": "b", "skip_reason": "could not be audited"}], 2),
        ([{"name": "a", "vulns": []}], 2),
        ([], 2),
    ],
    ids=["clean", "vulnerable", "skipped", "left out", "offline"],
)
def test_what_nobody_was_asked_about_is_not_clean(dependencies: list[dict[str, Any]], status: int) -> None:
    """Catches "no known vulnerabilities" over packages that could not be looked up: so pip-audit ends without a network."""
    assert found({"dependencies": dependencies}, {"a": "1", "b": "2"}).status == status


def test_the_bill_has_a_package_that_is_not_installed() -> None:
    """Catches a bill that fails, or is silent, on packages of another platform."""
    (part,) = sbom.bill("1", {"no-such-package": "7"}, {"no-such-package": ["ab" * 32]})["components"]
    assert part["purl"] == "pkg:pypi/no-such-package@7"
    assert "licenses" not in part


def test_a_wheel_that_is_not_the_locked_one_is_named(tmp_path: Path) -> None:
    """Catches a wheel that was exchanged on its way to where images are built."""
    good = hashlib.sha256(b"good").hexdigest()
    for name in ("ruamel_yaml-1-py3-none-any.whl", "torch-2+cpu-cp311.whl", "click-8.tar.gz"):
        (tmp_path / name).write_bytes(b"good" if name[0] != "c" else b"other")
    found = dict(strangers(tmp_path, {"ruamel-yaml": (good,), "click": (good,)}))
    assert set(found) == {"click-8.tar.gz", "torch-2+cpu-cp311.whl"}
    assert "another file" in found["click-8.tar.gz"]
    assert "not in the lock" in found["torch-2+cpu-cp311.whl"]


def test_nobody_is_sent_to_an_index_for_fedpath() -> None:
    """Catches advice to install it by name: it is on no index, and a stranger may take the name there."""
    told = re.compile(r"pip install [^\n]{0,40}[\"'\s]fedpath\b(?!/)")
    assert told.search("pip install 'fedpath[trackers]'")
    sent = [
        path.relative_to(ROOT).as_posix()
        for folder in ("docs", "server", "client", "privacy", "demo", "auditor", "pages")
        for path in (ROOT / folder).rglob("*.*")
        if path.suffix in (".md", ".py")
        and told.search(path.read_text("utf-8").replace("Never `pip install fedpath`", ""))
    ]
    assert sent == []
