"""A book's database brought to its newest form by Alembic, in the transaction of the connection that is given."""

from __future__ import annotations

import sqlalchemy as sql

from privacy.errors import LedgerError

LEDGER_VERSIONS = "alembic_version"  # the table that says the version; a store's has a name of its own


def upgrade(
    connection: sql.Connection,
    scripts: str,
    found: str | None,
    head: str,
    book: str,
    table: str = LEDGER_VERSIONS,
) -> None:
    """Carry out the versions in `scripts` ("package:folder") from `found` (None: no version yet) to `head`.

    Raises `LedgerError` where `found` is none of them: a newer fedpath wrote it. `book` is what errors call what is kept there.
    """
    from alembic import command  # only here: it takes time to import, and a book is seldom upgraded
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config(attributes={"connection": connection, "version_table": table})
    config.set_main_option("script_location", scripts)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise LedgerError(
            f"the {book} is of version {found}, and this fedpath knows versions up to {head}: a newer fedpath "
            "wrote it; update this one"
        )
    command.upgrade(config, head)
