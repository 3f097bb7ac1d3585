"""Known vulnerabilities of the locked set, by pip-audit: `make audit`. Needs the package index and its advisories.

pip-audit says "No known vulnerabilities found" of packages that it could ask nobody about, too. This does not: exit
status 0 means that every package was looked up and is clean, 1 that one is vulnerable, 2 that something is not known.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from release.lock import HASHES, pins

_TOOL = "pip-audit==2.10.1"
_TIMEOUT_S = 600


@dataclass(frozen=True)
class Found:
    """What became of each package: advisories by name; names that nobody could be asked about."""

    audited: int
    vulnerable: Mapping[str, tuple[str, ...]]
    unknown: tuple[str, ...]

    @property
    def status(self) -> int:
        """The command's exit status."""
        return 1 if self.vulnerable else 2 if self.unknown else 0


def found(report: Mapping[str, Any], locked: Mapping[str, str]) -> Found:
    """What pip-audit's report says of the locked packages; one that it leaves out is unknown."""
    looked_up = {item["name"]: item["vulns"] for item in report["dependencies"] if "vulns" in item}
    vulnerable = {name: tuple(v["id"] for v in vulns) for name, vulns in looked_up.items() if vulns}
    return Found(len(looked_up), vulnerable, tuple(sorted(set(locked) - set(looked_up))))


def main() -> int:
    """Ask, and say what came of it."""
    parser = argparse.ArgumentParser(prog="make audit", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    as_json = parser.parse_args().json
    locked = pins()
    print(f"asking about {len(locked)} packages", file=sys.stderr, flush=True)
    options = ["--requirement", str(HASHES), "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    command = [sys.executable, "-m", "uv", "tool", "run", "--from", _TOOL, "pip-audit", *options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
        result = found(json.loads(done.stdout), locked)
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        print("error: nothing was audited: pip-audit gave no report. Is there a network?", file=sys.stderr)
        return 2
    if as_json:
        print(json.dumps(asdict(result)))
    for name, advisories in result.vulnerable.items():
        print(f"VULNERABLE: {name} {locked.get(name)}: {', '.join(advisories)}", file=sys.stderr)
    if result.unknown:
        few = ", ".join(result.unknown[:5]) + (", ..." if len(result.unknown) > 5 else "")
        print(
            f"error: {len(result.unknown)} of {len(locked)} packages were NOT audited ({few}): the index gave no "
            "advisories for them. Run this where the public index can be reached",
            file=sys.stderr,
        )
    if result.status == 0:
        print(f"{result.audited} packages audited, no known vulnerability", file=sys.stderr)
    return result.status


if __name__ == "__main__":
    raise SystemExit(main())
