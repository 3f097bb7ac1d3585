"""What a check finds, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

SHOWN = 5  # of each kind, to a person; a program gets all


@dataclass(frozen=True)
class Finding:
    """One thing that was found: a code of its kind, where it is, what it is, and what to do.

    A `grave` one keeps the hospital from taking part; any other says what will be left out, or is good to know.
    """

    code: str
    what: str
    where: str = ""
    advice: str = ""
    grave: bool = False

    def __str__(self) -> str:
        said = f"{self.where}: {self.what}" if self.where else self.what
        return f"{said}; {self.advice}" if self.advice else said

    def to_dict(self) -> dict[str, str]:
        """Code, where, what and advice."""
        return {key: value for key, value in asdict(self).items() if key != "grave"}


def in_short(findings: Iterable[Finding]) -> list[str]:
    """Lines for a person: the first few of each kind, and how many more there are of it."""
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        kinds.setdefault(finding.code, []).append(finding)
    lines = []
    for code, found in kinds.items():
        lines += [str(finding) for finding in found[:SHOWN]]
        if len(found) > SHOWN:
            lines.append(f"and {len(found) - SHOWN} more of the kind {code}: --json shows all")
    return lines
