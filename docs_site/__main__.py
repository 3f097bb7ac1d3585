"""`make reference`: write the pages of reference anew, as the code is now."""

from __future__ import annotations

from pathlib import Path

from docs_site.pages import reference

ROOT = Path(__file__).parents[1]

for place, text in reference(ROOT).items():
    (ROOT / "docs" / place).parent.mkdir(exist_ok=True)
    (ROOT / "docs" / place).write_text(text, "utf-8")
