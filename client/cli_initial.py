"""`fedpath-hospital initial`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from client.cli_errors import told_plainly
from privacy.command_line import answer, failed, plain


def initial(
    base: Annotated[Path, typer.Argument(help="the base model's folder")],
    campaign: Annotated[
        Path | None,
        typer.Argument(help="the campaign file; without it the base's hash is printed, as the file wants it"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """For coordinators: write the experts' first states for a base, into the folder that a campaign file names.

    They are public, and the same on every machine. It takes the base, so run it where the evaluator's agent runs.
    """
    if campaign is None:
        with told_plainly():
            digest = _hash(base)
        answer({"base_hash": digest}, f'base_hash = "{digest}"', as_json)
        return
    from client.initial_states import write_initial

    with told_plainly():
        written = [str(path) for path in write_initial(base, campaign)]
    answer({"written": written}, "\n".join(f"wrote {plain(path)}" for path in written), as_json)


def _hash(base: Path) -> str:
    from privacy.base_folder import folder_hash

    # Else there may be nothing to hash; all else is looked at with the campaign file.
    if not (base / "config.json").is_file():
        raise failed(f"{base}: has no config.json: give the folder that holds the whole base")
    return folder_hash(base)
