"""The pages that are made from the code hold all of it: commands, keys, codes, entries, tables, fields, events."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
import typer
from typer.main import get_command

from auditor.cli import app as audit
from client.cli import app as hospital
from docs_site.codes import SETS, rows
from docs_site.keys import CAMPAIGN_TABLES, comments
from docs_site.markdown import cell, table
from docs_site.pages import made, reference
from docs_site.remarks import remarks
from docs_site.repository import decisions, relinked
from docs_site.watching import SIDES, of
from privacy.audit import journal_forms
from privacy.codes import Refusal
from privacy.egress_record import CODE, COUNTS, DESCRIPTION, RELEASE
from privacy.events import Event
from privacy.ledger import forms as ledger_forms
from privacy.ledger import schema
from privacy.policy import Policy
from privacy.release import Header
from privacy.secagg.outgoing import PARTS
from server import tables
from server.cli import app as consortium
from server.journal import Kind as JournalKind
from tests.documented import ROOT

PAGES = reference(ROOT)
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
)
PROGRAMS = {"fedpath-hospital": hospital, "fedpath-consortium": consortium, "fedpath-audit": audit}


def test_the_pages_that_lie_there_are_those_of_this_code() -> None:
    """Catches a command, key or code that was changed and whose page says what it was before."""
    folder = ROOT / "docs" / "reference"
    lying = {f"reference/{path.name}": path.read_text("utf-8") for path in folder.iterdir()}
    assert lying == PAGES, "run `make reference`"
    assert not made(ROOT).keys() & PAGES.keys()


@pytest.mark.parametrize("page", DOCUMENTS)
def test_links_lead_somewhere_in_a_checkout(page: str) -> None:
    """Catches a link that only the built site can follow; MkDocs looks at the site's, and at their anchors."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", (ROOT / page).read_text("utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\((?!\w+:|#)([^)\s#]+)", text)
    assert [each for each in targets if not ((ROOT / page).parent / each).exists()] == []


def closed_list(text: str) -> list[str]:
    """The rows of what leaves a hospital, links left out."""
    rows = text.split("| record | what it is |\n|---|---|\n")[1].split("\n\n")[0]
    return re.sub(r"\]\([^)]*\)", "]", rows).splitlines()


def test_what_leaves_is_one_list() -> None:
    """Catches a record that may leave and of which one of two pages says nothing, the board's being one of them."""
    readme, board = ((ROOT / page).read_text("utf-8") for page in ("README.md", "docs/concepts/privacy.md"))
    assert closed_list(readme) == closed_list(board)
    named = set(
        re.findall(r"`([a-z]+)(?:/<expert>)?`", " ".join(row.split("|")[1] for row in closed_list(board)))
    )
    assert named == {RELEASE.rstrip("/"), CODE, COUNTS, DESCRIPTION, *PARTS.values()}


def options(app: typer.Typer) -> Iterator[tuple[str, set[str]]]:
    """Each command's path in words, and its options."""

    def walk(command: Any, path: str) -> Iterator[tuple[str, set[str]]]:
        for name, sub in getattr(command, "commands", {}).items():
            yield from walk(sub, f"{path} {name}".strip())
        if path and not hasattr(command, "commands") and not command.hidden:
            yield (
                path,
                {
                    name
                    for parameter in command.params
                    for name in parameter.opts
                    if name.startswith("-") and not parameter.hidden
                },
            )

    yield from walk(get_command(app), "")


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_and_option_is_there(program: str) -> None:
    """Catches a command of a group, or an option, that the page leaves out."""
    sections = {part.split("\n", 1)[0]: part for part in PAGES[f"reference/{program}.md"].split("\n## ")[1:]}
    known = dict(options(PROGRAMS[program]))
    assert sections.keys() == known.keys()
    for path, names in known.items():
        assert f"{program} {path}" in sections[path]
        assert names <= set(re.findall(r"`(--?[a-z][a-z0-9-]*)`", sections[path])), path


def told(page: str, section: str = "") -> dict[str, list[str]]:
    """The rows of a page's tables, or of one section's, by what stands in the first cell in backticks."""
    text = PAGES[page].split(f"\n{section}\n")[1].split("\n#")[0] if section else PAGES[page]
    found = re.findall(r"^\| `([^`]+)` \|(.*)\|$", text, re.MULTILINE)
    return {name: [each.strip() for each in rest.split(" | ")] for name, rest in found}


def test_every_key_of_a_policy_is_there_and_explained() -> None:
    """Catches a key that its own page's example leaves without a word."""
    keys = told("reference/policy-keys.md")
    assert keys.keys() == {item.name for item in fields(Policy)}
    assert [name for name, row in keys.items() if not row[-1]] == []
    assert keys["colluding"][1] == "`1`"
    assert keys["delta"][1] == "must be there"


@pytest.mark.parametrize("name", CAMPAIGN_TABLES)
def test_every_key_of_a_campaign_file_is_there_and_explained(name: str) -> None:
    """Catches a table or key of the file that the page leaves out, or leaves without a word."""
    titles = {"": "## The file's own keys", "stage": "## `[[stage]]`"} | {
        "optimiser": '## `[optimiser."scale/roi"]`',
        "expert": '## `[expert."task/detection"]`',
    }
    keys = told("reference/campaign-keys.md", titles.get(name, f"## `[{name}]`"))
    known = {item.name for item in fields(CAMPAIGN_TABLES[name])}
    assert keys.keys() == {"stage" if key == "stages" else key for key in known}
    assert [key for key, row in keys.items() if not row[-1]] == []


