"""Who is enrolled, under which keys, and who was revoked: reads and writes inside a transaction of the store.

A revoked hospital's row stays, under its last keys; it is revoked as long as the row's release key stands among the
revocations. Enrolled again, it has keys that were never enrolled, so what it signed before counts no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sql

from privacy.errors import KeyFileError
from privacy.handover import Handover
from privacy.keys import PublicKey
from server import tables
from server.errors import EnrolmentError, HospitalRevoked, StoreError
from server.records import Hospital, Revoked

_ROWS, _FORMER, _REVOKED = tables.hospitals, tables.former_keys, tables.revocations


def read(connection: sql.Connection) -> list[Hospital]:
    """All that are enrolled and not revoked, by name."""
    gone = sql.select(_REVOKED.c.release_key)
    rows = connection.execute(
        sql.select(_ROWS).where(_ROWS.c.release_key.not_in(gone)).order_by(_ROWS.c.name)
    )
    return [
        Hospital(
            row.name,
            _key(row.name, row.release_key),
            row.supernode_key,
            row.evaluator,
            None if row.experts is None else tuple(row.experts),
            row.code_hash,
            row.named_as,
        )
        for row in rows
    ]


def add(connection: sql.Connection, hospital: Hospital, at: str) -> None:
    """Enrol. Raises `EnrolmentError` where its name or one of its keys is, or was, enrolled already.

    A revoked hospital's name may be enrolled again, under keys that never were.
    """
    own = {
        "name": hospital.name,
        "release_key": hospital.release_key.to_pem(),
        "supernode_key": hospital.supernode_key,
    }
    _check_unused(connection, hospital.name, hospital.release_key)
    _check_node_unused(connection, hospital)
    again = hospital.name in revoked(connection)
    alike = sql.or_(
        *(_ROWS.c[field] == value for field, value in own.items() if field != "name" or not again)
    )
    for other in connection.execute(sql.select(_ROWS).where(alike).order_by(_ROWS.c.name).limit(1)):
        same = [field for field, value in own.items() if getattr(other, field) == value]
        raise EnrolmentError(
            f"{hospital.name}: {other.name} is enrolled with the same {' and '.join(same)}: "
            "each hospital needs a name and keys of its own"
        )
    row = {**own, "evaluator": hospital.evaluator, "enrolled_at": at}
    if again:
        update = _ROWS.update().where(_ROWS.c.name == hospital.name)
        unsaid = dict.fromkeys(("experts", "code_hash", "named_as"), sql.null())
        connection.execute(update.values(**row, **unsaid))
    else:
        connection.execute(_ROWS.insert(), [row])


def replace_key(connection: sql.Connection, name: str, handovers: Sequence[Handover], at: str) -> None:
    """Put the last handover's key in the enrolled one's place; all before it are kept as former keys.

    The handovers must have been verified (`privacy.handover.successors`). Raises `EnrolmentError` for a key that is,
    or was, enrolled already.
    """
    for handover in handovers:
        holder = sql.select(_ROWS.c.name).where(_ROWS.c.release_key == handover.new.to_pem())
        if (other := connection.scalar(holder)) is not None:
            raise EnrolmentError(f"{name}: {other} is enrolled with the new key already")
        _check_unused(connection, name, handover.new)
        former = {"release_key": handover.old.to_pem(), "hospital": name, "replaced_at": at}
        connection.execute(_FORMER.insert(), [former])
        update = _ROWS.update().where(_ROWS.c.name == name)
        connection.execute(update.values(release_key=handover.new.to_pem()))


def revoke(connection: sql.Connection, name: str, reason: str, at: str) -> Hospital:
    """From now on the hospital is not enrolled; what it was. Raises `EnrolmentError` where it is not enrolled."""
    found = {hospital.name: hospital for hospital in read(connection)}.get(name)
    if found is None:
        before = revoked(connection).get(name)
        raise EnrolmentError(
            f"{name} is not enrolled: `fedpath-consortium status` names who is"
            if before is None
            else f"{name} was revoked at {before.at} already"
        )
    row = {
        "release_key": found.release_key.to_pem(),
        "hospital": name,
        "supernode_key": found.supernode_key,
        "evaluator": found.evaluator,
        "revoked_at": at,
        "reason": reason,
    }
    connection.execute(_REVOKED.insert(), [row])
    return found


def revoked(connection: sql.Connection) -> dict[str, Revoked]:
    """Hospitals that were revoked and not enrolled again, by name."""
    query = sql.select(_REVOKED).join(_ROWS, _ROWS.c.release_key == _REVOKED.c.release_key)
    rows = connection.execute(query.order_by(_REVOKED.c.hospital))
    return {
        row.hospital: Revoked(row.hospital, row.supernode_key, row.evaluator, row.revoked_at, row.reason)
        for row in rows
    }


def revoked_nodes(connection: sql.Connection) -> frozenset[bytes]:
    """The node keys of all that were ever revoked."""
    return frozenset(connection.scalars(sql.select(_REVOKED.c.supernode_key)))


def check_none_revoked(connection: sql.Connection, names: Iterable[str]) -> None:
    """Raise `HospitalRevoked` where one of these was revoked and not enrolled again."""
    if found := sorted(set(names) & set(revoked(connection))):
        raise HospitalRevoked(f"{', '.join(found)} was revoked meanwhile", frozenset(found))


def release_keys(connection: sql.Connection, since: str) -> dict[str, tuple[PublicKey, ...]]:
    """By hospital, every key that was valid at some time after `since`: its present one first. None that was revoked,
    nor any that went before a revoked one.
    """
    found = {hospital.name: [hospital.release_key] for hospital in read(connection)}
    last_revoked: dict[str, str] = {
        row.hospital: row.revoked_at
        for row in connection.execute(sql.select(_REVOKED).order_by(_REVOKED.c.revoked_at))
    }
    query = sql.select(_FORMER).where(_FORMER.c.replaced_at >= since).order_by(_FORMER.c.replaced_at)
    for row in connection.execute(query):
        if row.hospital in found and row.replaced_at > last_revoked.get(row.hospital, ""):
            found[row.hospital].append(_key(row.hospital, row.release_key))
    return {name: tuple(keys) for name, keys in found.items()}


def _check_unused(connection: sql.Connection, name: str, key: PublicKey) -> None:
    for table, what in ((_FORMER, "has been replaced"), (_REVOKED, "was revoked")):
        query = sql.select(table.c.hospital).where(table.c.release_key == key.to_pem())
        if (owner := connection.scalar(query)) is not None:
            raise EnrolmentError(
                f"{name}: the key {key.fingerprint} was {owner}'s and {what}: a key is never enrolled twice; the hospital "
                "makes new ones with `fedpath-hospital request`"
            )


def _check_node_unused(connection: sql.Connection, hospital: Hospital) -> None:
    """The SuperLink never knows a node again that it was told to forget."""
    query = sql.select(_REVOKED.c.hospital).where(_REVOKED.c.supernode_key == hospital.supernode_key)
    if (owner := connection.scalar(query)) is not None:
        raise EnrolmentError(
            f"{hospital.name}: its supernode_key was {owner}'s, who was revoked: the hospital makes a new one with "
            "`fedpath-hospital request`"
        )


def _key(name: str, pem: bytes) -> PublicKey:
    try:
        return PublicKey.from_pem(pem)
    except KeyFileError as error:
        raise StoreError(f"{name}'s release key was changed in the database: {error}") from error
