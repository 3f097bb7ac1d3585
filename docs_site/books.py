"""The page of both sides' books: what each kind of entry holds, and the tables that they lie in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlalchemy as sql

from docs_site import markdown
from docs_site.markdown import code, page, table
from privacy.audit import journal_forms
from privacy.forms import Form, words
from privacy.ledger import forms as ledger_forms
from privacy.ledger import schema
from privacy.ledger.entries import Entry
from server import tables


def books() -> str:
    """The ledger, the journal, and their databases."""
    return page(
        "# Ledger and journal",
        "[The ledger](../ledger.md) says what each kind of entry means, and [an audit](../audit.md) what is checked.",
        "## An entry",
        markdown.words(Entry.__doc__),
        "Hash and signature are of this table in canonical JSON, without the two: `format`, `sequence`, `kind`, `at`, `body`, "
        "`previous`.",
        "## Kinds in a hospital's ledger",
        "An entry's `body` has exactly these fields.",
        _kinds(ledger_forms.FORMS.items()),
        "## Kinds in the coordinator's journal",
        "What an audit reads of each. Others that stand there are let be.",
        _kinds(journal_forms.FORMS.items()),
        "## Tables of the ledger's database",
        "`ledger.db` in the hospital's home, or PostgreSQL.",
        _tables((schema.entries, schema.outbox)),
        "## Tables of the consortium's database",
        "`consortium.db` in the consortium's home, or PostgreSQL ([the store](../store.md)).",
        _tables(tables.metadata.sorted_tables),
    )


def _kinds(forms: Iterable[tuple[str, Mapping[str, Form]]]) -> str:
    parts = []
    for kind, fields in forms:
        rows = [(code(name), words(form)) for name, form in fields.items()]
        parts += [f"### {kind}", table(("field", "what"), rows)]
    return page(*parts)


def _tables(found: Iterable[sql.Table]) -> str:
    parts = []
    for each in found:
        rows = [(code(column.name), str(column.type).lower(), _rules(column)) for column in each.columns]
        parts += [f"### {each.name}", table(("column", "type", "rules"), rows)]
    return page(*parts)


def _rules(column: sql.Column[object]) -> str:
    said = ["key"] if column.primary_key else ["may be null"] if column.nullable else []
    said += ["unique"] if column.unique else []
    said += [f"in `{key.target_fullname}`" for key in column.foreign_keys]
    return ", ".join(said)
