"""Keeping a SuperLink: it runs as long as this process does, and knows the nodes of those who are enrolled, and nobody else's."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from server import superlink
from server.errors import ServerError, SuperLinkError
from server.flower_cli import environment
from server.home import Home
from server.loopback import accepts
from server.store import Store

_WATCH_S, _FIRST_WATCH_S = 2.0, 0.2
_GRACE_S = 20.0  # as Flower's own processes end within


@contextmanager
def started(home: Home) -> Iterator[subprocess.Popen[bytes]]:
    """A SuperLink that ends when the block does, however that ends. Raises `SuperLinkError` where its port is taken."""
    if accepts(home.port):
        raise SuperLinkError(f"port {home.port} is taken: is a SuperLink running already?")
    link = subprocess.Popen(
        superlink.superlink_command(home), env=environment(home.folder / "flower" / "superlink")
    )
    try:
        yield link
    finally:
        link.terminate()
        try:
            link.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            link.kill()
            link.wait()


def keep(home: Home, store: Store, link: subprocess.Popen[bytes], say: Callable[[str], None]) -> int:
    """Make nodes known, and have them forgotten, as hospitals come and go, until the SuperLink ends: its exit status.

    What can't be done now is said, once, and tried again: it costs one hospital its connection, and must not cost all
    others theirs.
    """
    known: set[bytes] = set()  # node keys
    forgotten: set[bytes] = set()
    said = ""
    while link.poll() is None:
        try:
            told = _brought_up_to_date(home, store, known, forgotten)
            if told or said:
                say(told or "all is up to date again")
            said = ""
        except ServerError as error:
            if str(error) != said:
                say(f"not up to date, and tried again: {error}")
            said = str(error)
        time.sleep(_WATCH_S if known or forgotten or said else _FIRST_WATCH_S)
    return link.returncode


def _brought_up_to_date(home: Home, store: Store, known: set[bytes], forgotten: set[bytes]) -> str:
    """Who is known now, where that changed; "" where it did not, or the SuperLink does not listen yet."""
    new = [h for h in store.hospitals().values() if h.supernode_key not in known]
    gone = store.revoked_nodes() - forgotten
    if not (new or gone) or not accepts(home.port):
        return ""
    superlink.unregister_all(home, gone)
    forgotten |= gone
    superlink.register_all(home, new)
    known |= {hospital.supernode_key for hospital in new}
    names = sorted(h.name for h in store.hospitals().values() if h.supernode_key in known)
    return f"known to the SuperLink: {', '.join(names) or 'nobody'}"
