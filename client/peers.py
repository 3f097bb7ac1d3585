"""The other hospitals that this one knows to be real, by their release keys: its own record, never the coordinator's.

Under distributed trust a hospital masks its sum with the others'. Whoever it takes for another hospital could be the
coordinator in disguise; so keys come from the hospitals themselves, and fingerprints are compared by telephone.
"""

from __future__ import annotations

from pathlib import Path

from client.errors import HomeError
from privacy import durable, keys
from privacy.keys import PublicKey
from privacy.policy import is_hospital

_SUFFIX = ".pub"


def known(folder: Path) -> dict[str, PublicKey]:
    """The hospitals on record, by name. Raises `HomeError` for a file of another name, `KeyFileError` for no key.

    What a death left of an `add` (`privacy.durable`) is none of them.
    """
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix == ".part":
            continue
        if path.suffix != _SUFFIX or not is_hospital(path.stem):
            raise HomeError(f"{path}: is no hospital's key: add hospitals with `fedpath-hospital peer add`")
        found[path.stem] = keys.load_public(path)
    return found


def add(folder: Path, own: str, name: str, file: Path) -> PublicKey:
    """Put a hospital's key on record; returns it, to be compared.

    Raises `HomeError` for a name that is none, or this hospital's own, and where the hospital is on record by another key:
    that is removed by hand, once the hospital itself has said that it took up a new one; `KeyFileError` for no key.
    """
    if not is_hospital(name) or name == own:
        raise HomeError(
            f"{name!r}: use another hospital's name, as it is enrolled: lower-case letters, digits, -"
        )
    key, path = keys.load_public(file), folder / f"{name}{_SUFFIX}"
    before = known(folder)
    if before.get(name, key) != key:
        raise HomeError(
            f"{path}: holds another key, {before[name].fingerprint}: ask {name} by telephone whether it took up a new "
            "one; then remove that file, and add the key again"
        )
    if twin := [other for other, held in before.items() if held == key and other != name]:
        raise HomeError(f"{file}: is the key of {twin[0]}: every hospital has its own")
    folder.mkdir(mode=0o700, exist_ok=True)
    durable.replace(path, key.to_pem())
    return key
