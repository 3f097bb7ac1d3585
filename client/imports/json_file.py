"""JSON as programs for annotation write it: a file, or one file in a ZIP archive."""

from __future__ import annotations

import json
import lzma
import zipfile
import zlib
from pathlib import Path

from client.imports.found import ImportProblem, ImportSourceError

SUFFIXES = (".json", ".geojson", ".zip")
_MOST = 1 << 32  # bytes that an archive may unpack to


def read_json(path: Path) -> object:
    """What the file holds. Of an archive it is the only .json or .geojson file inside, whatever that is called.

    Raises ImportSourceError for what can't be read, or is no JSON.
    """
    try:
        return json.loads(_unpacked(path) if path.suffix.lower() == ".zip" else path.read_bytes())
    except OSError as error:
        what, advice = f"it can't be read ({error.strerror})", "give a file that is there and may be read"
    except (ValueError, RecursionError) as error:
        what, advice = f"it can't be read as JSON ({type(error).__name__})", "export it again"
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, EOFError):
        what, advice = "it can't be unpacked", "export it again, without a password"
    raise ImportSourceError([ImportProblem(path.name, what, advice)])


def _unpacked(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        inside = [
            entry
            for entry in archive.infolist()
            if entry.filename.lower().endswith(SUFFIXES[:2]) and not entry.filename.startswith("__MACOSX/")
        ]
        if len(inside) != 1:
            what = f"it holds {len(inside)} files of annotations, not one"
            raise ImportSourceError([ImportProblem(path.name, what, "unpack it, and give the folder")])
        if inside[0].file_size > _MOST:
            what = f"it unpacks to {inside[0].file_size >> 20} MiB"
            raise ImportSourceError([ImportProblem(path.name, what, "export fewer objects into one file")])
        return archive.read(inside[0])
