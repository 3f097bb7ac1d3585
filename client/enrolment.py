"""The hospital's side of an enrolment: it answers an invitation with a request, and takes in the kit that answers that.

    invitation -> trust/invitation.json, request.json -> (the coordinator approves) -> kit -> trust/kit.json

Whom the hospital trusts is decided by the invitation, which came by a trusted way, and from the first `join` on by the
pinned key. A kit decides where the courier connects to, and no more: the policy in it is a proposal.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from client.errors import HomeError
from client.home import Home, give_to_owners
from client.key_rotation import rotate_key
from client.request_file import anchor, handovers, invitation_file, trusted, write_request
from privacy import durable, keys
from privacy.enrolment import fields, node_key
from privacy.enrolment.invitation import Invitation
from privacy.enrolment.kit import LIMIT, Kit
from privacy.errors import EnrolmentFileError
from privacy.ledger.store import Ledger


def answer(home: Home, invitation: Invitation, now: datetime) -> None:
    """Write request.json in answer to an invitation. The agent must not run (`Home.only_agent`).

    Where an earlier request named the home's keys, it gets new ones: a revoked key is never enrolled again. The ledger goes
    on under the new release key. Raises `HomeError` for another hospital's invitation, or another coordinator's than the
    pinned one, `EnrolmentFileError` for one that has expired.
    """
    name, pinned = home.settings.name, home.trust / "coordinator.pub"
    if invitation.hospital != name:
        raise HomeError(
            f"the invitation is {invitation.hospital}'s, but this is {name}'s home: ask for your own"
        )
    if pinned.exists() and home.coordinator != invitation.coordinator:
        raise HomeError(
            f"{pinned}: is another coordinator's than the invitation's, {invitation.coordinator.fingerprint}: remove it "
            "first if the change is right"
        )
    invitation.check_open(now)
    if home.request.exists() or pinned.exists():
        rotate_key(home)
        node_key.generate(home.node_key)
    durable.replace(invitation_file(home), invitation.to_bytes())
    write_request(home, keys.load(home.release_key), handovers(home))
    give_to_owners(home)


def join(home: Home, path: Path, now: datetime) -> Kit:
    """Take in the coordinator's kit; returns it. The key that signed it is pinned, the roots go to the courier.

    Everything is checked before anything is written: signature, name, release key, dates, certificates, and that it is no
    older than the kit before it. Raises `EnrolmentFileError`, `HomeError`. The hospital's own policy stays as it is. Where
    the coordinator's key was rotated since the agent heard of it, the ledger records that: no agent may run then.
    """
    coordinator, data = trusted(home), fields.read(path, LIMIT, "kit")
    try:
        kit = Kit.open(data, coordinator)
    except EnrolmentFileError as error:
        raise EnrolmentFileError(f"{path}: {error}") from error
    kit.check_for(home.settings.name, keys.load(home.release_key).public, now)
    joined = home.kit_file
    if joined.exists():
        try:
            before = Kit.load(joined, anchor(home))
        except EnrolmentFileError as error:
            raise HomeError(
                f"{error}: so nothing says whether the new kit is older; if it is not, remove {joined} and join again"
            ) from error
        kit.check_after(before)
        if kit.successions:
            with home.only_agent():
                Ledger(home.ledger, keys.load(home.release_key)).succeeded(kit.successions)
    # never through a link: the courier may have left one in its folder
    durable.replace(home.courier / "ca.crt", "".join(kit.roots).encode(), 0o644)
    durable.replace(home.trust / "policy.toml", kit.policy.encode())
    compose = home.trust / "compose.yaml"
    if kit.compose is None:
        compose.unlink(missing_ok=True)
    else:
        durable.replace(compose, kit.compose.encode())
    signer = kit.successions[-1].new if kit.successions else coordinator
    # before the key: the kit can be read under the one that is pinned until now
    durable.replace(joined, data)
    durable.replace(home.trust / "coordinator.pub", signer.to_pem())
    for public in (joined, home.trust / "coordinator.pub"):
        public.chmod(0o644)  # whatever the umask: a contained courier is another user, and reads them
    home.successors.unlink(missing_ok=True)
    invitation_file(home).unlink(missing_ok=True)
    give_to_owners(home)
    return kit
