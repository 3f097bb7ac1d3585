"""Words on pages: what stands between backticks is code, and nothing becomes markup."""

from __future__ import annotations

import pytest

from pages.templates import commands


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("run `fedpath-hospital check`", "run <code>fedpath-hospital check</code>"),
        ("`a` and `b`", "<code>a</code> and <code>b</code>"),
        ("none", "none"),
        ("", ""),
        ("<b>`<i>`", "&lt;b&gt;<code>&lt;i&gt;</code>"),
        ("one ` alone", "one <code> alone</code>"),
        ("\x1b[31m", "\\x1b[31m"),
    ],
)
def test_commands_stand_out_and_nothing_acts(text: str, shown: str) -> None:
    """Catches backticks that are shown, and text that becomes markup on its way."""
    assert str(commands(text)) == shown
