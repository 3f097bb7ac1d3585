"""`fedpath-audit`: read-only checks of both sides' books, offline, with public keys alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privacy import keys
from privacy.audit import summary
from privacy.audit.sources import read_source
from privacy.cli_plan import plan
from privacy.errors import PrivacyError
from privacy.printable import printable

if TYPE_CHECKING:
    from privacy.audit.verify import Audit

app = typer.Typer(
    help="Check hospitals' ledgers and the coordinator's journal, offline.",
    no_args_is_help=True,
    add_completion=False,
)
app.command()(plan)

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
_FOUND, _UNREADABLE = 1, 2


@app.callback()
def main() -> None:
    """Check hospitals' ledgers and the coordinator's journal, offline."""


@app.command()
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
        typer.echo(json.dumps(summary.to_json(audited)))
    else:
        _tell(audited)
    if audited.findings:
        raise typer.Exit(_FOUND)


@app.command()
def report(
    books: Books,
    out: Annotated[Path, typer.Option(help="the HTML file to write")],
    key: Keys = [],  # noqa: B006
    coordinator: Coordinators = [],  # noqa: B006
    pdf: Annotated[Path | None, typer.Option(help="a PDF file to write as well")] = None,
) -> None:
    """Write what `verify` found, and what left when and at which price, for a reader who is no engineer.

    The files need nothing from outside.  The exit status is that of `verify`.
    """
    from privacy.audit.report import html
    from privacy.audit.report.pages import pages
    from privacy.audit.report.pdf import render

    written = [out] if pdf is None else [out, pdf]
    for path in written:
        if (
            path.resolve() in {given.resolve() for given in (*books, *key, *coordinator)}
            or written.count(path) > 1
        ):
            raise _failed(f"{path} is read, or written, already: name another file for the report")
    audited = _audit(books, key, coordinator)
    try:
        content = pages(audited, datetime.now(UTC))
        drawn = [html.render(content).encode(), *([] if pdf is None else [render(content)])]
    except Exception as error:
        _tell(audited)
        raise _failed(f"the report can't be drawn: {error!r}") from None
    try:
        for path, data in zip(written, drawn, strict=True):
            path.write_bytes(data)
    except OSError as error:
        raise _failed(f"{error.filename}: {error.strerror}: name files in a folder that is there") from None
    typer.echo(f"wrote {out}{'' if pdf is None else f' and {pdf}'}: {len(audited.findings)} findings")
    if audited.findings:
        raise typer.Exit(_FOUND)


def _tell(audited: Audit) -> None:
    for line in summary.lines(audited):
        typer.echo(line, err=line.startswith(("FINDING", "NOT VALID")))


def _audit(books: list[Path], hospitals: list[Path], coordinators: list[Path]) -> Audit:
    try:
        sources = [read_source(path) for path in books]
        ledgers, journals = (
            [keys.load_public(path) for path in paths] for paths in (hospitals, coordinators)
        )
    except PrivacyError as error:
        raise _failed(str(error)) from None
    if not ledgers and not journals:
        raise _failed(
            "no key was given: name each hospital's with --key, the coordinator's with --coordinator"
        )
    if both := set(ledgers) & set(journals):
        names = ", ".join(key.fingerprint for key in both)
        raise _failed(f"the key {names} is given as a hospital's and as the coordinator's: it is one of them")
    typer.echo("recomputing every epsilon by two accountants: about half a second a round", err=True)
    from privacy.audit.verify import Trusted, audit
    from privacy.second_accountant import epsilon  # only here: it brings torch with it

    return audit(sources, Trusted(tuple(ledgers), tuple(journals)), epsilon)


def _failed(why: str) -> typer.Exit:
    typer.echo(f"error: {printable(why)}", err=True)
    return typer.Exit(_UNREADABLE)
