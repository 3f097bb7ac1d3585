"""The TOML files that say how an import asks: docs/howto/import-labels.md shows them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from client.imports.found import ImportProblem, ImportSourceError

ADVICE = "docs/howto/import-labels.md shows the file"


def read_toml(path: Path) -> dict[str, Any]:
    """What the file holds. Raises `ImportSourceError` where it can't be read, or is no TOML."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ImportSourceError([ImportProblem(path.name, f"it can't be read: {error}", ADVICE)]) from None
