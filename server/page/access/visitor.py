"""Who looks at a page."""

from __future__ import annotations

from dataclasses import dataclass

from server.page.access.roles import Role


@dataclass(frozen=True)
class Visitor:
    """A logged-in user. `csrf` goes into every form as the hidden field `csrf`: it belongs to this session alone."""

    name: str
    role: Role
    csrf: str
