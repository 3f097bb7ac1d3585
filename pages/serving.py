"""A page served by uvicorn: on a socket that is open before anything is said, with bounds on what a stranger may cost."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_CONNECTIONS = 200
_IDLE_S, _END_S = 20, 3


@dataclass(frozen=True)
class Tls:
    """A certificate's chain and its private key, as files in PEM."""

    certificate: Path
    key: Path


def static() -> Mount:
    """The route of the shared style, script and icon: nothing of it is private, browsers ask again whether it changed."""
    return Mount("/static", StaticFiles(packages=[("pages", "static")]), name="static")


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one. Raises `OSError` where it can't be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=64)


def serve(app: ASGIApp, sock: socket.socket, tls: Tls | None, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT, then return; streams are cut after seconds. `ready` is called once a signal ends it
    cleanly, and so may tell the world. Nothing of a request is logged: paths and addresses may tell who looked at what.
    Call it in the main thread.
    """
    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        lifespan="on",
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=_IDLE_S,
        timeout_graceful_shutdown=_END_S,
        h11_max_incomplete_event_size=16 * 1024,
        http="h11",
        ws="none",
        ssl_certfile=None if tls is None else str(tls.certificate),
        ssl_keyfile=None if tls is None else str(tls.key),
    )
    server = uvicorn.Server(config)

    def end(*_: object) -> None:
        server.should_exit = True

    for number in (
        signal.SIGTERM,
        signal.SIGINT,
    ):  # before uvicorn's own handlers stand, and when it raises them again
        signal.signal(number, end)
    ready()
    server.run(sockets=[sock])
