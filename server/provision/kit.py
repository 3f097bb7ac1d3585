"""From a hospital's request to its kit. Private keys stay where they were made: only public halves travel.

Request (`request.json`, written by `fedpath-hospital init`): JSON {"hospital": "north", "release_key": PEM of
an Ed25519 key as `privacy.keys` writes, "supernode_key": a P-384 public key in OpenSSH's format, which Flower
demands}.

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
from privacy.errors import KeyFileError
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
        if not isinstance(values, dict) or set(values) != set(wanted):
            raise EnrolmentError(f"{path}: not a request: it must have {', '.join(wanted)}, and nothing else")
        if not all(isinstance(value, str) for value in values.values()) or not _NAME.fullmatch(
            values["hospital"]
        ):
            raise EnrolmentError(
                f'{path}: the name must be lower-case letters, digits and "-", the keys text'
            )
        try:
            release = PublicKey.from_pem(values["release_key"].encode())
            return cls(values["hospital"], release, _node_key(values["supernode_key"]))
        except (KeyFileError, ValueError) as error:
            raise EnrolmentError(f"{path}: {error}: let the hospital send its request again") from error


def enroll(home: Home, name: str, request: Request, *, evaluator: bool) -> Path:
    """Enrol a hospital and write its kit; returns the kit's folder. Raises `EnrolmentError`.

    `name` must be what the request says, so that a request can't be enrolled under another's name by mistake.
    """
    if request.name != name:
        raise EnrolmentError(f"the request is {request.name!r}'s, not {name!r}'s: check whom you enrol")
    home.store().enrol(Hospital(name, request.release_key, request.supernode_key, evaluator))
    kit = home.folder / "kits" / name
    kit.mkdir(mode=0o700, exist_ok=True)
    shutil.copyfile(home.folder / CA_CERTIFICATE, kit / CA_CERTIFICATE)
    shutil.copyfile(keys.public_path(home.coordinator_key), kit / "coordinator.pub")
    values = {"consortium": home.name, "name": name, "superlink": home.superlink}
    (kit / "kit.json").write_text(json.dumps(values, indent=2) + "\n", "utf-8")
    return kit


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
