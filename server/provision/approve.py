"""From a hospital's request to its kit. Private keys stay where they were made: only public halves travel."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from privacy.enrolment.request import Request
from privacy.errors import SignatureInvalid
from privacy.handover import Handover, successors
from server.errors import EnrolmentError
from server.home import Home
from server.provision.invite import invitation_file
from server.provision.kits import write_kits
from server.records import Hospital
from server.store import Store


@dataclass(frozen=True)
class Approved:
    """What was approved: `what` is "enrolled", "key replaced" or, where all was known, "kit renewed"."""

    hospital: Hospital
    what: str
    kit: Path


def approve(home: Home, request: Request, now: datetime) -> Approved:
    """Enrol the hospital that answers an open invitation, or take in an enrolled one's new release key; write its kit.

    The request's proofs were verified when it was read. Raises `EnrolmentError`: it is for another coordinator, answers no
    open invitation of this name, or the key on file does not vouch for its new one. Doing it again writes the kit anew.
    """
    store, own = home.store(lambda: now), home.coordinator().public
    if request.coordinator not in {own, *(handover.old for handover in store.successions())}:
        raise EnrolmentError(
            f"{request.hospital} asks the holder of the key {request.coordinator.fingerprint}, and this consortium's is "
            f"{own.fingerprint}: it answered another consortium's invitation"
        )
    on_file = store.hospitals().get(request.hospital)
    if on_file is None:
        what = "enrolled"
        store.enrol(_invited(store, request), request.ticket)
        invitation_file(home, request.hospital).unlink(missing_ok=True)
    elif on_file.release_key != request.release_key:
        what = "key replaced"
        store.replace_key(request.hospital, _proven(request, on_file))
    elif on_file.supernode_key != request.supernode_key:
        raise EnrolmentError(_OTHER_NODE.format(request.hospital))
    else:
        what = "kit renewed"
    hospital = store.hospitals()[request.hospital]
    (kit,) = write_kits(home, [hospital], now)
    return Approved(hospital, what, kit)


_OTHER_NODE = (
    "{} is enrolled with another supernode_key, and only a release key can be replaced: if its home was lost, "
    "`fedpath-consortium revoke` it and invite it anew"
)


def _invited(store: Store, request: Request) -> Hospital:
    """The hospital as it was invited.  Raises `EnrolmentError`."""
    name = request.hospital
    if request.ticket is None:
        gone = store.revoked().get(name)
        raise EnrolmentError(
            f"{name} is not enrolled, and its request answers no invitation: invite it with `fedpath-consortium enroll`"
            if gone is None
            else f"{name} was revoked at {gone.at}: only a new invitation brings it back (`fedpath-consortium enroll`)"
        )
    invited = store.invitation(request.ticket)
    if invited.hospital != name:
        raise EnrolmentError(
            f"the request is {name!r}'s, and the invitation that it answers is {invited.hospital!r}'s: check whom you enrol"
        )
    return Hospital(name, request.release_key, request.supernode_key, invited.evaluator)


def _proven(request: Request, on_file: Hospital) -> tuple[Handover, ...]:
    """How the key on file became the request's, each step verified. Raises `EnrolmentError`."""
    known, name = on_file.release_key, request.hospital
    if request.supernode_key != on_file.supernode_key:
        raise EnrolmentError(_OTHER_NODE.format(name))
    try:
        chain = successors(request.handovers, name, known)
    except SignatureInvalid as error:
        raise EnrolmentError(
            f"{name}: the new release key is not proven by the one on file: {error}: ask the hospital, by "
            "another way than this request came, whether it is its own"
        ) from error
    if not chain or chain[-1].new != request.release_key:
        raise EnrolmentError(
            f"{name} is enrolled with the release key {known.fingerprint}, and the request does not show how "
            f"that became {request.release_key.fingerprint}: ask for the request.json that "
            "`fedpath-hospital rotate-key` writes"
        )
    return chain
