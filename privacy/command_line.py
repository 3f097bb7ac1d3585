"""What the three programs' command lines share: their tables of contents, exit statuses, answers, progress.

docs/cli.md says it to who types. Imports nothing that starts a thread: an agent's command comes through here first.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any

import click
import typer
from typer.core import TyperGroup

from privacy.printable import printable
from privacy.progress import Tell


class Exit(IntEnum):
    """How a command ends, besides 0 and what a signal makes of it."""

    FOUND = 1  # it did what was asked, and what it looked at is not well
    NOT_DONE = 2  # it could not do what was asked, or was asked wrongly


@dataclass(frozen=True)
class Command:
    """A function that typer runs, under the function's own name where `name` is empty, and lines that show its use."""

    run: Callable[..., None]
    examples: tuple[str, ...]
    name: str


@dataclass(frozen=True)
class Group:
    """Commands under a name of their own: `PROGRAM NAME COMMAND`."""

    name: str
    about: str
    commands: tuple[Command, ...]


def command(run: Callable[..., None], *examples: str, name: str = "") -> Command:
    """One line of a table of contents; each example is what is typed after the program's name."""
    return Command(run, examples, name)


def group(name: str, about: str, *commands: Command) -> Group:
    """Some lines of a table of contents."""
    return Group(name, about, commands)


class _Program(TyperGroup):
    """A tree of commands whose wrong use is told in one line, as every other error is."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """As click's: it ends the process, unless `standalone_mode` is off."""
        try:
            ended = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except (click.ClickException, click.Abort) as error:
            if not standalone_mode:
                raise
            ended = _unanswered(error) if isinstance(error, click.Abort) else _misused(error)
        if not standalone_mode:
            return ended
        sys.exit(ended if isinstance(ended, int) else 0)


def _unanswered(error: click.Abort) -> int:
    """How a question without an answer ends the command: by Ctrl-C, or where nobody is there to give one."""
    if isinstance(error.__context__, KeyboardInterrupt):
        return 128 + signal.SIGINT
    return failed("a question stayed without an answer: nothing was changed").exit_code


def _misused(error: click.ClickException) -> int:
    """Say what is wrong with a command line, and where help is; a program or group without a command has shown its help."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return Exit.NOT_DONE
    said = " ".join(error.format_message().split())
    said = said[:1].lower() + said[1:] + ("" if said.endswith((".", "?", "?)")) else ".")
    context = getattr(error, "ctx", None)
    help_ = f" `{context.command_path} --help` says how it is used" if context is not None else ""
    return failed(said + help_).exit_code


def program(name: str, about: str, panels: Mapping[str, Sequence[Command | Group]]) -> typer.Typer:
    """A program of these commands; `--help` shows them by panel, each panel in the order of a person's work."""

    def add(app: typer.Typer, command: Command, panel: str | None = None) -> None:
        lines = "\n\n".join(f"{name} {example}" for example in command.examples)
        app.command(command.name or None, epilog=lines, rich_help_panel=panel)(command.run)

    # A traceback of typer's would show what every variable held: patients, keys.
    # Click has its own hint at what a mistyped command may mean; typer's would be a second.
    app = typer.Typer(
        name=name,
        cls=_Program,
        help=about,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        suggest_commands=False,
    )
    app.callback()(_whole)
    for panel, entries in panels.items():
        for entry in entries:
            if isinstance(entry, Command):
                add(app, entry, panel)
                continue
            inner = typer.Typer(help=entry.about, no_args_is_help=True)
            inner.callback()(_several)
            for each in entry.commands:
                add(inner, each)
            app.add_typer(inner, name=entry.name, help=entry.about, rich_help_panel=panel)
    return app


def _version(asked: bool) -> None:
    """What runs here: the version, and the hash that ledgers and `trusted_code` know this code by."""
    if not asked:
        return
    from importlib.metadata import PackageNotFoundError, version

    from privacy.code_hash import code_hash
    from privacy.errors import PrivacyError

    with told_plainly(PrivacyError, PackageNotFoundError):
        typer.echo(f"FedPath {version('fedpath')}, code {code_hash()}")
    raise typer.Exit


def _whole(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=_version,
            help="Show the version and the code's hash, and exit.",
        ),
    ] = False,
) -> None:
    """The program's own options."""


def _several() -> None:
    """typer takes a group of one command for that command, unless the group has something to call."""


def answer(values: Mapping[str, Any], words: str, as_json: bool) -> None:
    """Print one JSON object, or the words."""
    typer.echo(json.dumps(values) if as_json else words)


def lines(values: Mapping[str, Any]) -> str:
    """A line for each value."""
    return "\n".join(f"{key.replace('_', ' ')}: {value}" for key, value in values.items())


def plain(text: str) -> str:
    """Lines of text, fit for a terminal: names of files and cells of tables are anyone's bytes."""
    return "\n".join(map(printable, text.split("\n")))


def failed(why: str) -> typer.Exit:
    """Say on standard error why nothing was done, fit for a terminal; the end to raise."""
    typer.echo(f"error: {plain(why)}", err=True)
    return typer.Exit(Exit.NOT_DONE)


def refuse_existing(*files: Path | None) -> None:
    """End the command where one of the files that it was told to write is there: nobody's file is written over for a slip of
    the hand. To be called first, before work that would be lost.
    """
    for file in files:
        if file is not None and os.path.lexists(file):
            raise failed(f"{file} is there already: name a new file, or remove that one first")


@contextmanager
def told_plainly(*kinds: type[Exception]) -> Iterator[None]:
    """An error of these kinds, or a file that can't be read or written, ends the command with its message alone."""
    try:
        yield
    except kinds as error:
        raise failed(str(error)) from None
    except OSError as error:
        if error.filename is None:
            raise
        raise failed(f"{error.filename}: {error.strerror}") from None


@contextmanager
def progress() -> Iterator[Tell]:
    """A bar on standard error, which goes when the work is done; nothing where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        bar = shown.add_task("", total=None)

        def tell(what: str, done: int = 0, of: int | None = None) -> None:
            shown.update(bar, description=printable(what), completed=done, total=of)

        yield tell
