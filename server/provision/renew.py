"""Renewal, before something expires: of the server's certificate, of the authority, and of every hospital's kit."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path

from privacy.enrolment.certificates import root_expiries
from privacy.enrolment.expiry import Expiry
from server.home import Home
from server.provision.authority import (
    change_authority,
    prepare_authority,
    renew_server,
    roots,
    server_expires,
)
from server.provision.kits import write_kits


class Renewal(StrEnum):
    """What is renewed beside the kits."""

    SERVER = "server"  # its certificate, under the authority in force: hospitals need do nothing
    AUTHORITY = "authority"  # a new one beside it: kits carry both roots, the server keeps its certificate
    SWITCH = "switch"  # the server's certificate is the new authority's from now on


def renew(home: Home, what: Renewal, now: datetime) -> list[Path]:
    """Renew, and write the kits of all enrolled hospitals anew; returns those.  Raises `HomeError`, `KeyFileError`."""
    if what is Renewal.SERVER:
        renew_server(home.folder, home.host, now)
    elif what is Renewal.AUTHORITY:
        prepare_authority(home.folder, now)
    else:
        change_authority(home.folder, home.host, now)
    return write_kits(home, home.store().hospitals().values(), now)


def expiries(home: Home, now: datetime) -> list[Expiry]:
    """How long the server's certificate and each root are good."""
    server = Expiry.of("server certificate", server_expires(home.folder), now)
    return [server, *root_expiries(roots(home.folder), now)]
