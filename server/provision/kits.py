"""From a hospital's request to its kit. Private keys stay where they were made: only public halves travel.

Request (`request.json`, written by `fedpath-hospital init`): JSON {"hospital": "north", "release_key": PEM of
an Ed25519 key as `privacy.keys` writes, "supernode_key": a P-384 public key in OpenSSH's format, which Flower
demands}. After `fedpath-hospital rotate-key` it has "handovers" too: how that key came to be, from the first one on
(`privacy.handover`).

Kit: a folder with `ca.crt` (the SuperLink's root certificate), `coordinator.pub` (whose plans to trust) and
`kit.json` {"consortium": name, "name": the hospital's name here, "superlink": "host:port"}.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from privacy import keys
from privacy.errors import KeyFileError, SignatureInvalid, WireError
from privacy.handover import Handover, successors
from privacy.keys import PublicKey
from server.errors import EnrolmentError
from server.home import Home
from server.provision.authority import CA_CERTIFICATE
from server.records import Hospital

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_LIMIT = 64 * 1024


@dataclass(frozen=True)
class Request:
    """A hospital's request, read and checked. `supernode_key` is PEM, in the form that Flower reports."""

    name: str
    release_key: PublicKey
    supernode_key: bytes
    handovers: tuple[Handover, ...] = ()

    @classmethod
    def load(cls, path: Path) -> Request:
        """Read a request file. `EnrolmentError` names what is wrong with it."""
        try:
            text = path.read_bytes()
            values = json.loads(text) if len(text) <= _LIMIT else None
        except OSError as error:
            raise EnrolmentError(f"{path}: {error.strerror}: name the hospital's request file") from error
        except ValueError as error:
            raise EnrolmentError(f"{path}: not JSON: {error}") from error
        wanted = ("hospital", "release_key", "supernode_key")
        if not isinstance(values, dict) or set(values) - {"handovers"} != set(wanted):
            raise EnrolmentError(f"{path}: not a request: it must have {', '.join(wanted)}, and nothing else")
        name, handovers = values["hospital"], values.get("handovers", [])
        if not all(isinstance(values[key], str) for key in wanted) or not _NAME.fullmatch(name):
            raise EnrolmentError(
                f'{path}: the name must be lower-case letters, digits and "-", the keys text'
            )
        try:
            release = PublicKey.from_pem(values["release_key"].encode())
            if not isinstance(handovers, list):
                raise WireError("handovers is no list")
            chain = tuple(Handover.from_dict(name, item) for item in handovers)
            return cls(name, release, _node_key(values["supernode_key"]), chain)
        except (KeyFileError, ValueError) as error:
            raise EnrolmentError(f"{path}: {error}: let the hospital send its request again") from error


def enroll(home: Home, name: str, request: Request, *, evaluator: bool) -> Path:
    """Enrol a hospital and write its kit; returns the kit's folder. Raises `EnrolmentError`.

    `name` must be what the request says, so that a request can't be enrolled under another's name by mistake.
    Where the hospital is enrolled, its release key is replaced by the request's if the key on file signed for that;
    its kit stays as it is.
    """
    if request.name != name:
        raise EnrolmentError(f"the request is {request.name!r}'s, not {name!r}'s: check whom you enrol")
    kit = home.folder / "kits" / name
    store = home.store()
    on_file = store.hospitals().get(name)
    if on_file is not None and on_file.release_key != request.release_key:
        store.replace_key(name, _proven(request, on_file))
        return kit
    store.enrol(Hospital(name, request.release_key, request.supernode_key, evaluator))
    kit.mkdir(mode=0o700, exist_ok=True)
    shutil.copyfile(home.folder / CA_CERTIFICATE, kit / CA_CERTIFICATE)
    shutil.copyfile(keys.public_path(home.coordinator_key), kit / "coordinator.pub")
    values = {"consortium": home.name, "name": name, "superlink": home.superlink}
    (kit / "kit.json").write_text(json.dumps(values, indent=2) + "\n", "utf-8")
    return kit


def _proven(request: Request, on_file: Hospital) -> tuple[Handover, ...]:
    """How the key on file became the request's, each step verified. Raises `EnrolmentError`."""
    known = on_file.release_key
    if request.supernode_key != on_file.supernode_key:
        raise EnrolmentError(
            f"{request.name} is enrolled with another supernode_key: only its release key can be replaced"
        )
    try:
        chain = successors(request.handovers, request.name, known)
    except SignatureInvalid as error:
        raise EnrolmentError(
            f"{request.name}: the new release key is not proven by the one on file: {error}: ask the hospital, by "
            "another way than this request came, whether it is its own"
        ) from error
    if not chain or chain[-1].new != request.release_key:
        raise EnrolmentError(
            f"{request.name} is enrolled with the release key {known.fingerprint}, and the request does not show how "
            f"that became {request.release_key.fingerprint}: ask for the request.json that "
            "`fedpath-hospital rotate-key` writes"
        )
    return chain


def to_openssh(supernode_key: bytes) -> bytes:
    """The form in which `flwr supernode register` reads a node's public key."""
    key = serialization.load_pem_public_key(supernode_key)
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)


def _node_key(text: str) -> bytes:
    try:
        key = serialization.load_ssh_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("supernode_key is not a public key in OpenSSH's format") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise ValueError("supernode_key is not on the curve P-384")
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
