"""Pages of the two files that people write: every key as the code reads it, explained as its own page explains it."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

from docs_site.markdown import code, page, table, words
from privacy.experts import ExpertForm
from privacy.mechanism import Mechanism
from privacy.policy import Policy
from privacy.secagg.terms import Distributed
from server.campaign import Campaign, NoisedEvaluations
from strategies.definition import Aggregation, Stage
from strategies.optimiser import Optimiser

# The tables of a campaign file as they are written there. A stage's own tables are told apart below.
CAMPAIGN_TABLES: dict[str, type] = {
    "": Campaign,
    "noised_evaluation": NoisedEvaluations,
    "aggregation": Aggregation,
    "optimiser": Optimiser,
    "expert": ExpertForm,
    "stage": Stage,
    "stage.mechanism": Mechanism,
    "stage.distributed": Distributed,
}
_BY_NAME = {"optimiser": 'optimiser."scale/roi"', "expert": 'expert."task/detection"'}
_LISTS = {"stage"}
_FILE_WIDE: dict[tuple[type, str], str] = {
    (ExpertForm, "rank"): "`expert_rank`",
    (ExpertForm, "alpha"): "`expert_alpha`",
}
_HEAD = ("key", "type", "without it", "what")


def policy(explained: str) -> str:
    """The page of a policy's keys; `explained` is docs/policy.md, whose example says what each is."""
    return page(
        "# Policy keys",
        "Every key of `policy.toml`, as `privacy/policy.py` reads it. [A hospital's policy](../policy.md) says how they work "
        "together and shows a whole file. `fedpath-hospital policy set` changes them.",
        table(_HEAD, _rows(Policy, comments(explained, ""))),
        "## As the code states it",
        words(Policy.__doc__),
    )


def campaign(explained: str) -> str:
    """The page of a campaign file's keys; `explained` is docs/campaign.md."""
    parts = [
        "# Campaign file keys",
        "Every key of a campaign file, as `server/campaign_file.py` reads it. [A campaign](../campaign.md) says how they work "
        "together and shows whole files.",
    ]
    for name, kind in CAMPAIGN_TABLES.items():
        written = _BY_NAME.get(name, name)
        title = f"[[{written}]]" if name in _LISTS else f"[{written}]" if name else "The file's own keys"
        rows = _rows(kind, comments(explained, name), CAMPAIGN_TABLES if name in ("", "stage") else {})
        parts += [f"## {code(title) if name else title}", table(_HEAD, rows), words(kind.__doc__)]
    return page(*parts)


def comments(explained: str, wanted: str) -> dict[str, str]:
    """What a page's TOML examples say of the keys of one of their tables, in comments; the first that says something counts."""
    found: dict[str, str] = {}
    for block in re.findall(r"^```toml\n(.*?)^```", explained, re.DOTALL | re.MULTILINE):
        where, last = "", None
        for line in block.splitlines():
            if head := re.match(r"\[+([^\]\"]+?)(?:\.\"[^\"]*\")?\]+\s*(?:#\s*(.*))?", line):
                where, last = head[1], head[1] if wanted == "" and head[2] and head[1] not in found else None
                if last:
                    found[last] = head[2]
            elif entry := re.match(r"([\w-]+)\s*=\s*(?:\"[^\"]*\"|\[[^\]]*\]|[^#]*?)\s*(?:#\s*(.*))?$", line):
                last = entry[1] if where == wanted and entry[1] not in found and entry[2] else None
                if last:
                    found[last] = entry[2]
            elif last and (more := re.match(r"\s+#\s*(.*)", line)):
                found[last] += f" {more[1]}"
    return found


def keys(kind: type) -> Iterator[Field[Any]]:
    """The keys that a table of this kind has."""
    yield from (item for item in fields(kind) if item.init)


def _rows(
    kind: type, said: dict[str, str], tables: dict[str, type] | None = None
) -> list[tuple[str, str, str, str]]:
    types = typing.get_type_hints(kind)
    rows = []
    for item in keys(kind):
        if item.name == "stages":
            rows.append(("`stage`", "`[[stage]]` tables", "must be there", "in the order in which they run"))
            continue
        what = said.get(item.name, "")
        if not what and tables:
            what = "a table, below" if any(name.endswith(item.name) for name in tables) else ""
        without = _FILE_WIDE.get((kind, item.name)) or _default(item)
        rows.append((code(item.name), type_words(types[item.name]), without, what))
    return rows


_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", NoneType: ""}


def type_words(kind: Any) -> str:
    """A type in words that a writer of TOML knows."""
    if kind in _WORDS:
        return _WORDS[kind]
    origin, of = typing.get_origin(kind), typing.get_args(kind)
    if origin in (UnionType, typing.Union):
        return " or ".join(filter(None, map(type_words, of)))
    if origin is tuple:
        return f"list of {type_words(of[0])}s" if of[0] in (int, float) else "list of texts"
    return "table"


def _default(item: Field[Any]) -> str:
    if item.default is not MISSING:
        value = item.default
    elif item.default_factory is not MISSING:
        value = item.default_factory()
    else:
        return "must be there"
    if isinstance(value, bool):
        return code(str(value).lower())
    if isinstance(value, str | int | float):
        return code(f'"{value}"' if isinstance(value, str) else f"{value:g}")
    return "all" if value and isinstance(value, tuple) else "none"


def read(root: Path, name: str) -> str:
    """A page of `docs/`."""
    return (root / "docs" / name).read_text("utf-8")
