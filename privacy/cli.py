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
Keys = Annotated[
    list[Path], typer.Option("--key", help="a public key (.pub) to trust: each hospital's, the coordinator's")
]
_FOUND, _UNREADABLE = 1, 2


@app.callback()
def main() -> None:
    """Check hospitals' ledgers and the coordinator's journal, offline."""


@app.command()
def verify(
    books: Books,
    key: Keys,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Verify each book by itself and against the others, and recompute every epsilon twice (docs/audit.md).

    Exit status 1 where anything was found, 2 where a file can't be read.
    """
    audited = _audit(books, key)
    if as_json:
        typer.echo(json.dumps(summary.to_json(audited)))
    else:
        for line in summary.lines(audited):
            typer.echo(line, err=line.startswith(("FINDING", "NOT VALID")))
    if audited.findings:
        raise typer.Exit(_FOUND)


@app.command()
def report(
    books: Books,
    key: Keys,
    out: Annotated[Path, typer.Option(help="the HTML file to write")],
    pdf: Annotated[Path | None, typer.Option(help="a PDF file to write as well")] = None,
) -> None:
    """Write what `verify` found, and what left when and at which price, for a reader who is no engineer.

    The files need nothing from outside.  The exit status is that of `verify`.
    """
    from privacy.audit.report import html
    from privacy.audit.report.pages import pages
    from privacy.audit.report.pdf import render

    audited = _audit(books, key)
    content = pages(audited, datetime.now(UTC))
    try:
        out.write_text(html.render(content), "utf-8")
        if pdf is not None:
            pdf.write_bytes(render(content))
    except OSError as error:
        typer.echo(
            f"error: {error.filename}: {error.strerror}: name files in a folder that is there", err=True
        )
        raise typer.Exit(_UNREADABLE) from None
    typer.echo(f"wrote {out}{'' if pdf is None else f' and {pdf}'}: {len(audited.findings)} findings")
    if audited.findings:
        raise typer.Exit(_FOUND)


def _audit(books: list[Path], key: list[Path]) -> Audit:
    try:
        sources = [read_source(path) for path in books]
        trusted = [keys.load_public(path) for path in key]
    except PrivacyError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(_UNREADABLE) from None
    typer.echo("recomputing every epsilon by two accountants: about half a second a round", err=True)
    from privacy.audit.verify import audit
    from privacy.second_accountant import epsilon  # only here: it brings torch with it

    return audit(sources, trusted, epsilon)
