"""What `start` answers to monitoring, where it is asked to: GET /metrics, /live and /ready, on loopback alone.

Each request has a thread and a time limit, so that figures that wait for a database keep nobody from asking whether `start`
lives; who talks slowly or nonsense costs a socket for that long. Figures are collected for one who asks at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from server.errors import SuperLinkError

_SECONDS = 2.0


class Monitor:
    """Serves until the process ends. Raises `SuperLinkError` where the port can't be had."""

    def __init__(self, port: int, metrics: Callable[[], bytes], ready: Callable[[], bool]) -> None:
        collecting = threading.Lock()

        class Answer(BaseHTTPRequestHandler):
            timeout = _SECONDS

            def do_GET(self) -> None:
                if self.path == "/metrics":
                    with collecting:
                        figures = metrics()
                    self._say(HTTPStatus.OK, figures)
                elif self.path == "/live":
                    self._say(HTTPStatus.OK, b"live\n")
                elif self.path == "/ready":
                    good = ready()
                    status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
                    self._say(status, b"ready\n" if good else b"not ready\n")
                else:
                    self._say(HTTPStatus.NOT_FOUND, b"/metrics, /live, /ready\n")

            def _say(self, status: HTTPStatus, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
                """Nothing: what came in is anyone's bytes."""

        try:
            server = _Quiet(("127.0.0.1", port), Answer)
        except OSError as error:
            raise SuperLinkError(f"port {port} for metrics: {error.strerror}: name another") from error
        self.port = server.server_port
        threading.Thread(target=server.serve_forever, name="monitor", daemon=True).start()


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing is said, nothing ends: a request that failed is answered by a closed connection."""
