"""The software bill of materials of a release, CycloneDX 1.6 as JSON, on standard output: `make sbom`.

It lists the locked set, with the SHA-256 of every file that a package may come as, and the licences that installed
packages state. No network, and the same bytes for the same lock and installation.
"""

from __future__ import annotations

import json
import sys
import tomllib
import uuid
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from release.lock import HASHES, LOCK, ROOT, hashes, pins

_LONGEST = 200  # letters of a licence's name: some packages put the whole text there


def bill(version: str, locked: Mapping[str, str], files: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The bill of FedPath `version` over the locked packages."""
    parts = [_component(name, locked[name], files.get(name, ())) for name in sorted(locked)]
    seed = json.dumps([version, parts], sort_keys=True)
    root = f"pkg:generic/fedpath@{version}"
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, seed)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": "fedpath",
                "version": version,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": parts,
        "dependencies": [{"ref": root, "dependsOn": [part["bom-ref"] for part in parts]}],
    }


def _component(name: str, version: str, files: Sequence[str]) -> dict[str, Any]:
    reference = f"pkg:pypi/{name}@{version}"
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": reference,
        "name": name,
        "version": version,
        "purl": reference,
        # a package comes as one of several files; each with a hash of its own
        "externalReferences": [
            {
                "type": "distribution",
                "url": f"https://pypi.org/project/{name}/{version}/",
                "hashes": [{"alg": "SHA-256", "content": digest}],
            }
            for digest in files
        ],
    }
    if licence := _licence(name):
        found["licenses"] = [{"license": {"name": licence}}]
    return found


def _licence(name: str) -> str | None:
    """What the installed package says of itself; None where it says nothing short, or is not installed."""
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return None
    said = next((about[key] for key in ("License-Expression", "License") if key in about), "")
    if not 0 < len(said) <= _LONGEST or "\n" in said:
        known = [
            line.split(" :: ")[-1] for line in about.get_all("Classifier") or [] if line.startswith("License")
        ]
        said = ", ".join(known)
    return said or None


def main() -> int:
    """Write it."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    if pins(LOCK) != pins(HASHES):
        print(f"error: {HASHES.name} is not of this {LOCK.name}: run `make lock`", file=sys.stderr)
        return 1
    json.dump(bill(version, pins(), hashes()), sys.stdout, indent=1)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
