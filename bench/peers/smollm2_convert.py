"""From GGUF to transformers' own form; run by an environment with `gguf`: `smollm2_convert.py GGUF FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    """Write model, in float32, and tokenizer."""
    gguf, folder = map(Path, sys.argv[1:])
    held = {"gguf_file": gguf.name}
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **held)
    model.hf_quantizer, model.is_quantized = (
        None,
        False,
    )  # it is read as plain floats and is to be written as such
    del model.config.quantization_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, **held).save_pretrained(folder)


if __name__ == "__main__":
    main()
