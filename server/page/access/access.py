"""What the guard knows: users, their sessions, and failures to log in."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from server.home import Home
from server.page.access.attempts import Attempts
from server.page.access.sessions import Session, Sessions
from server.page.access.users import User, Users
from server.page.access.visitor import Visitor


def users_of(home: Home) -> Users:
    """The users of a home's page."""
    return Users(home.folder / "keys" / "page-users.json")


@dataclass(frozen=True)
class Access:
    """`secure` where the page is served over TLS: its cookie then goes nowhere else."""

    users: Users
    secure: bool
    clock: Callable[[], float] = time.monotonic
    sessions: Sessions = field(init=False)
    attempts: Attempts = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sessions", Sessions(self.clock))
        object.__setattr__(self, "attempts", Attempts(self.clock))

    @property
    def cookie(self) -> str:
        """Its name: browsers take a `__Host-` cookie from this very host over TLS alone."""
        return "__Host-fedpath" if self.secure else "fedpath"

    def visitor(self, token: str | None, *, use: bool = True) -> Visitor | None:
        """Who comes with this cookie; None where its session is over, or the user gone or changed since."""
        session = None if token is None else self.sessions.find(token, use=use)
        user = None if session is None else self._user(session)
        if session is None or user is None:
            return None
        return Visitor(session.user, user.role, session.csrf)

    def _user(self, session: Session) -> User | None:
        user = self.users.all().get(session.user)
        return user if user is not None and user.stamp == session.stamp else None
