"""How the repository's own Markdown becomes pages: documents at its root, and links that lead out of `docs/`."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

ROOT_PAGES = {
    "SECURITY.md": "project/security.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
}
_LINK = re.compile(r"\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)")


def relinked(text: str, path: str) -> str:
    """A document's text as that of a page, its links to other documents led to their pages.

    `path` is the document's in the repository. Links that have no page stay as they are: MkDocs names them.
    """
    here = posixpath.dirname(_page(path))

    def moved(link: re.Match[str]) -> str:
        target = _page(posixpath.normpath(posixpath.join(posixpath.dirname(path), link[1])))
        return f"]({posixpath.relpath(target, here or '.')}{link[2] or ''})"

    return _LINK.sub(moved, text)


def _page(path: str) -> str:
    """The place in the site of a file of the repository; where it has none, one outside of the site."""
    if path in ROOT_PAGES:
        return ROOT_PAGES[path]
    if path == "docs/adr":
        return "adr/index.md"
    return path.removeprefix("docs/") if path.startswith("docs/") else f"../{path}"


def decisions(records: Iterable[tuple[str, str]]) -> str:
    """The list of decision records, of each record's file name and text; it says which numbers no record has."""
    records = list(records)
    taken = {int(name[:4]) for name, _ in records}
    missing = [f"{number:04}" for number in range(1, max(taken, default=0)) if number not in taken]
    left_out = (
        f"No record ever had the number {' or '.join(missing)}: nothing is renumbered.\n\n" if missing else ""
    )
    lines = [f"- [{name[:4]}]({name}): {_title(text)}" for name, text in records]
    return (
        "# Decisions\n\nWhat was decided, with what was considered, in the order of time.\n\n"
        + left_out
        + "\n".join(lines)
    )


def _title(text: str) -> str:
    return re.sub(r"^#\s*(ADR\s*)?\d*[.:]?\s*", "", text.split("\n", 1)[0])
