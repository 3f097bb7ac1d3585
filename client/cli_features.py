"""`fedpath-hospital features`: what a campaign will look at, encoded ahead of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

from client.cli_errors import told_plainly
from client.cli_home import HomeArgument, JsonOption
from privacy.command_line import progress

if TYPE_CHECKING:
    from client.model.feature_pass import Tally


def features(
    home: HomeArgument,
    as_json: JsonOption = False,
) -> None:
    """Encode all slides and regions that the manifest asks about, ahead of a campaign, into the home's cache.

    Optional: what is not there is encoded when it is asked for. Stopped or killed, it goes on where it was.
    """
    import torch

    from client.evaluation.house import open_questions
    from client.home import home_at
    from client.model.base import Base
    from client.model.feature_pass import encode_all, work_of
    from client.model.slide_features import SlideFeatures

    with told_plainly(), progress() as show:
        show("reading slides")
        place = home_at(home)
        questions = open_questions(place)
        base = Base.load(place.settings.base, "cuda" if torch.cuda.is_available() else "cpu")

        def tell(now: Tally) -> None:
            words = f"{now.name}: {now.done} of {now.of}, {now.tiles_per_second:.1f} tiles/s; slides"
            show(words, now.finished, now.slides)

        done = encode_all(
            SlideFeatures(base, place.features), work_of(questions.samples, questions.slides), tell
        )
    failed = dict(questions.skipped) | done.failed
    if as_json:
        typer.echo(json.dumps(_values(done, failed)))
    else:
        _tell(done, failed)


def _values(done: Tally, failed: dict[str, str]) -> dict[str, Any]:
    return {
        "slides": {"encoded": done.slides_encoded, "from_cache": done.slides_kept},
        "tiles": {"encoded": done.tiles_encoded, "from_cache": done.tiles_kept},
        "regions": {"encoded": done.regions_encoded, "from_cache": done.regions_kept},
        "seconds": done.seconds,
        "tiles_per_second": done.tiles_per_second,
        "failed": failed,
        "unreadable": done.unreadable,
    }


def _tell(done: Tally, failed: dict[str, str]) -> None:
    from privacy.printable import printable

    typer.echo(
        f"{done.slides_encoded} slides encoded ({done.tiles_encoded} tiles; {done.tiles_kept} more were kept from a pass "
        f"that was stopped), {done.slides_kept} slides from the cache"
    )
    typer.echo(f"{done.regions_encoded} regions encoded, {done.regions_kept} from the cache")
    typer.echo(f"{done.seconds:.1f} s, {done.tiles_per_second:.1f} tiles/s")
    for name, count in done.unreadable.items():
        typer.echo(
            f"in part: slide {printable(name)} ({count} tiles or regions can't be read; copy it again, and run this again)"
        )
    for name, reason in failed.items():
        typer.echo(f"left out: slide {printable(name)} ({reason})")
