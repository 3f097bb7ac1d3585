"""What a journal entry is about, in few words: the whole of it is in the export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from privacy import canonical
from privacy.errors import WireError
from server.journal import MAX_BODY


def about(data: bytes) -> str:
    """The campaign, round, hospital or user that an entry's body names; empty where it names none, or is but a part."""
    try:
        body = canonical.decode(data, MAX_BODY)
    except WireError:
        return ""
    return ", ".join(_words(body)) if isinstance(body, Mapping) else ""


def _words(body: Mapping[str, Any]) -> list[str]:
    definition = body.get("definition")
    begun = definition.get("name") if isinstance(definition, Mapping) else None
    named = (
        ("{}", body.get("campaign") or begun),
        ("round {}", body.get("number")),
        ("after {}", body.get("point")),
        ("rounds up to {}", body.get("through")),
        ("{}", body.get("hospital")),
        ("by {}", body.get("by")),
    )
    return [form.format(value) for form, value in named if isinstance(value, str | int)]
