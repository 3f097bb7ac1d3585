"""How a SQLite file is read that another process may be writing: nothing is written, and no writer waits."""

from __future__ import annotations

from pathlib import Path


def parameters(path: Path) -> dict[str, str]:
    """The parameters of a `file:` URI that open it so, as it lies there now: ask again for the next connection.

    Closed in good order, a file has no write-ahead log, and can be read where nothing may be written. Should a writer fold
    its log into the file while it is read so, what is read may be torn: who can tell, by a chain or a check, reads again.
    """
    log = path.with_name(path.name + "-wal")
    return {"mode": "ro"} if log.exists() and log.stat().st_size else {"immutable": "1"}
