"""A password is the first line of a file or of standard input, whichever editor wrote it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from server.errors import HomeError
from server.password_file import password_in


@pytest.mark.parametrize(
    "written", [b"correct horse", b"correct horse\n", b"correct horse\r\n", b"correct horse\nnote\n"]
)
def test_the_first_line_is_the_password(
    tmp_path: Path, written: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a line's end that becomes part of the password, and standard input that is read otherwise than a file."""
    file = tmp_path / "password"
    file.write_bytes(written)
    assert password_in(file) == "correct horse"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(written), "utf-8", newline=""))
    assert password_in(Path("-")) == "correct horse"


@pytest.mark.parametrize("written", [None, b"", b"\n", b"\r\n", b"\xff\n"])
def test_what_is_no_password_is_refused_by_the_files_name(tmp_path: Path, written: bytes | None) -> None:
    """Catches an empty password, and a traceback for a file that is not there or no text."""
    file = tmp_path / "password"
    if written is not None:
        file.write_bytes(written)
    with pytest.raises(HomeError, match=f"^{file}: "):
        password_in(file)
