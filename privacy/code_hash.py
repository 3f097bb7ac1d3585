"""Which code runs here: a hash of the installation's own files, stated in releases and ledger entries."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from privacy.errors import PrivacyError

PACKAGES = ("client", "privacy")


def code_hash(packages: tuple[str, ...] = PACKAGES) -> str:
    """SHA-256 over the names and contents of all files of `packages`, byte code left out.

    The same on every machine that installed the same version.  Raises `PrivacyError` where one is missing.
    """
    whole = hashlib.sha256()
    for package in sorted(packages):
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise PrivacyError(f"package {package!r} is not installed here: install fedpath in full")
        for root in sorted(map(Path, spec.submodule_search_locations)):
            for path in sorted(root.rglob("*"), key=lambda path: path.relative_to(root).as_posix()):
                if path.is_file() and "__pycache__" not in path.parts:
                    name = f"{package}/{path.relative_to(root).as_posix()}"
                    whole.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()
