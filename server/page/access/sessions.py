"""Sessions of logged-in users: kept in memory by the hash of what their cookie holds, and over after a while."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from server.page.access.roles import Role

IDLE_S, LONGEST_S = 30 * 60, 12 * 3600
_MOST = 2000  # of all users together; the oldest ends where one more begins


@dataclass(frozen=True)
class Session:
    """Whose, since when and last used when (seconds of the clock that sessions go by). A local user's has the `stamp` that the
    user had then; one of an identity provider's has the `role` that the provider's word gave, for as long as it lasts.
    """

    user: str
    stamp: str | None
    role: Role | None
    csrf: str
    begun: float
    used: float


class Sessions:
    """All sessions of one process; a restart ends them. `clock` gives seconds and never goes back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._all: OrderedDict[str, Session] = OrderedDict()

    def begin(self, user: str, stamp: str | None = None, role: Role | None = None) -> str:
        """A new session; what its cookie is to hold: 256 random bits."""
        token, now = secrets.token_urlsafe(32), self._clock()
        with self._lock:
            while len(self._all) >= _MOST:
                self._all.popitem(last=False)
            self._all[_key(token)] = Session(user, stamp, role, secrets.token_urlsafe(32), now, now)
        return token

    def find(self, token: str, *, use: bool = True) -> Session | None:
        """The session of this cookie, unless it is over. `use` puts its idle end off; a stream of events does not."""
        key, now = _key(token), self._clock()
        with self._lock:
            found = self._all.get(key)
            if found is None:
                return None
            if now - found.used > IDLE_S or now - found.begun > LONGEST_S:
                del self._all[key]
                return None
            if use:
                self._all[key] = found = replace(found, used=now)
            return found

    def end(self, token: str) -> None:
        """Log out."""
        with self._lock:
            self._all.pop(_key(token), None)


def _key(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
