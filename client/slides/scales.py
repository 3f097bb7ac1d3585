"""What someone who knows says of slides' pixel sizes: `mpp.csv`, beside the manifest (docs/howto/index-slides.md).

    slide,mpp
    n-0017a.svs,0.25
    scanner-b/,0.4990

A slide, or a folder by a name that ends in a slash (`./` is all of them). What stands here takes the place of what the
file states; a slide's own row goes before its folder's, and an inner folder's before an outer one's.
"""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from client.errors import ScalesError
from client.slides.names import FileNames

FILE = "mpp.csv"
LEAST, MOST = 0.01, 100.0  # microns per pixel, both excluded: no microscope's
_COLUMNS = ("slide", "mpp")
_ALL = "."  # the slide folder itself


@dataclass(frozen=True)
class Scales:
    """Microns per level-0 pixel by what each row names, in the file's order, with the row's number."""

    file: str = FILE
    slides: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    folders: Mapping[str, tuple[float, int]] = field(default_factory=dict)

    def of(self, names: Collection[str]) -> dict[str, float]:
        """The pixel sizes that the file gives to these slides.

        Raises ScalesError for a name that two of them bear.
        """
        known, problems = FileNames(names), []
        found: dict[str, float] = {}
        for name in names:
            if (mpp := self._of_folder(name)) is not None:
                found[name] = mpp
        for written, (mpp, row) in self.slides.items():
            meant = known.find(written)
            if len(meant) > 1:
                problems.append(f"row {row}: {written!r} may be any of {', '.join(meant)}: give its path")
            elif meant:
                found[meant[0]] = mpp
        _refuse(self.file, problems)
        return found

    def idle(self, names: Collection[str]) -> tuple[str, ...]:
        """What the file names and none of these slides is or lies in: misspelt, perhaps."""
        known = FileNames(names)
        used = {folder for name in names for folder in _folders(name)}
        return tuple(
            [written for written in self.slides if not known.find(written)]
            + [f"{folder}/" for folder in self.folders if folder not in used]
        )

    def _of_folder(self, name: str) -> float | None:
        """The innermost folder's that the file names."""
        found = (self.folders[folder][0] for folder in _folders(name) if folder in self.folders)
        return next(found, None)


def read_scales(path: Path) -> Scales:
    """Read the file; without one nothing is said of any slide. Raises ScalesError with every problem, by row."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *records = list(csv.reader(file, strict=True)) or [[]]
    except FileNotFoundError:
        return Scales(path.name)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ScalesError(
            f"{path.name}: it can't be read ({type(error).__name__}): give a UTF-8 CSV file"
        ) from None
    if tuple(column.strip() for column in header) != _COLUMNS:
        raise ScalesError(f"{path.name}: row 1: the columns are {','.join(_COLUMNS)}, in this order")
    tables: tuple[dict[str, tuple[float, int]], dict[str, tuple[float, int]]] = ({}, {})
    problems = []
    for row, cells in enumerate(records, start=2):
        if not any(cell.strip() for cell in cells):
            continue
        name, mpp = (cell.strip() for cell in (*cells, "", "")[:2])
        value = _number(mpp)
        table = tables[name.endswith("/")]
        key = unicodedata.normalize("NFC", name.rstrip("/"))
        if len(cells) != len(_COLUMNS) or not key:
            problems.append(f"row {row}: it has not two cells: write the slide and its microns per pixel")
        elif value is None:
            problems.append(
                f"row {row}: {mpp!r} is no pixel size: microns per pixel lie between {LEAST} and {MOST:g}"
            )
        elif table.setdefault(key, (value, row))[0] != value:
            problems.append(f"row {row}: row {table[key][1]} gives {name!r} another size: keep the right one")
    _refuse(path.name, problems)
    return Scales(path.name, *tables)


def _folders(name: str) -> tuple[str, ...]:
    """The folders that a slide lies in, the innermost first, the slide folder itself last."""
    parts = unicodedata.normalize("NFC", name).split("/")[:-1]
    return (*("/".join(parts[:k]) for k in range(len(parts), 0, -1)), _ALL)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if LEAST < value < MOST else None


def _refuse(file: str, problems: Collection[str]) -> None:
    if problems:
        raise ScalesError("\n".join((f"{file}: nothing was read, {len(problems)} problem(s):", *problems)))
