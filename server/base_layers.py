"""The linear layers of a base's decoder, read from the headers of its folder's files: no model is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from privacy.base_folder import folder_hash
from server.errors import HomeError

# The decoder's place in the model that transformers makes of a base, by the family that its config.json names.
DECODERS = {
    "qwen2_5_vl": "model.language_model",
    "qwen3_vl": "model.language_model",
    "idefics3": "model.text_model",
    "smolvlm": "model.text_model",
}
_VISION = ("visual.", "vision_model.", "vision_tower.")


def decoder_of(base: Path, wanted: str) -> str:
    """The decoder's place in a base's model. Raises `HomeError` where the folder is not the base of hash `wanted`."""
    found = folder_hash(base)
    if found != wanted:
        raise HomeError(f"{base} is another base ({found[:12]}, not {wanted[:12]}): name the campaign's own")
    family = json.loads((base / "config.json").read_text("utf-8"))["model_type"]
    if family not in DECODERS:
        raise HomeError(f"{base} holds a model of type {family}; known are {', '.join(DECODERS)}")
    return DECODERS[family]


def widths(base: Path) -> dict[str, int]:
    """Inputs of every linear layer outside the base's vision tower, by the layer's name as it was saved."""
    found = {}
    for file in sorted(base.glob("*.safetensors")):
        for name, tensor in _header(file).items():
            shape = tensor.get("shape", ())
            if name.endswith(".weight") and len(shape) == 2 and not any(part in name for part in _VISION):
                found[name.removesuffix(".weight")] = int(shape[1])
    return found


def width_of(found: Mapping[str, int], layer: str) -> int:
    """Inputs of a decoder's layer, named as within the decoder. Raises `HomeError` where the base has no such one."""
    matching = {width for name, width in found.items() if f".{name}".endswith(f".{layer}")}
    if len(matching) != 1:
        raise HomeError(
            f"the base's files have no plain layer {layer}: is it saved in 4 bits? Use its full form"
        )
    return matching.pop()


def _header(file: Path) -> dict[str, dict[str, list[int]]]:
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header: dict[str, dict[str, list[int]]] = json.loads(stream.read(length))
    return header
