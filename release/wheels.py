"""Whether a folder of wheels holds the locked files and no others: `python -m release.wheels FOLDER`.

torch's CPU build and CUDA's packages are not in the lock: they are named, and it is for people to say where they are from.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from release.lock import hashes


def strangers(folder: Path, files: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Each file that is not the locked one, and why, in the order of their names."""
    for path in sorted(folder.iterdir()):
        name = path.name.split("-")[0].lower().replace("_", "-").replace(".", "-")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if name not in files:
            yield path.name, "is not in the lock"
        elif digest not in files[name]:
            yield path.name, f"is another file than the locked ones: {digest}"


def main() -> int:
    """Name them; exit status 1 where there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    found = list(strangers(parser.parse_args().folder, hashes()))
    for name, why in found:
        print(f"{name} {why}")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
