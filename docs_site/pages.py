"""All pages that are made: those of reference, from the code, and those of documents at the repository's root."""

from __future__ import annotations

from pathlib import Path

from auditor.cli import app as audit
from client.cli import app as hospital
from docs_site import books, codes, commands, keys, watching, wire
from docs_site.repository import ROOT_PAGES, decisions, relinked
from server.cli import app as consortium

PROGRAMS = {
    "fedpath-hospital": (
        hospital,
        "For hospital IT, on the hospital's machine. HOME is the hospital's folder, as `init` made it.",
    ),
    "fedpath-consortium": (
        consortium,
        "For the coordinator, on the consortium's machine. HOME is the consortium's folder, as `init` made it.",
    ),
    "fedpath-audit": (audit, "For the auditor, offline, on exports of both sides' books."),
}


_MADE = "<!-- Made from the code by `make reference`: what is changed here is lost. -->\n\n"


def reference(root: Path) -> dict[str, str]:
    """The text of each page of reference, by its place under `docs/`, where it is kept; `root` is the repository's."""
    pages = {
        **{
            f"reference/{name}.md": commands.program(name, app, about)
            for name, (app, about) in PROGRAMS.items()
        },
        "reference/campaign-keys.md": keys.campaign(keys.read(root, "campaign.md")),
        "reference/policy-keys.md": keys.policy(keys.read(root, "policy.md")),
        "reference/books.md": books.books(),
        "reference/release-format.md": wire.release_format(),
        "reference/codes.md": codes.codes(),
        "reference/events.md": watching.events(),
    }
    return {place: _MADE + text for place, text in pages.items()}


def made(root: Path) -> dict[str, str]:
    """The text of each page that no file under `docs/` holds, by its place in the site."""
    records = [(path.name, path.read_text("utf-8")) for path in sorted((root / "docs" / "adr").glob("*.md"))]
    return {
        "adr/index.md": decisions(records),
        **{place: relinked((root / name).read_text("utf-8"), name) for name, place in ROOT_PAGES.items()},
    }
