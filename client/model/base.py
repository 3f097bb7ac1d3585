"""The frozen base model: a local folder in the Hugging Face layout, loaded once and never changed.

Beside the weights stand `fedpath.json` (physical scales and sizes) and, optionally, `projector.safetensors`
(the slide projector's public start).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from client.model import adapters
from client.model.architectures.architecture import Architecture
from client.model.architectures.registry import ARCHITECTURES
from client.model.errors import BaseModelError
from client.model.projector import Projector
from client.model.slide_encoder import SlideEncoder
from client.tasks.sample import FRAME
from privacy.base_folder import SLIDE_ENCODER, folder_hash


@dataclass(frozen=True)
class Scales:
    """At what physical scale this base looks at tissue (`fedpath.json`).

    roi_pixels: longest side of a region's image, pixels; roi_mpp: finest microns a pixel of a region's image;
    wsi_mpp: microns a pixel of a slide's tiles; wsi_max_tokens: most tokens that a slide becomes; coordinate_step: boxes
    and outlines that it learns are written in multiples of so many thousandths of the region's side.
    """

    roi_pixels: int
    roi_mpp: float
    wsi_mpp: float
    wsi_max_tokens: int
    coordinate_step: int = 1

    def __post_init__(self) -> None:
        if (
            self.roi_pixels < 32
            or self.roi_mpp <= 0
            or self.wsi_mpp <= 0
            or not 1 <= self.wsi_max_tokens <= 576
            or not 1 <= self.coordinate_step <= 100
            or FRAME % self.coordinate_step
        ):
            raise BaseModelError(
                f"fedpath.json: {self} is out of range; roi_pixels is at least 32, both mpp are above 0, "
                f"wsi_max_tokens is 1 to 576, and coordinate_step 1 to 100 and a divisor of {FRAME}"
            )

    @classmethod
    def read(cls, path: Path) -> Scales:
        """The scales in a `fedpath.json`; BaseModelError where a key is missing, unknown or of the wrong
        type.
        """
        data = _read_json(path)
        names = {field.name for field in fields(cls)}
        if not names - {"coordinate_step"} <= set(data) <= names:
            raise BaseModelError(
                f"{path.name}: keys are {sorted(data)} and must be {sorted(names)} (coordinate_step is optional)"
            )
        try:
            return cls(
                int(data["roi_pixels"]),
                float(data["roi_mpp"]),
                float(data["wsi_mpp"]),
                int(data["wsi_max_tokens"]),
                int(data.get("coordinate_step", 1)),
            )
        except (TypeError, ValueError) as error:
            raise BaseModelError(f"{path.name}: every value is a number ({error})") from error


@dataclass(frozen=True)
class Base:
    """A loaded base. `model` is frozen and in eval mode; `projector` is the public start, frozen too, and float32.

    hash: sha256 over the names and bytes of the folder's weight, configuration and tokenizer files.
    """

    model: Any  # transformers' own, of one of the families in `ARCHITECTURES`
    tokenizer: PreTrainedTokenizerBase
    projector: Projector
    scales: Scales
    architecture: Architecture
    hash: str
    slide_encoder: SlideEncoder | None = None  # None: tiles of slides go through the base's own vision tower

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Base:
        """Load from a local folder, to compute in float32 on a CPU, in bfloat16 elsewhere; never asks the network.

        Linear layers stay 4-bit where the folder holds them so (bitsandbytes), and compute in that type too. BaseModelError
        for a folder that is not whole, a model of a family that is not served, or one in another quantised form.
        """
        folder = Path(folder)
        for name in ("config.json", "tokenizer.json", "preprocessor_config.json", "fedpath.json"):
            if not (folder / name).is_file():
                raise BaseModelError(
                    f"base folder {folder} has no {name}; give the folder that holds the whole base"
                )
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        disable_progress_bar()  # of reading weights, which takes a moment
        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            family = config.model_type
            _require_served(folder, getattr(config, "quantization_config", None))
            if family not in ARCHITECTURES:
                served = ", ".join(ARCHITECTURES)
                raise BaseModelError(
                    f"base folder {folder} holds a model of type {family}; served are {served}"
                )
            model = AutoModelForImageTextToText.from_pretrained(
                folder, dtype=dtype, attn_implementation="sdpa", local_files_only=True
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise BaseModelError(f"base folder {folder} can't be loaded: {error}") from error
        tokenizer.chat_template = tokenizer.chat_template or _processors_template(folder)
        if tokenizer.eos_token_id is None or tokenizer.chat_template is None:
            raise BaseModelError(
                f"base folder {folder}: the tokenizer needs an EOS token and a chat template"
            )
        model = cast("Any", model).to(device).eval().requires_grad_(False)
        adapters.compute_in(model, dtype)
        digest = folder_hash(folder)
        width = model.config.text_config.hidden_size
        encoder = (
            SlideEncoder.load(folder / SLIDE_ENCODER, device, dtype)
            if (folder / SLIDE_ENCODER).is_dir()
            else None
        )
        features = width if encoder is None else encoder.width
        projector = Projector.load(folder / "projector.safetensors", features, width, digest)
        return cls(
            model=model,
            tokenizer=tokenizer,
            projector=projector.to(device=device, dtype=torch.float32).requires_grad_(False),
            scales=Scales.read(folder / "fedpath.json"),
            architecture=ARCHITECTURES[family](
                model, tokenizer, _read_json(folder / "preprocessor_config.json")
            ),
            hash=digest,
            slide_encoder=encoder,
        )

    @property
    def language_model(self) -> Any:
        """The decoder that experts attach to (transformers leaves it untyped)."""
        return self.architecture.language_model

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.model.device

    @property
    def width(self) -> int:
        """Width of a token's embedding."""
        return int(self.language_model.config.hidden_size)

    def fit(self, image: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] of a region or tile, as `client.model.visual.encode_images` takes it."""
        return self.architecture.fit(image, self.scales.roi_pixels)


def _require_served(folder: Path, quantised: dict[str, Any] | None) -> None:
    """Raise `BaseModelError` for a quantised form other than bitsandbytes' 4-bit, or where that is not installed."""
    if quantised is None:
        return
    method, storage = quantised.get("quant_method"), quantised.get("bnb_4bit_quant_storage", "uint8")
    if method != "bitsandbytes" or not quantised.get("load_in_4bit") or storage != "uint8":
        raise BaseModelError(
            f"base folder {folder} is quantised by {method!r}, stored as {storage!r}; served are plain weights and "
            "bitsandbytes' 4-bit ones, stored as 'uint8' (docs/base.md)"
        )
    if find_spec("bitsandbytes") is None:
        raise BaseModelError(f"base folder {folder} holds 4-bit weights: pip install bitsandbytes")


def _processors_template(folder: Path) -> str | None:
    """The chat template where older folders keep it, with the processor."""
    path = folder / "chat_template.json"
    return _read_json(path).get("chat_template") if path.is_file() else None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BaseModelError(f"{path.name} can't be read as JSON: {error}") from error
    if not isinstance(data, dict):
        raise BaseModelError(f"{path.name} must hold one JSON object")
    return data
