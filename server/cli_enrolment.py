"""`fedpath-consortium enroll`, `approve`, `revoke`, `renew` and `rotate`: who takes part, and how they know each other."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from server.cli_errors import told_plainly
from server.completion import hospitals

HomeArgument = Annotated[Path, typer.Argument(help="the consortium's home folder")]
NameArgument = Annotated[str, typer.Argument(help="the hospital's name: lower-case letters, digits, -")]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object")]


def enroll(
    home: HomeArgument,
    name: NameArgument,
    evaluator: Annotated[
        bool, typer.Option("--evaluator", help="it holds public data and evaluates")
    ] = False,
    days: Annotated[int, typer.Option(min=1, max=90, help="how long the invitation is open")] = 14,
    as_json: JsonOption = False,
) -> None:
    """Invite a hospital: writes a file to hand to it. It answers with a request, for `approve`."""
    from privacy.ledger.entries import written
    from server.home import Home
    from server.provision.invite import invite

    os.umask(0o077)
    with told_plainly():
        path, made = invite(Home.open(home), name, datetime.now(UTC), evaluator=evaluator, days=days)
    key, expires = made.coordinator.fingerprint, written(made.expires)
    if as_json:
        facts = {"hospital": name, "evaluator": evaluator, "invitation": str(path), "expires": expires}
        typer.echo(json.dumps({**facts, "fingerprint": key}))
        return
    typer.echo(
        f"wrote {path}, open until {expires}: whoever holds it can be enrolled as {name}, once; hand it over by a way that "
        f"you trust, and have {name} compare the coordinator's key by telephone: {key}"
    )


def approve(
    home: HomeArgument,
    request: Annotated[Path, typer.Argument(help="the request.json that a hospital sent")],
    as_json: JsonOption = False,
) -> None:
    """Enrol the hospital that answers an invitation, or take in its new release key; writes its signed kit."""
    from privacy.enrolment.request import Request
    from server.home import Home
    from server.provision.approve import approve as approve_request

    os.umask(0o077)
    with told_plainly():
        done = approve_request(Home.open(home), Request.load(request), datetime.now(UTC))
    name, key = done.hospital.name, done.hospital.release_key.fingerprint
    if as_json:
        facts = {"hospital": name, "evaluator": done.hospital.evaluator, "done": done.what}
        typer.echo(json.dumps({**facts, "kit": str(done.kit), "fingerprint": key}))
        return
    typer.echo(
        f"{name}: {done.what}, with the release key {key}; its kit for `fedpath-hospital join` is {done.kit}"
    )


def revoke(
    home: HomeArgument,
    name: Annotated[str, typer.Argument(help="the hospital's name", autocompletion=hospitals)],
    reason: Annotated[str, typer.Option(help="a word on why, for status and journal")] = "",
    as_json: JsonOption = False,
) -> None:
    """End a hospital's part: what it sends counts no more, and its keys never will again."""
    from server.home import Home

    with told_plainly():
        Home.open(home).store().revoke(name, reason[:200])
    if as_json:
        typer.echo(json.dumps({"hospital": name, "done": "revoked", "reason": reason[:200]}))
        return
    typer.echo(
        f"{name} is revoked; the SuperLink forgets its node within seconds, or when it is started. Only a new invitation "
        "brings it back, under new keys"
    )


def rotate(home: HomeArgument, as_json: JsonOption = False) -> None:
    """Make a new coordinator's key, signed in by the old one; no campaign may run. Writes every hospital's kit anew."""
    from server.home import Home
    from server.provision.rotate import rotate as rotate_now

    os.umask(0o077)
    with told_plainly():
        new = rotate_now(Home.open(home), datetime.now(UTC))
    if as_json:
        typer.echo(
            json.dumps({"done": "rotated", "coordinator": new.raw.hex(), "fingerprint": new.fingerprint})
        )
        return
    typer.echo(
        f"the coordinator's key is {new.fingerprint}: start the SuperLink anew. Hospitals take it up by themselves, under the "
        "old key's signature, when they are asked next"
    )


def renew(
    home: HomeArgument,
    ca: Annotated[
        bool,
        typer.Option("--ca", help="a new authority beside the present one; the server keeps its certificate"),
    ] = False,
    switch: Annotated[
        bool, typer.Option("--switch", help="take the new authority up, once every hospital has its kit")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Renew the server's certificate, or the authority in two steps; writes every hospital's kit anew."""
    from server.errors import HomeError
    from server.home import Home
    from server.provision.renew import Renewal, expiries
    from server.provision.renew import renew as renew_now

    os.umask(0o077)
    now = datetime.now(UTC)
    with told_plainly():
        if ca and switch:
            raise HomeError(
                "--ca and --switch: hospitals need time to join between the two: give one of them"
            )
        what = Renewal.AUTHORITY if ca else Renewal.SWITCH if switch else Renewal.SERVER
        place = Home.open(home)
        kits = renew_now(place, what, now)
        ends = expiries(place, now)
    if as_json:
        facts = {"done": what, "kits": [str(kit) for kit in kits]}
        typer.echo(json.dumps({**facts, "expiries": [end.to_dict() for end in ends]}))
        return
    typer.echo(_WHAT_NEXT[what].format(len(kits), place.folder / "kits"))
    for end in ends:
        typer.echo(str(end))


_WHAT_NEXT = {
    "server": "the server has a new certificate: start the SuperLink anew. No hospital need do anything; {} renewed kits "
    "are in {}, for those whose kit ends soon",
    "authority": "a new authority is made, and vouches for nothing yet: {} kits with both roots are in {}. Once every "
    "hospital has joined with its own, `fedpath-consortium renew --switch`",
    "switch": "the new authority vouches for the server: start the SuperLink anew. {} kits without the old root are in {}",
}
