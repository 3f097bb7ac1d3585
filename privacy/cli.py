"""`fedpath-audit`: read-only checks of both sides' books, offline, with public keys alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privacy.command_line import Exit, answer, failed, progress, refuse_existing

if TYPE_CHECKING:
    from privacy.audit.verify import Audit
    from privacy.mechanism import Event

Books = Annotated[
    list[Path], typer.Argument(help="exports of ledgers and journals; or a ledger's SQLite file")
]
Keys = Annotated[list[Path], typer.Option("--key", help="a hospital's public key (.pub), for its ledger")]
Coordinators = Annotated[
    list[Path],
    typer.Option(
        "--coordinator", help="the coordinator's public key (.pub), for its journal and its receipts"
    ),
]


def verify(
    books: Books,
    key: Keys = [],  # noqa: B006 - typer reads it, and nobody writes it
    coordinator: Coordinators = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Verify each book by itself and against the others, and recompute every epsilon twice (docs/audit.md).

    Exit status 1 where anything was found, 2 where a file can't be read.
    """
    audited = _audit(books, key, coordinator)
    if as_json:
        from privacy.audit import summary

        typer.echo(json.dumps(summary.to_json(audited)))
    else:
        _tell(audited)
    if audited.findings:
        raise typer.Exit(Exit.FOUND)


def report(
    books: Books,
    out: Annotated[Path, typer.Option(help="the HTML file to write; it must not be there yet")],
    key: Keys = [],  # noqa: B006
    coordinator: Coordinators = [],  # noqa: B006
    pdf: Annotated[Path | None, typer.Option(help="a PDF file to write as well, as new")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Write what `verify` found, and what left when and at which price, for a reader who is no engineer.

    The files need nothing from outside.  The exit status is that of `verify`.
    """
    from privacy.audit.report import html
    from privacy.audit.report.pages import pages
    from privacy.audit.report.pdf import render

    written = [out] if pdf is None else [out, pdf]
    refuse_existing(*written)
    if pdf is not None and pdf.resolve() == out.resolve():
        raise failed(f"{pdf} is the HTML file already: name a new file for the PDF")
    audited = _audit(books, key, coordinator)
    try:
        content = pages(audited, datetime.now(UTC))
        drawn = [html.render(content).encode(), *([] if pdf is None else [render(content)])]
    except Exception as error:
        _tell(audited)
        raise failed(f"the report can't be drawn: {error!r}") from None
    try:
        for path, data in zip(written, drawn, strict=True):
            path.write_bytes(data)
    except OSError as error:
        raise failed(f"{error.filename}: {error.strerror}: name files in a folder that is there") from None
    found, names = len(audited.findings), [str(path) for path in written]
    answer(
        {"written": names, "valid": not found, "findings": found},
        f"wrote {' and '.join(names)}: {found} findings",
        as_json,
    )
    if audited.findings:
        raise typer.Exit(Exit.FOUND)


def _tell(audited: Audit) -> None:
    from privacy.audit import summary

    for line in summary.lines(audited):
        typer.echo(line, err=line.startswith(("FINDING", "NOT VALID")))


def _audit(books: list[Path], hospitals: list[Path], coordinators: list[Path]) -> Audit:
    from privacy import keys
    from privacy.audit.sources import read_source
    from privacy.errors import PrivacyError
    from privacy.ledger.entries import Kind

    try:
        sources = [read_source(path) for path in books]
        ledgers, journals = (
            [keys.load_public(path) for path in paths] for paths in (hospitals, coordinators)
        )
    except PrivacyError as error:
        raise failed(str(error)) from None
    if not ledgers and not journals:
        raise failed(
            "no key was given: name each hospital's with --key, the coordinator's with --coordinator"
        )
    if both := set(ledgers) & set(journals):
        names = ", ".join(key.fingerprint for key in both)
        raise failed(f"the key {names} is given as a hospital's and as the coordinator's: it is one of them")
    with progress() as tell:
        tell("recomputing every epsilon by two accountants")
        from privacy.audit.verify import Trusted, audit
        from privacy.second_accountant import epsilon  # only here: it brings torch with it

        asked = count(1)
        of = sum(entry.kind == Kind.RESERVATION for source in sources for entry in source.entries)

        def second(events: Sequence[Event], delta: float) -> float:
            tell("histories recomputed by two accountants", next(asked), of)
            return epsilon(events, delta)

        return audit(sources, Trusted(tuple(ledgers), tuple(journals)), second)
