"""The commands that documents show, and the claims of the tests that run them.

A fenced block that names a language other than a shell's is data or output; every other block is commands, a line each.
Where lines begin with `$`, these alone are commands and the others what they print. A comment after a command is left off,
and a line that ends in a backslash goes on in the next one.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
SHELLS = ("", "sh", "bash", "console")
_OURS = re.compile(r"(^|/)fedpath-(hospital|consortium|audit)$")


@dataclass(frozen=True)
class Command:
    """One command of a page of the repository, as text; `line` is where its block begins."""

    page: str
    line: int
    text: str

    @property
    def words(self) -> list[str]:
        """As a shell would cut it up."""
        return shlex.split(self.text)

    @property
    def program(self) -> str:
        """What it runs in the end: one of ours, by its bare name, also where a container or a pipe is around it."""
        return PurePosixPath(self._own[0]).name if _OURS.search(self._own[0]) else self._own[0]

    @property
    def arguments(self) -> list[str]:
        """What that program is given."""
        return self._own[1:]

    @property
    def _own(self) -> list[str]:
        words = shlex.split(self.text.rsplit("|", 1)[-1])
        return next((words[place:] for place, word in enumerate(words) if _OURS.search(word)), words)


def pages() -> list[str]:
    """Every document whose commands must be run: what people follow, without the records of decisions and the pages that are
    made from the code, whose examples are the programs' own.
    """
    found = [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")]
    return sorted(
        [
            "README.md",
            "SECURITY.md",
            "CONTRIBUTING.md",
            *(p for p in found if not p.startswith(("docs/adr/", "docs/reference/"))),
        ]
    )


def commands(page: str) -> list[Command]:
    """All commands of a page, in its order."""
    return list(commands_in((ROOT / page).read_text("utf-8"), page))


def commands_in(text: str, page: str) -> Iterator[Command]:
    """All commands of a document's text."""
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type in ("fence", "code_block") and token.info.strip() in SHELLS:
            lines = token.content.replace("\\\n", " ").splitlines()
            session = any(line.startswith("$ ") for line in lines)
            for line in lines:
                told = line[2:] if session and line.startswith("$ ") else "" if session else line
                if told := re.sub(r"\s+#.*", "", told).strip():
                    yield Command(page, (token.map or [0])[0] + 1, re.sub(r"\s+", " ", told))


def claim(page: str, *programs: str, without: tuple[str, ...] = ()) -> list[Command]:
    """The commands of a page that the calling test runs, every one: of these programs, or of all; but for those that begin
    with one of `without`. Write the arguments as literals: `tests/unit/docs_site` reads them.
    """
    return [command for command in commands(page) if claimed(command, programs, without)]


def claimed(command: Command, programs: tuple[str, ...], without: tuple[str, ...]) -> bool:
    """Whether a claim with these arguments takes in the command."""
    return (not programs or command.program in programs) and not command.text.startswith(without or ("\0",))
