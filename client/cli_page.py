"""`fedpath-hospital serve`: the hospital's page."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from client.cli_errors import told_plainly
from client.cli_home import HomeArgument


def serve(
    home: HomeArgument,
    host: Annotated[
        str, typer.Option(help="the address to listen on; beyond this machine, TLS is needed")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one")] = 8788,
    name: Annotated[
        list[str] | None,
        typer.Option(help="a host name by which browsers reach it, besides loopback's; may be repeated"),
    ] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="a certificate chain in PEM")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="its private key in PEM, of mode 0600")] = None,
) -> None:
    """Serve the page in the foreground: is it well, what left, budget, policy, campaigns, slides.

    Who may read the home's file `page/address` may open it: it holds the address with a secret, another one after each use.
    """
    from client.errors import HomeError
    from client.home import home_at
    from client.page.app import page
    from client.page.entry import Entry
    from pages.serving import LOOPBACK, Tls, listen
    from pages.serving import serve as serve_page
    from privacy import durable
    from privacy.supervisor import tell_ready

    os.umask(0o077)
    with told_plainly():
        place = home_at(home)
        if (tls_certificate is None) != (tls_key is None):
            raise HomeError("give both --tls-certificate and --tls-key, or neither")
        tls = None if tls_certificate is None or tls_key is None else Tls(tls_certificate, tls_key)
        if host not in ("127.0.0.1", "::1", "localhost") and tls is None:
            raise HomeError(
                f"--host {host} is reached from other machines, and this page shows patients' tissue: give --tls-certificate "
                "and --tls-key, or leave it on loopback and come through ssh"
            )
        if tls is not None and tls.key.exists() and tls.key.stat().st_mode & 0o077:
            raise HomeError(f"{tls.key}: others may read the key: chmod 600 {tls.key}")
        try:
            sock = listen(host, port)
        except OSError as error:
            raise HomeError(f"{host}:{port}: {error.strerror}: name another --port") from error
        shown = f"[{host}]" if ":" in host else host
        address = f"{'https' if tls else 'http'}://{shown}:{sock.getsockname()[1]}/enter?secret="
        place.page.mkdir(mode=0o700, exist_ok=True)
        file = place.page / "address"
        entry = Entry(lambda secret: durable.replace(file, f"{address}{secret}\n".encode()))
        hosts = {*LOOPBACK, host.lower(), *(one.lower() for one in name or ())}
        app = page(place, hosts, entry, secure=tls is not None)

        def ready() -> None:
            # A secret in a journal or a log would let in who reads those.
            terminal = sys.stdout.isatty()
            typer.echo(
                f"open {address}{entry.secret}" if terminal else f"the page serves: its address is in {file}"
            )
            tell_ready()

        try:
            serve_page(app, sock, tls, ready)
        finally:
            file.unlink(missing_ok=True)
