"""`fedpath-audit replay`: every round recomputed from the releases that the consortium kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privacy.command_line import Exit, failed
from privacy.printable import printable

if TYPE_CHECKING:
    from privacy.audit.findings import Finding
    from privacy.audit.journal import JournalBook
    from strategies.replay import Replayed


def replay(
    journal: Annotated[Path, typer.Argument(help="the journal that `fedpath-consortium export` wrote")],
    folder: Annotated[Path, typer.Argument(help="the folder that `export --releases` wrote beside it")],
    coordinator: Annotated[
        list[Path], typer.Option("--coordinator", help="the coordinator's public key (.pub)")
    ],
    campaign: Annotated[str | None, typer.Option(help="this campaign alone")] = None,
    number: Annotated[int | None, typer.Option("--round", min=1, help="this round alone")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Recompute rounds bit for bit from the stored releases, and name what comes out otherwise (docs/audit.md).

    Exit status 1 where anything was found, 2 where a file can't be read or there was nothing to recompute.
    """
    book = _book(journal, coordinator)
    if not folder.is_dir():
        raise failed(f"{folder} is no folder: name the one that `fedpath-consortium export --releases` wrote")
    from strategies.replay import replay as recompute
    from strategies.replay import strays

    rounds: list[Replayed] = []
    for done in recompute(book, folder, campaign, number):
        rounds.append(done)
        typer.echo(printable(_told(done)), err=as_json)  # as it goes, for it may take long
    findings: list[Finding] = [
        *book.chain.findings,
        *book.findings,
        *(difference for done in rounds for difference in done.differences),
        *strays(book, folder),
    ]
    recomputed = sum(done.left_out is None for done in rounds)
    if not findings and not recomputed:
        raise failed("there was nothing to recompute: no such round is in the journal, or none was kept")
    if as_json:
        typer.echo(json.dumps(_values(book, rounds, findings)))
    else:
        for line in _lines(book, findings, recomputed, len(rounds)):
            typer.echo(printable(line), err=line.startswith(("FINDING", "NOT VALID")))
    if findings:
        raise typer.Exit(Exit.FOUND)


def _book(path: Path, coordinators: list[Path]) -> JournalBook:
    from privacy import keys
    from privacy.audit import chain
    from privacy.audit.journal import read_journal
    from privacy.audit.sources import Side, read_source
    from privacy.errors import PrivacyError

    try:
        source, trusted = read_source(path), [keys.load_public(key) for key in coordinators]
    except PrivacyError as error:
        raise failed(str(error)) from None
    if source.side is not Side.COORDINATOR:
        why = source.damage[0] if source.side is None else "it is a hospital's ledger"
        raise failed(f"{path}: {why}: name the coordinator's journal")
    return read_journal(source, chain.check(source, trusted))


def _told(done: Replayed) -> str:
    what = f"round {done.round} of {done.campaign}, {done.releases} releases"
    came = f"not recomputed: {done.left_out}"
    if done.left_out is None:
        came = f"the same, bit for bit: {', '.join(done.same) or 'nothing'}"
    return f"{what}: {came}" + (f"; {len(done.differences)} findings" if done.differences else "")


def _lines(book: JournalBook, findings: list[Finding], recomputed: int, of: int) -> Iterator[str]:
    for note in (*book.chain.notes, *book.notes):
        yield f"note: {note}"
    for finding in findings:
        yield f"FINDING: {finding}"
    done = f"{recomputed} of {of} rounds recomputed"
    yield f"NOT VALID: {len(findings)} findings; {done}" if findings else f"valid: nothing was found; {done}"


def _values(book: JournalBook, rounds: list[Replayed], findings: list[Finding]) -> dict[str, Any]:
    return {
        "valid": not findings,
        "findings": [asdict(finding) for finding in findings],
        "notes": [asdict(note) for note in (*book.chain.notes, *book.notes)],
        "rounds": [asdict(done) for done in rounds],
    }