def test_every_code_is_there_with_its_meaning() -> None:
    """Catches a code that somebody meets and finds nowhere, and one that no comment explains."""
    codes = told("reference/codes.md")
    for kind in SETS.values():
        assert {member.value for member in kind} <= codes.keys()
        assert [code for code, meaning in rows(kind) if not meaning] == []
    assert codes[Refusal.BUDGET_EXHAUSTED] == [remarks(Refusal)["BUDGET_EXHAUSTED"]]


@pytest.mark.parametrize(
    ("section", "forms"),
    [
        ("## Kinds in a hospital's ledger", ledger_forms.FORMS),
        ("## Kinds in the coordinator's journal", journal_forms.FORMS),
    ],
)
def test_every_kind_of_entry_and_every_field_is_there(section: str, forms: dict[str, dict[str, Any]]) -> None:
    """Catches a form without words, or a kind that an auditor must look up in the code."""
    text = PAGES["reference/books.md"].split(section)[1].split("\n## ")[0]
    kinds = {part.split("\n", 1)[0]: part for part in text.split("\n### ")[1:]}
    assert kinds.keys() == {str(kind) for kind in forms}
    for kind, expected in forms.items():
        shown = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", kinds[str(kind)], re.MULTILINE))
        assert shown.keys() == expected.keys(), kind
    assert {str(kind) for kind in JournalKind} <= {str(kind) for kind in journal_forms.FORMS}


def test_every_table_column_header_field_and_event_is_there() -> None:
    """Catches a column, a field of a release's header, or a line of a log that is described nowhere."""
    books = PAGES["reference/books.md"]
    for each in (schema.entries, schema.outbox, *tables.metadata.tables.values()):
        text = books.split(f"### {each.name}\n")[-1].split("\n#")[0]
        assert all(f"| `{column.name}` |" in text for column in each.columns), each.name
    assert {item.name for item in fields(Header)} <= told("reference/release-format.md").keys()
    events = told("reference/events.md")
    known = {event.word() for module in SIDES.values() for event in of(module)}
    assert {"work-began", "round-committed", "campaign-started"} <= known == events.keys()
    assert {event.word() for event in below(Event)} <= known


def below(kind: type[Event]) -> Iterator[type[Event]]:
    """The project's own kinds of event, at any depth, that are loaded here."""
    for sub in kind.__subclasses__():
        if not sub.__module__.startswith("tests."):
            yield sub
        yield from below(sub)


@pytest.mark.parametrize(
    ("text", "path", "page"),
    [
        ("[a](docs/howto/deploy.md)", "SECURITY.md", "[a](../howto/deploy.md)"),
        ("[a](../SECURITY.md#keys)", "docs/release.md", "[a](project/security.md#keys)"),
        ("[a](../../SECURITY.md)", "docs/howto/deploy.md", "[a](../project/security.md)"),
        ("[a](campaign.md#what-if)", "docs/start.md", "[a](campaign.md#what-if)"),
        ("[a](../adr/)", "docs/researcher/index.md", "[a](../adr/index.md)"),
        ("[a](https://example.org/x.md) [b](#here)", "docs/a.md", "[a](https://example.org/x.md) [b](#here)"),
        ("![a](images/a.png)", "docs/index.md", "![a](images/a.png)"),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(text: str, path: str, page: str) -> None:
    """Catches a link that is right in the repository and leads nowhere on the site."""
    assert relinked(text, path) == page


def test_the_list_of_decisions_says_which_numbers_it_lacks() -> None:
    """Catches a gap that a reader takes for a record that was taken away."""
    records = [("0001-a.md", "# 1. A\n"), ("0003-b.md", "# ADR 3: B\n")]
    shown = decisions(iter(records))
    assert "the number 0002: nothing" in shown
    assert shown.endswith("- [0001](0001-a.md): A\n- [0003](0003-b.md): B")
    assert "No record" not in decisions(records[:1])


def test_a_wrong_link_stays_wrong() -> None:
    """Catches a rule that mends what is broken in the repository, so that nobody is told."""
    assert relinked("[a](SECURITY.md)", "docs/index.md") == "[a](SECURITY.md)"


def test_comments_are_those_of_the_key_and_its_table() -> None:
    """Catches a comment that is put to another table's key, and one that is lost where it runs on."""
    page = '```toml\na = 1  # of the file\n[t."x"]  # a table\na = "#1"  # of the table,\n       # in two lines\nb = 2\n```\n'
    assert comments(page, "") == {"a": "of the file", "t": "a table"}
    assert comments(page, "t") == {"a": "of the table, in two lines"}


def test_a_cell_stays_a_cell() -> None:
    """Catches text of the code that ends a row, opens a tag, or leaves an empty column."""
    assert cell("a | b\nc <d> `<e>`") == "a \\| b c &lt;d> `<e>`"
    assert (
        table(("a", "b", "c"), [("1", "", "2"), ("3", "", "")])
        == "| a | c |\n| --- | --- |\n| 1 | 2 |\n| 3 |  |\n"
    )
    assert table(("a",), []) == ""
