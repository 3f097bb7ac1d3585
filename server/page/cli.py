"""`fedpath-consortium serve` and `users`: the coordinator's page, and who may look at it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from privacy.command_line import answer
from server.cli_errors import told_plainly
from server.page.access.roles import Role

if TYPE_CHECKING:
    from server.page.access.users import Users

HomeArgument = Annotated[Path, typer.Argument(help="the consortium's home folder")]
NameArgument = Annotated[str, typer.Argument(help="the user's name")]
RoleOption = Annotated[Role, typer.Option(help="what the user may")]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object")]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        help="a file whose first line is the password (- for standard input); without it, you are asked"
    ),
]


def serve(
    home: HomeArgument,
    host: Annotated[
        str, typer.Option(help="the address to listen on; beyond this machine, TLS is needed")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one")] = 8787,
    public_url: Annotated[
        str | None,
        typer.Option(
            help="the address by which browsers reach it, where that is another: https://fedpath.example.org"
        ),
    ] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="a certificate chain in PEM")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="its private key in PEM, of mode 0600")] = None,
) -> None:
    """Serve the page in the foreground: campaigns, hospitals, experts and privacy, live.

    Users are made with `fedpath-consortium users add`. Stop it with SIGTERM or Ctrl-C.
    """
    from pages.serving import listen
    from pages.serving import serve as serve_page
    from privacy.supervisor import tell_ready
    from server.errors import HomeError
    from server.home import Home
    from server.page.access.access import users_of
    from server.page.app import page
    from server.page.reached import reached

    os.umask(0o077)
    with told_plainly():
        place = Home.open(home)
        where = reached(host, public_url, tls_certificate, tls_key)
        app = page(place, where.names, secure=where.secure)
        if not users_of(place).all():
            typer.echo(
                f"nobody may log in yet: `fedpath-consortium users add {home} NAME --role coordinator`",
                err=True,
            )
        try:
            sock = listen(host, port)
        except OSError as error:
            raise HomeError(f"{host}:{port}: {error.strerror}: name another --port") from error

        def ready() -> None:
            typer.echo(f"the page is at {where.address(sock.getsockname()[1])}")
            tell_ready()

        serve_page(app, sock, where.tls, ready)


def add(
    home: HomeArgument,
    user: NameArgument,
    role: RoleOption,
    password_file: PasswordFile = None,
    as_json: JsonOption = False,
) -> None:
    """Add a user."""
    with told_plainly():
        _users(home).add(user, role, _password(password_file))
    answer({"user": user, "role": role}, f"added {user}, {role}", as_json)


def list_users(home: HomeArgument, as_json: JsonOption = False) -> None:
    """All users and their roles."""
    from server.page.access.users import shown

    with told_plainly():
        found = shown(_users(home).all())
    if as_json:
        typer.echo(json.dumps({"users": found}))
        return
    table = Table("user", "role")
    for one in found:
        table.add_row(one["name"], one["role"])
    Console().print(table)


def set_role(home: HomeArgument, user: NameArgument, role: RoleOption, as_json: JsonOption = False) -> None:
    """Give a user another role; the user's sessions end."""
    with told_plainly():
        _users(home).set_role(user, role)
    answer({"user": user, "role": role}, f"{user} is {role} now", as_json)


def set_password(
    home: HomeArgument, user: NameArgument, password_file: PasswordFile = None, as_json: JsonOption = False
) -> None:
    """Give a user another password; the user's sessions end."""
    with told_plainly():
        _users(home).set_password(user, _password(password_file))
    answer({"user": user, "done": "password"}, f"{user} has a new password", as_json)


def remove(home: HomeArgument, user: NameArgument, as_json: JsonOption = False) -> None:
    """Remove a user; the user's sessions end."""
    with told_plainly():
        _users(home).remove(user)
    answer({"user": user, "done": "removed"}, f"removed {user}", as_json)


def _users(home: Path) -> Users:
    from server.home import Home
    from server.page.access.access import users_of

    os.umask(0o077)
    return users_of(Home.open(home))


def _password(file: Path | None) -> str:
    from server.password_file import password_in

    if file is None:
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return password_in(file)
