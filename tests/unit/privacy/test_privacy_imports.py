"""What `privacy` imports, and which code its hash covers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import privacy
from privacy.code_hash import code_hash
from privacy.errors import PrivacyError

WITH_TORCH = {
    "checkpoint",
    "clip",
    "noise",
    "noised_counts",
    "descent",
    "second_accountant",
    "secagg.clipped_share",
}


def test_the_couriers_half_of_privacy_needs_no_torch() -> None:
    """Catches an import that would cost every message seconds, or let the courier's process grow a model."""
    modules = {path.stem for path in Path(privacy.__file__).parent.glob("*.py")} - {"__init__"}
    secagg = {f"secagg.{path.stem}" for path in (Path(privacy.__file__).parent / "secagg").glob("[!_]*.py")}
    imports = "; ".join(
        f"import privacy.{name}" for name in sorted((modules | secagg | {"ledger.store"}) - WITH_TORCH)
    )
    unwanted = {"torch", "client", "server", "strategies"}
    code = f"{imports}; import sys; sys.exit(bool({unwanted} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_code_hash_covers_names_and_contents_and_no_byte_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a change of code that the hash does not show, and a hash that changes when code merely runs."""
    package = tmp_path / "hashed_package"
    (package / "__pycache__").mkdir(parents=True)
    (package / "__init__.py").write_text("a = 1")
    monkeypatch.syspath_prepend(tmp_path)
    first = code_hash(("hashed_package",))
    (package / "__pycache__" / "x.pyc").write_bytes(b"x")
    assert code_hash(("hashed_package",)) == first
    (package / "__init__.py").write_text("a = 2")
    second = code_hash(("hashed_package",))
    (package / "__init__.py").rename(package / "other.py")
    assert len({first, second, code_hash(("hashed_package",))}) == 3
    with pytest.raises(PrivacyError, match="not installed"):
        code_hash(("no_such_package",))


def test_the_installations_own_hash_is_stable() -> None:
    """Catches a hash that depends on the order in which a disk lists its files."""
    assert code_hash() == code_hash()
