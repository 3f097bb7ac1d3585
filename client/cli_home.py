"""What nearly every command of a hospital takes: its HOME, and `--json`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# Whether this user may read it is for `client.home.home_at` to say, which knows whose it is.
HomeArgument = Annotated[Path, typer.Argument(help="the hospital's home folder", readable=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object")]
