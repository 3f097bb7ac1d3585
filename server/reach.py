"""Whether this home's SuperLink, or a campaign's runner, does its work on this machine."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime

from server.errors import HomeError, SuperLinkError
from server.home import Home
from server.loopback import accepts
from server.provision.authority import CA_CERTIFICATE, server_expires
from server.store import Store

_SECONDS = 10.0


def require_superlink(home: Home) -> None:
    """Raise `SuperLinkError` unless what listens on the home's port shows the home's certificate, `HomeError` where that has
    expired. Nothing is asked of it.
    """
    context = ssl.create_default_context(cafile=home.folder / CA_CERTIFICATE)
    try:
        with (
            socket.create_connection(("127.0.0.1", home.port), _SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=home.host),
        ):
            pass
    except ssl.SSLError as error:
        require_certificate(home, datetime.now(UTC))
        raise SuperLinkError(
            f"what listens on port {home.port} has not this home's certificate ({error.reason}): is it another "
            "program, or a SuperLink from before the certificate was renewed? Start it anew"
        ) from error
    except OSError as error:
        raise SuperLinkError(
            f"nothing answers on port {home.port}: run `fedpath-consortium start {home.folder}` first"
        ) from error


def require_certificate(home: Home, now: datetime) -> None:
    """Raise `HomeError` where the server's certificate has expired."""
    if (ended := server_expires(home.folder)) <= now:
        raise HomeError(
            f"the SuperLink's certificate expired at {ended:%Y-%m-%d %H:%M} UTC, and whoever is not connected is kept out: "
            f"`fedpath-consortium renew {home.folder}`, then start it anew; hospitals need do nothing"
        )


def require_page(port: int) -> None:
    """Raise `HomeError` unless something listens on this port of loopback, where the page is served."""
    if not accepts(port):
        raise HomeError(f"nothing answers on port {port}: run `fedpath-consortium serve` first")


def require_runner(home: Home, store: Store, campaign: str) -> None:
    """Raise `SuperLinkError` unless a process runs the campaign, or it is done."""
    state = store.run_state(campaign)
    if home.is_running(campaign) or (state is not None and state.state == "done"):
        return
    raise SuperLinkError(
        f"nothing runs campaign {campaign!r}: `fedpath-consortium status` says why; run it again, and it goes on from "
        "the last committed round"
    )
