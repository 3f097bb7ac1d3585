"""The page's local users: one file in the home, of mode 0600, with argon2id hashes of their passwords."""

from __future__ import annotations

import fcntl
import json
import re
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from privacy import durable
from server.errors import HomeError
from server.page.access.roles import Role

LEAST_LETTERS, MOST_LETTERS = 12, 256
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_AT_ONCE = threading.BoundedSemaphore(2)  # hashes at once: each takes 64 MiB
_HASHER = PasswordHasher()
_NOBODY = _HASHER.hash(secrets.token_hex(16))  # what an unknown name is checked against, for the same time


@dataclass(frozen=True)
class User:
    """A local user. `stamp` changes whenever role or password do: a session that was opened under another one is over."""

    role: Role
    password: str
    stamp: str


@dataclass(frozen=True)
class Users:
    """The users in `file`. Several processes may read it while one changes it."""

    file: Path

    def all(self) -> dict[str, User]:
        """By name. Raises `HomeError` where the file is damaged."""
        try:
            values = json.loads(self.file.read_text("utf-8"))
            return {
                name: User(Role(one["role"]), str(one["password"]), str(one["stamp"]))
                for name, one in values.items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise HomeError(
                f"{self.file}: it is not as `users` writes it ({error}): restore it, or remove it and add the users anew"
            ) from error

    def add(self, name: str, role: Role, password: str) -> None:
        """Raises `HomeError` for a name that is taken or none, and for a password of no use."""
        if not _NAME.fullmatch(name):
            raise HomeError(f'user {name!r}: use lower-case letters, digits and "._-", 64 at most')
        check_password(name, password)
        with self._changing() as users:
            if name in users:
                raise HomeError(
                    f"user {name!r} is there already: change it with `users role` or `users password`"
                )
            users[name] = _user(role, password)

    def set_role(self, name: str, role: Role) -> None:
        """The user's sessions end. Raises `HomeError` where there is no such user."""
        self._change(name, lambda user: User(role, user.password, secrets.token_hex(16)))

    def set_password(self, name: str, password: str) -> None:
        """The user's sessions end. Raises `HomeError`."""
        check_password(name, password)
        self._change(name, lambda user: _user(user.role, password))

    def remove(self, name: str) -> None:
        """The user's sessions end. Raises `HomeError` where there is no such user."""
        with self._changing() as users:
            if users.pop(name, None) is None:
                raise HomeError(_unknown(name))

    def verified(self, name: str, password: str) -> User | None:
        """The user of this name and password; None where there is none, told after the same time. At most two at once."""
        user = self.all().get(name)
        with _AT_ONCE:
            try:
                _HASHER.verify(_NOBODY if user is None else user.password, password[: MOST_LETTERS + 1])
            except (VerificationError, InvalidHashError):
                return None
        return user

    def _change(self, name: str, to: Callable[[User], User]) -> None:
        with self._changing() as users:
            if name not in users:
                raise HomeError(_unknown(name))
            users[name] = to(users[name])

    @contextmanager
    def _changing(self) -> Iterator[dict[str, User]]:
        """One process at a time; what is there at the end is written as a whole."""
        try:
            with self.file.with_suffix(".lock").open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                users = self.all()
                yield users
                text = json.dumps({name: asdict(users[name]) for name in sorted(users)}, indent=1)
                durable.replace(self.file, text.encode() + b"\n")
        except OSError as error:
            raise HomeError(f"{self.file}: {error.strerror}") from error


def check_password(name: str, password: str) -> None:
    """Raise `HomeError` for one that is too short, too long, or the name itself."""
    if not LEAST_LETTERS <= len(password) <= MOST_LETTERS:
        raise HomeError(f"the password must have {LEAST_LETTERS} to {MOST_LETTERS} letters")
    if name.lower() in password.lower():
        raise HomeError("the password must not hold the user's name")


def shown(users: Mapping[str, User]) -> list[dict[str, str]]:
    """Names and roles, for `users list`."""
    return [{"name": name, "role": user.role} for name, user in sorted(users.items())]


def _user(role: Role, password: str) -> User:
    with _AT_ONCE:
        return User(role, _HASHER.hash(password), secrets.token_hex(16))


def _unknown(name: str) -> str:
    return f"there is no user {name!r}: `users list` names all"
