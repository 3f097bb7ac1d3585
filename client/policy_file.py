"""The hospital's policy file, changed key by key: comments and order of what stands are kept.

The order of writing is file, then ledger. A crash between the two leaves a file that the agent records before it goes by it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from client.errors import HomeError
from client.home import Home
from privacy import durable
from privacy.errors import PolicyError
from privacy.ledger.store import Ledger
from privacy.policy import Policy

MOST_BYTES = 256 * 1024  # of a policy file: far more than comments take


def values(words: list[str]) -> dict[str, Any]:
    """`KEY VALUE` pairs, each value as TOML writes it; a bare word is text. Raises `PolicyError`."""
    if len(words) % 2:
        raise PolicyError(f"{words[-1]}: has no value: give KEY VALUE, and quote what holds spaces")
    pairs = list(zip(words[::2], words[1::2], strict=True))
    if twice := sorted({key for key, _ in pairs if [k for k, _ in pairs].count(key) > 1}):
        raise PolicyError(f"{', '.join(twice)}: is given twice")
    return {key: _value(text) for key, text in pairs}


def _value(text: str) -> Any:
    try:
        read = tomllib.loads(f"value = {text}\n")
    except tomllib.TOMLDecodeError:
        return text
    return read["value"] if len(read) == 1 else text


def edited(text: str, given: Mapping[str, Any], removed: Iterable[str]) -> str:
    """The file's text with these keys set, and those `removed` gone. Raises `PolicyError`."""
    try:
        document = tomlkit.parse(text)
        for key in removed:
            document.pop(key, None)
        for key, value in given.items():
            document[key] = value
    except (TOMLKitError, ValueError) as error:
        raise PolicyError(f"can't be edited: {error}") from error
    return tomlkit.dumps(document)


def read(path: Path) -> str:
    """A policy file's text. Raises `PolicyError`."""
    try:
        data = path.read_bytes()
        if len(data) > MOST_BYTES:
            raise PolicyError(f"{path}: is of {len(data)} bytes, and no policy is of more than {MOST_BYTES}")
        return data.decode("utf-8")
    except OSError as error:
        raise PolicyError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PolicyError(f"{path}: not TOML: {error}") from error


def checked(home: Home, text: str) -> Policy:
    """The policy that `text` is, which must be this hospital's own. Raises `PolicyError`, `HomeError`."""
    try:
        policy = Policy.from_dict(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"not TOML: {error}") from error
    if policy.hospital != home.settings.name:
        raise HomeError(
            f"hospital = {policy.hospital!r}: hospital.toml says {home.settings.name!r}; its name stays"
        )
    return policy


def put(home: Home, text: str, ledger: Ledger) -> Policy:
    """Make `text` the policy, durably: checked whole, then the file, then the signed entry."""
    policy = checked(home, text)
    durable.replace(home.policy_file, text.encode(), home.policy_file.stat().st_mode & 0o777)
    ledger.adopt(policy)
    return policy
