"""Passwords that commands are given: in a file or on standard input, never as an argument that others on the machine see."""

from __future__ import annotations

import sys
from pathlib import Path

from server.errors import HomeError


def password_in(file: Path) -> str:
    """The first line of a file, or of standard input where it is called `-`. Raises `HomeError` where there is none."""
    try:
        text = sys.stdin.readline() if str(file) == "-" else file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HomeError(f"{file}: the password can't be read: {error}") from error
    word = text.split("\n", 1)[0].removesuffix("\r")
    if not word:
        raise HomeError(f"{file}: its first line must be the password; it is empty")
    return word
