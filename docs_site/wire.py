"""The page of the release format: the one thing that leaves a hospital."""

from __future__ import annotations

from dataclasses import fields

from docs_site.markdown import code, page, table, words
from privacy import release
from privacy.mechanism import Event

_TYPES = {
    "str": "text",
    "int": "whole number",
    "float": "number",
    "Event": "table, below",
    "Mapping[str, Shape]": "table of lists of whole numbers",
}


def release_format() -> str:
    """Layout, header and checks of a release."""
    return page(
        "# Release format",
        words(release.__doc__),
        f"The magic is {code(release.MAGIC.decode())}; the payload begins at byte {release.PAYLOAD}.",
        "## Header",
        words(release.Header.__doc__),
        table(("field", "type"), _rows(release.Header)),
        "### event",
        words(Event.__doc__),
        table(("field", "type"), _rows(Event)),
        "## How it is checked",
        words(release.check.__doc__),
        "The names of what can be wrong are [codes](codes.md#why-a-release-does-not-count).",
    )


def _rows(kind: type) -> list[tuple[str, str]]:
    return [(code(item.name), _TYPES[str(item.type)]) for item in fields(kind)]
