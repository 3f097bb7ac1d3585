"""What the benches' command lines have in common."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping


def options(doc: str | None, quick: str | None = None) -> argparse.ArgumentParser:
    """`--json`, and `--quick` where the bench says what that is."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    if quick is not None:
        parser.add_argument("--quick", action="store_true", help=quick)
    return parser


def measuring(what: str) -> None:
    """Progress, beside the figures."""
    print(f"measuring: {what}", file=sys.stderr, flush=True)


def show(
    found: Mapping[str, Mapping[str, object]], as_json: bool, shown: Callable[[object], str] = str
) -> None:
    """Print all sections' figures."""
    if as_json:
        print(json.dumps(found))
        return
    for section, figures in found.items():
        print(section)
        for name, value in figures.items():
            print(f"  {name:36} {shown(value)}")
