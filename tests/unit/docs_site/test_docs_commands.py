"""Every command that a document shows is run by a test, or stands in a short list that says why none can."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from tests.documented import ROOT, Command, claimed, commands, commands_in, pages

DEPLOY = "docs/howto/deploy.md"
# Page, how its commands begin, why no test runs them.
NOT_RUN = (
    ("README.md", "make ", "hours, or this very suite; the demo is run small by tests/e2e/test_e2e_demo.py"),
    ("CONTRIBUTING.md", "make ", "this very suite"),
    ("CONTRIBUTING.md", ".venv/bin/pytest", "a part of this very suite"),
    ("docs/start.md", "make setup", "installs what this test runs in"),
    ("docs/start.md", ". .venv/bin/activate", "the test's environment is that already"),
    (
        "docs/campaign.md",
        "python -m demo.what_if",
        "an hour; docs/start.md's, which is run, is a smaller one",
    ),
    ("docs/study-real.md", "make study-real", "hours, and images that are no part of the project"),
    (
        "docs/howto/evaluate.md",
        "fedpath-hospital ask HOME tcga",
        "a public slide: test_e2e_real_slides.py has it",
    ),
    ("docs/howto/vllm.md", "python3.11 -m venv", "the environment of FEDPATH_VLLM, where there is one"),
    ("docs/howto/vllm.md", "/opt/vllm/bin/pip", "gigabytes, built for a GPU"),
    ("docs/notebook.md", ".venv/bin/python -m pip", "a package that is not in the lock"),
    (
        "docs/notebook.md",
        ".venv/bin/jupyter",
        "half an hour, or a browser; test_e2e_notebook.py runs the notebook small",
    ),
    ("docs/trackers.md", "tensorboard ", "TensorBoard's own server"),
    (DEPLOY, "debootstrap ", "root and a package mirror"),
    (DEPLOY, "tar ", "root and a container engine"),
    (DEPLOY, "podman ", "a container engine"),
    (DEPLOY, "podman-compose ", "a container engine"),
    (DEPLOY, ".venv/bin/python -m pip download", "half a gigabyte from a package index"),
    (DEPLOY, "H=", "a variable, which the test of the page sets"),
    (DEPLOY, "C=", "a variable, which the test of the page sets"),
    (DEPLOY, "D=", "a variable, which the test of the page sets"),
    (DEPLOY, "openssl ", "a password, which the test of the page sets"),
    (DEPLOY, "install ", "users of other numbers: root"),
    (DEPLOY, "useradd ", "root, and users that stay"),
    (DEPLOY, "cp ", "root, and units that stay"),
    (DEPLOY, "systemctl ", "systemd"),
)


@dataclass(frozen=True)
class Claim:
    """A call of `documented.claim` in a test module, and whether anything there reads its result."""

    file: str
    page: str
    programs: tuple[str, ...]
    without: tuple[str, ...]
    used: bool


def claims_of(source: str, file: str) -> Iterator[Claim]:
    """The claims that a module binds to names. Used are those whose name, or one that is made of it, a function or its marks
    read.
    """
    tree = ast.parse(source)
    made: dict[str, set[str]] = {}  # a name, and those that it is made of
    read: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign):
            for name in _names(node.targets):
                made.setdefault(name, set()).update(_names([node.value]))
        else:
            read |= _names([node])
    while more := {part for name in read for part in made.get(name, ())} - read:
        read |= more
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(call := node.value, ast.Call) and _is_claim(call):
            page, *programs = (ast.literal_eval(argument) for argument in call.args)
            without = next((ast.literal_eval(word.value) for word in call.keywords), ())
            used = bool(_names(node.targets) & read)
            yield Claim(file, page, tuple(programs), tuple(without), used)


def _is_claim(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id == "claim"


def _names(nodes: Sequence[ast.AST]) -> set[str]:
    return {found.id for node in nodes for found in ast.walk(node) if isinstance(found, ast.Name)}


CLAIMS = [
    claim
    for path in sorted((ROOT / "tests").rglob("test_*.py"))
    for claim in claims_of(path.read_text("utf-8"), path.name)
]


def unclaimed(found: Sequence[Command], claims: Sequence[Claim]) -> list[Command]:
    """Commands that no used claim takes in, and no line of the list excuses."""
    return [
        command
        for command in found
        if not any(
            claim.used and claim.page == command.page and claimed(command, claim.programs, claim.without)
            for claim in claims
        )
        and not any(command.page == page and command.text.startswith(begin) for page, begin, _ in NOT_RUN)
    ]


@pytest.mark.parametrize("page", [page for page in pages() if commands(page)])
def test_every_command_of_a_page_is_run(page: str) -> None:
    """Catches a command that is shown and that nothing has ever run."""
    assert unclaimed(commands(page), CLAIMS) == []


def test_the_list_of_what_is_not_run_is_true() -> None:
    """Catches an excuse for what is shown no more, or for what a test runs."""
    for page, begin, _ in NOT_RUN:
        excused = [command for command in commands(page) if command.text.startswith(begin)]
        assert excused, (page, begin)
        claims = [claim for claim in CLAIMS if claim.page == page]
        assert any(
            not any(claimed(command, claim.programs, claim.without) for claim in claims)
            for command in excused
        ), (page, begin)


def test_every_claim_is_of_commands_and_is_used() -> None:
    """Catches a claim of a page that has none such, and a claim that its module does nothing with."""
    assert len(CLAIMS) > 15
    for claim in CLAIMS:
        assert claim.used, claim
        assert any(claimed(command, claim.programs, claim.without) for command in commands(claim.page)), claim


SHOWN = """
    fedpath-hospital new HOME     # never run

```console
$ fedpath-audit \\
    verify BOOK
what it printed
```

```toml
fedpath-hospital = "data"
```

1. In a list:

        echo PATIENT | fedpath-hospital withdraw HOME

        podman exec one /opt/bin/fedpath-hospital status HOME
"""


def test_commands_are_found_and_data_is_not() -> None:
    """Catches a reader of pages that overlooks a form of block, or takes output for commands."""
    found = list(commands_in(SHOWN, "page"))
    assert [(command.program, command.arguments) for command in found] == [
        ("fedpath-hospital", ["new", "HOME"]),
        ("fedpath-audit", ["verify", "BOOK"]),
        ("fedpath-hospital", ["withdraw", "HOME"]),
        ("fedpath-hospital", ["status", "HOME"]),
    ]


@pytest.mark.parametrize(
    ("module", "free"),
    [
        ("", 4),
        ('LINES = claim("page")', 4),
        ('LINES = claim("page")\ndef test_it():\n    for line in LINES: run(line)', 0),
        ('ALL = claim("page")\nSOME = [*ALL]\n@parametrize("x", SOME)\ndef test_it(x): pass', 0),
        ('(ONE,) = claim("page", "fedpath-audit")\ndef test_it():\n    run(ONE)', 3),
        ('L = claim("page", "fedpath-hospital", without=("echo ",))\ndef test_it():\n    run(L)', 2),
        ('LINES = claim("other")\ndef test_it():\n    run(LINES)', 4),
    ],
)
def test_a_command_that_nothing_runs_is_found(module: str, free: int) -> None:
    """Catches a collector that takes a claim's word, where the claim is of another page or its result is left lying."""
    found = list(commands_in(SHOWN, "page"))
    assert len(unclaimed(found, list(claims_of(module, "test_planted.py")))) == free
