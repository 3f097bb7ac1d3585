"""Who is enrolled, and under which keys: reads and writes inside a transaction of the store."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sql

from privacy.errors import KeyFileError
from privacy.handover import Handover
from privacy.keys import PublicKey
from server import tables
from server.errors import EnrolmentError, StoreError
from server.records import Hospital


def read(connection: sql.Connection) -> list[Hospital]:
    """All that are enrolled, by name."""
    rows = connection.execute(sql.select(tables.hospitals).order_by(tables.hospitals.c.name))
    return [
        Hospital(
            row.name,
            _key(row.name, row.release_key),
            row.supernode_key,
            row.evaluator,
            None if row.experts is None else tuple(row.experts),
            row.code_hash,
        )
        for row in rows
    ]


def add(connection: sql.Connection, hospital: Hospital, at: str) -> None:
    """Enrol. Raises `EnrolmentError` where its name or one of its keys is, or was, enrolled already."""
    own = {
        "name": hospital.name,
        "release_key": hospital.release_key.to_pem(),
        "supernode_key": hospital.supernode_key,
    }
    table = tables.hospitals
    alike = sql.or_(*(table.c[field] == value for field, value in own.items()))
    for other in connection.execute(sql.select(table).where(alike).order_by(table.c.name).limit(1)):
        same = [field for field, value in own.items() if getattr(other, field) == value]
        raise EnrolmentError(
            f"{hospital.name}: {other.name} is enrolled with the same {' and '.join(same)}: "
            "each hospital needs a name and keys of its own"
        )
    _check_unused(connection, hospital.name, hospital.release_key)
    row = {**own, "evaluator": hospital.evaluator, "enrolled_at": at}
    connection.execute(table.insert(), [row])


def replace_key(connection: sql.Connection, name: str, handovers: Sequence[Handover], at: str) -> None:
    """Put the last handover's key in the enrolled one's place; all before it are kept as former keys.

    The handovers must have been verified (`privacy.handover.successors`). Raises `EnrolmentError` for a key that is,
    or was, enrolled already.
    """
    for handover in handovers:
        holder = sql.select(tables.hospitals.c.name).where(
            tables.hospitals.c.release_key == handover.new.to_pem()
        )
        if (other := connection.scalar(holder)) is not None:
            raise EnrolmentError(f"{name}: {other} is enrolled with the new key already")
        _check_unused(connection, name, handover.new)
        former = {"release_key": handover.old.to_pem(), "hospital": name, "replaced_at": at}
        connection.execute(tables.former_keys.insert(), [former])
        update = tables.hospitals.update().where(tables.hospitals.c.name == name)
        connection.execute(update.values(release_key=handover.new.to_pem()))


def release_keys(connection: sql.Connection, since: str) -> dict[str, tuple[PublicKey, ...]]:
    """By hospital, every key that was valid at some time after `since`: its present one first."""
    found = {hospital.name: [hospital.release_key] for hospital in read(connection)}
    table = tables.former_keys
    query = sql.select(table).where(table.c.replaced_at >= since).order_by(sql.text("rowid"))
    for row in connection.execute(query):
        found[row.hospital].append(_key(row.hospital, row.release_key))
    return {name: tuple(keys) for name, keys in found.items()}


def _check_unused(connection: sql.Connection, name: str, key: PublicKey) -> None:
    table = tables.former_keys
    query = sql.select(table.c.hospital).where(table.c.release_key == key.to_pem())
    if (owner := connection.scalar(query)) is not None:
        raise EnrolmentError(
            f"{name}: the key {key.fingerprint} was {owner}'s and has been replaced: a key is never enrolled twice"
        )


def _key(name: str, pem: bytes) -> PublicKey:
    try:
        return PublicKey.from_pem(pem)
    except KeyFileError as error:
        raise StoreError(f"{name}'s release key was changed in the database: {error}") from error
