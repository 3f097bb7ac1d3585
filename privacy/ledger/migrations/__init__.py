"""The versions of a ledger's tables, oldest first; `privacy.ledger.schema` carries them out."""
