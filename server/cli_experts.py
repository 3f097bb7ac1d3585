"""`fedpath-consortium experts`: a committed round's experts, for hospitals or for peft, and where they come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from privacy.command_line import refuse_existing
from server.cli_errors import told_plainly

if TYPE_CHECKING:
    from privacy.evaluation import Evaluation
    from server.lineage import Version


def experts(
    home: Annotated[Path, typer.Argument(help="the consortium's home folder")],
    campaign: Annotated[Path, typer.Argument(help="a campaign file: docs/campaign.md")],
    folder: Annotated[
        Path | None, typer.Argument(help="the folder to write, for `fedpath-hospital evaluate`")
    ] = None,
    point: Annotated[
        str | None,
        typer.Option(
            help='"base", a stage (its end) or a number of rounds; without it, the last committed round'
        ),
    ] = None,
    peft: Annotated[
        Path | None,
        typer.Option(help="a folder to write: each LoRA expert as an adapter that plain peft loads"),
    ] = None,
    base: Annotated[Path | None, typer.Option(help="the folder of the campaign's base, for --peft")] = None,
    card: Annotated[
        Path | None,
        typer.Option(help="a new file to write: the model card of all of them, in Hugging Face's form"),
    ] = None,
    licence: Annotated[
        str,
        typer.Option(
            "--license", help="for the cards: under which licence the experts are given, as apache-2.0"
        ),
    ] = "other",
    show: Annotated[
        bool, typer.Option("--list", help="print each expert's versions, and what each came from")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Write the experts of a committed round to a folder, for hospitals to evaluate and use, or for peft; their model card; or
    list them.

    A card has the scores of `evaluate` at that point, and names those hospitals that want to be named.
    """
    from privacy import durable
    from server.campaign_file import load_campaign
    from server.errors import HomeError
    from server.home import Home
    from server.lineage import lineage, spent, took_part
    from server.model_card import Released
    from server.model_card import card as card_text
    from server.peft_adapters import write_adapters
    from server.points import request_at
    from server.runner import begun_point

    refuse_existing(card)
    with told_plainly():
        if not (folder or peft or show or card):
            raise HomeError(
                "nothing to do: name a folder to write, or give --peft FOLDER, --card FILE or --list"
            )
        if peft is not None and base is None:
            raise HomeError("--peft needs --base: the folder of the campaign's base, as hospitals have it")
        here = Home.open(home)
        store = here.store()
        asked = load_campaign(campaign)
        where = begun_point(store, asked, point)
        request = request_at(asked, where, store.states(asked.name, where.round))
        states = {name: store.state(digest) for name, digest in request.experts_hash.items()}
        versions = [version for version in lineage(store, asked.name) if version.round <= where.round]
        if folder is not None:
            _for_hospitals(folder, request, states)
        left_out = {}
        members, trained = store.hospitals(), took_part(store, asked.name, where.round)
        names = [members[name].named_as for name in trained if name in members]
        released = Released(
            consortium=here.name,
            campaign=asked.name,
            point=where,
            experts=request,
            versions=versions,
            events=spent(store, asked.name, where.round),
            scores=store.evaluation(asked.name, where.name),
            hospitals=len(trained),
            named=[name for name in names if name is not None],
            license=licence,
        )
        if peft is not None and base is not None:
            left_out = write_adapters(peft, base, released, states)
        if card is not None:
            durable.put(card, card_text(released).encode(), 0o644)
    about = {"campaign": asked.name, "point": where.name, "round": where.round}
    if as_json:
        listed = {"versions": [version.to_dict() for version in versions]} if show else {}
        typer.echo(
            json.dumps({**about, "experts": dict(request.experts_hash), "left_out": left_out, **listed})
        )
        return
    if show:
        Console().print(_table(versions))
    for place in (folder, peft):
        if place is not None:
            typer.echo(f"wrote the experts of {asked.name} after {where.name} to {place}")
    if card is not None:
        typer.echo(f"wrote the model card of {asked.name} after {where.name} to {card}")
    for name, what in left_out.items():
        typer.echo(f"not in peft's form, being no LoRA: {name}: {', '.join(what)}")


def _for_hospitals(folder: Path, request: Evaluation, states: dict[str, bytes]) -> None:
    from privacy.expert_folder import INDEX, write_experts
    from server.errors import HomeError

    if folder.exists() and not folder.is_dir():
        raise HomeError(f"{folder} is a file: name a new folder")
    if (folder / INDEX).exists() or not folder.exists() or not any(folder.iterdir()):
        write_experts(folder, request, states)
    else:
        raise HomeError(f"{folder} holds other things: name a new folder")


def _table(versions: list[Version]) -> Table:
    table = Table("expert", "round", "stage", "state", "trained from", "on")
    for v in versions:
        on = ", ".join(f"{name} {state[:12]}" for name, state in v.on.items())
        table.add_row(v.expert, str(v.round), v.stage, v.state[:12], (v.parent or "the start")[:12], on)
    return table
