"""Who is invited, enrolled and revoked: that half of the store (`server.store`)."""

from __future__ import annotations

from collections.abc import Sequence

from privacy import canonical
from privacy.description import Description
from privacy.handover import Handover
from privacy.keys import PublicKey
from server import hospitals, invitations, tables
from server.errors import EnrolmentError
from server.journal import Kind
from server.records import Hospital, Invited, Revoked
from server.stored import Stored


class Membership(Stored):
    """Every change is one transaction, and, but for invitations, an entry of the journal in the same one."""

    def invite(self, ticket: PublicKey, invited: Invited) -> None:
        """Let a hospital answer once. Raises `EnrolmentError` where it is enrolled."""
        with self._database.transaction() as connection:
            if invited.hospital in {hospital.name for hospital in hospitals.read(connection)}:
                raise EnrolmentError(
                    f"{invited.hospital} is enrolled: if its keys are lost or stolen, `fedpath-consortium revoke` it first"
                )
            invitations.add(connection, ticket, invited, self._when())

    def invitation(self, ticket: PublicKey) -> Invited:
        """The open invitation of this ticket. Raises `EnrolmentError` where it is unknown, used, void or expired."""
        with self._database.transaction() as connection:
            return invitations.find(connection, ticket, self._when())

    def invited(self) -> list[Invited]:
        """Invitations that nobody answered yet."""
        with self._database.transaction() as connection:
            return invitations.unanswered(connection)

    def enrol(self, hospital: Hospital, ticket: PublicKey | None = None) -> None:
        """Add a hospital; `ticket` is the one of the invitation that it answers, which is used up.

        Raises `EnrolmentError` where the invitation is not open for this hospital, or its name or one of its keys is, or
        was, enrolled already. (A revoked one may come back under new keys.)
        """
        with self._database.transaction() as connection:
            answers: dict[str, str] = {}
            if ticket is not None:
                found = invitations.find(connection, ticket, self._when())
                if (found.hospital, found.evaluator) != (hospital.name, hospital.evaluator):
                    raise EnrolmentError(f"the invitation is {found.hospital}'s, not {hospital.name}'s")
                invitations.use(connection, ticket, self._when())
                answers = {"ticket": ticket.raw.hex()}
            hospitals.add(connection, hospital, self._when())
            body = {
                "hospital": hospital.name,
                "evaluator": hospital.evaluator,
                "release_key": hospital.release_key.raw.hex(),
                "supernode_key": canonical.digest(hospital.supernode_key),
                **answers,
            }
            self._record(connection, Kind.ENROLMENT, body)

    def replace_key(self, name: str, handovers: Sequence[Handover]) -> None:
        """Put the key that verified `handovers` (`privacy.handover.successors`) lead to in the enrolled one's place.

        Raises `EnrolmentError` where one of the new keys is, or was, enrolled already.
        """
        with self._database.transaction() as connection:
            hospitals.replace_key(connection, name, handovers, self._when())
            for handover in handovers:
                self._record(connection, Kind.HANDOVER, {"hospital": name, **handover.to_dict()})

    def revoke(self, name: str, reason: str) -> None:
        """From now on the hospital is not enrolled: nothing of it counts any more, and its keys never will again.

        Raises `EnrolmentError` where it is not enrolled.
        """
        with self._database.transaction() as connection:
            found = hospitals.revoke(connection, name, reason, self._when())
            body = {"hospital": name, "release_key": found.release_key.raw.hex(), "reason": reason}
            self._record(connection, Kind.REVOCATION, body)

    def revoked(self) -> dict[str, Revoked]:
        """Hospitals that were revoked and not enrolled again, by name."""
        with self._database.transaction() as connection:
            return hospitals.revoked(connection)

    def revoked_nodes(self) -> frozenset[bytes]:
        """The node keys (PEM) of all that were ever revoked."""
        with self._database.transaction() as connection:
            return hospitals.revoked_nodes(connection)

    def hospitals(self) -> dict[str, Hospital]:
        """All that are enrolled, by name."""
        with self._database.transaction() as connection:
            return {hospital.name: hospital for hospital in hospitals.read(connection)}

    def release_keys(self, since: str) -> dict[str, tuple[PublicKey, ...]]:
        """By hospital, the keys under which it may answer what was opened at `since`: its present one first, then
        those that were replaced after that.
        """
        with self._database.transaction() as connection:
            return hospitals.release_keys(connection, since)

    def described(self, name: str, said: Description) -> None:
        """Keep what a hospital says of itself."""
        with self._database.transaction(lasting=False) as connection:
            table = tables.hospitals
            row = {"experts": list(said.experts), "code_hash": said.code_hash, "named_as": said.named_as}
            connection.execute(table.update().where(table.c.name == name).values(**row))
