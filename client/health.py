"""Whether a hospital's agent lives, and is ready to answer."""

from __future__ import annotations

from dataclasses import dataclass

from client.home import Home
from client.rpc import AgentUnreachableError, call

_SECONDS = 10.0


@dataclass(frozen=True)
class Health:
    """`live`: a process holds the home; `ready`: it answers local IT, and so the courier. What is ready, lives."""

    live: bool
    ready: bool

    @property
    def words(self) -> str:
        """For who asked, with what to do."""
        if self.ready:
            return "ready"
        if self.live:
            return "starting: it opens its slides and serves when it has; its log says how far it is"
        return (
            "no agent runs on this home: start it (`fedpath-hospital start`, its unit or its container), and see details.log "
            "in the home where it ends"
        )


def health(home: Home) -> Health:
    """Ask. Raises `HomeError` where there is no home."""
    home.settings  # noqa: B018 - says what to do where there is no home
    ready = home.status_socket.exists() and _answers(home)
    return Health(ready or home.is_held(), ready)


def ask_agent(home: Home, method: str) -> bytes:
    """What the agent answers local IT. Raises `AgentUnreachableError`, which says how it is where it does not answer."""
    try:
        return call(home.status_socket, method, b"", timeout=_SECONDS)
    except AgentUnreachableError as error:
        found = health(home)
        why = str(error) if found.ready else f"{home.folder}: {found.words}"
        raise AgentUnreachableError(why) from None


def _answers(home: Home) -> bool:
    try:
        return call(home.status_socket, "health", b"", timeout=_SECONDS) == b"ready"
    except AgentUnreachableError:
        return False
