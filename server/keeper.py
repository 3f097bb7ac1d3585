"""Keeping a SuperLink: it runs as long as this process does, and knows the nodes of those who are enrolled, and nobody else's."""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from privacy.events import Name, Ordinal, incident, tell
from server import superlink
from server.errors import ServerError, SuperLinkError
from server.events import NodeKnown, NodesForgotten, NodesNotBroughtUpToDate
from server.flower_cli import environment
from server.home import Home
from server.loopback import accepts
from server.store import Store

_WATCH_S, _FIRST_WATCH_S = 2.0, 0.2
_LOG = logging.getLogger("fedpath")
_GRACE_S = 20.0  # as Flower's own processes end within


@contextmanager
def started(home: Home, more: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A SuperLink, with `more` in its environment, that ends when the block does, however that ends.

    Raises `SuperLinkError` where its port is taken.
    """
    if accepts(home.port):
        raise SuperLinkError(f"port {home.port} is taken: is a SuperLink running already?")
    link = subprocess.Popen(
        superlink.superlink_command(home),
        env={**environment(home.folder / "flower" / "superlink"), **more},
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


def keep(
    home: Home,
    store: Store,
    link: subprocess.Popen[bytes],
    ready: Callable[[], None],
    each_time: Callable[[], None],
) -> None:
    """Make nodes known, and have them forgotten, as hospitals come and go, until the SuperLink ends; `ready` is called when it
    listens, `each_time` at each look.

    What can't be done now is told once, and tried again: it costs one hospital its connection, and must not cost all
    others theirs.
    """
    known: set[bytes] = set()  # node keys
    forgotten: set[bytes] = set()
    listens, trouble = False, ""
    while link.poll() is None:
        each_time()
        if not listens and (listens := accepts(home.port)):
            ready()
        try:
            if listens:
                _bring_up_to_date(home, store, known, forgotten)
            trouble = ""
        except ServerError as error:
            if str(error) != trouble:
                number = incident()
                _LOG.warning("%s: not up to date, and tried again: %s", number, error)
                tell(NodesNotBroughtUpToDate(number))
            trouble = str(error)
        time.sleep(_WATCH_S if known or forgotten or trouble else _FIRST_WATCH_S)


def _bring_up_to_date(home: Home, store: Store, known: set[bytes], forgotten: set[bytes]) -> None:
    new = [hospital for hospital in store.hospitals().values() if hospital.supernode_key not in known]
    if gone := store.revoked_nodes() - forgotten:
        superlink.unregister_all(home, gone)
        forgotten |= gone
        tell(NodesForgotten(Ordinal(len(gone))))
    if new:
        superlink.register_all(home, new)
        known |= {hospital.supernode_key for hospital in new}
        for hospital in new:
            tell(NodeKnown(Name(hospital.name)))
