"""A base model's folder, as both sides know it: by the hash of what it holds, without loading it."""

from __future__ import annotations

import hashlib
from pathlib import Path

SLIDE_ENCODER = "slide_encoder"  # the folder within, where the base has one
HASHED = (
    "*.safetensors",
    "*.json",
    "*.jinja",
    "*.txt",
    f"{SLIDE_ENCODER}/*.safetensors",
    f"{SLIDE_ENCODER}/*.json",
)


def folder_hash(folder: Path) -> str:
    """sha256 (hex) over name, length and bytes of the folder's weight, configuration and tokenizer files."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in HASHED for path in folder.glob(pattern)}):
        name = path.relative_to(folder).as_posix()
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
