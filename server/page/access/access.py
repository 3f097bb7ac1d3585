"""What the guard knows: users, their sessions, and failures to log in."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from server.home import Home
from server.page.access.attempts import Attempts
from server.page.access.oidc import Provider, read_oidc
from server.page.access.roles import Role
from server.page.access.sessions import Session, Sessions
from server.page.access.users import Users
from server.page.access.visitor import Visitor


def users_of(home: Home) -> Users:
    """The users of a home's page."""
    return Users(home.folder / "keys" / "page-users.json")


def access_of(home: Home, *, secure: bool) -> Access:
    """Users and identity provider of a home's page. Raises `HomeError` for settings that can't be used."""
    settings = read_oidc(home.folder)
    provider = None if settings is None else Provider(settings, time.monotonic)
    return Access(users_of(home), secure, provider=provider)


@dataclass(frozen=True)
class Access:
    """`provider` is None where only local users are let in; `secure` where the page is served over TLS: its cookies then go
    nowhere else.
    """

    users: Users
    secure: bool
    clock: Callable[[], float] = time.monotonic
    provider: Provider | None = None
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
        role = None if session is None else session.role or self._role(session)
        return None if session is None or role is None else Visitor(session.user, role, session.csrf)

    def _role(self, session: Session) -> Role | None:
        user = self.users.all().get(session.user)
        return user.role if user is not None and user.stamp == session.stamp else None
