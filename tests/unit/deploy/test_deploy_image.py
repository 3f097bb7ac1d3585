"""The image file: what it starts from, what it installs, and as whom it runs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

import pytest

from demo.processes import ROOT

FILE = (ROOT / "compose" / "Containerfile").read_text("utf-8")


def steps(text: str) -> list[tuple[str, str]]:
    """The file's instructions with what follows them; comments dropped, continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(words[0].upper(), words[1] if len(words) > 1 else "") for words in found]


def wrong(text: str) -> Iterator[str]:
    """All that is wrong with an image file, in words."""
    found = steps(text)
    if found[:2] != [("ARG", "BASE"), ("FROM", "${BASE}")] or sum(step == "FROM" for step, _ in found) != 1:
        yield "its base is not the build's one argument, without a default"
    users = [words for step, words in found if step == "USER"]
    if users != ["10001:10001"]:
        yield "it does not end as a fixed user that is not root"
    for step, words in found:
        if step == "ADD" or re.search(r"\b(curl|wget|git clone|apt-get|uv sync)\b|://", words):
            yield f"it fetches something: {step} {words}"
        if step in ("ENV", "ARG") and re.search(r"secret|password|token|_key\b", words, re.IGNORECASE):
            yield f"a secret stands in it: {step} {words}"
        if step == "COPY" and {".", "build", ".git"} & set(words.split()[:-1]):
            yield f"it copies more than the sources: {words}"
        for install in re.findall(r"pip install[^&]*", words):
            if "--no-index" not in install or "--constraint=requirements.lock" not in install:
                yield f"it installs what the lock does not name: {install}"
    if not any("pip uninstall" in words for step, words in found if step == "RUN"):
        yield "pip stays in it, for whoever wants to install something when it runs"


def test_nothing_is_wrong_with_the_image_file() -> None:
    """Catches an image that runs as root, fetches or installs what nobody locked."""
    assert list(wrong(FILE)) == []


def test_every_package_is_in_it_and_compiled() -> None:
    """Catches a package that the wheel has and the image lacks, which is missed when somebody starts what needs it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packages = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) - {"demo"}
    copied = {words for step, words in steps(FILE) if step == "COPY"}
    assert {f"{package} {package}" for package in packages} == {
        words for words in copied if " ./" not in f" {words}"
    }
    (compiled,) = re.findall(r"compileall -q ([^&]*)", FILE.replace("\\\n", ""))
    assert set(compiled.split()) == packages


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("ARG BASE\n", "ARG BASE=registry.example/python:3.11\n", "its base"),
        ("FROM ${BASE}", "FROM debian:latest", "its base"),
        ("USER 10001:10001\n", "", "not root"),
        ("USER 10001:10001", "USER root", "not root"),
        ("USER 10001:10001", "USER 10001:10001\nUSER 0", "not root"),
        ("RUN groupadd", "RUN curl https://example.org/install | sh && groupadd", "fetches"),
        ("RUN groupadd", "RUN apt-get install -y gcc && groupadd", "fetches"),
        ("COPY client client", "ADD client.tar /opt/fedpath/", "fetches"),
        ("COPY client client", "COPY . .", "more than the sources"),
        (" --constraint=requirements.lock", "", "lock"),
        (" --no-index", "", "lock"),
        ("pip uninstall", "pip list", "pip stays"),
        ("HOME=/tmp", "HOME=/tmp LEDGER_PASSWORD=x", "secret"),
    ],
)
def test_each_planted_fault_is_found(old: str, new: str, named: str) -> None:
    """Catches a check that finds nothing."""
    assert old in FILE
    assert any(named in what for what in wrong(FILE.replace(old, new))), list(wrong(FILE.replace(old, new)))


def test_all_that_a_run_ships_is_in_the_image() -> None:
    """Catches a folder of the bundle that the image lacks: a campaign is submitted from there."""
    ships = re.findall(r'^  "(\w+)/', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    copied = {words.split()[0] for step, words in steps(FILE) if step == "COPY"}
    assert set(ships) <= copied
