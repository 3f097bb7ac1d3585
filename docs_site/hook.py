"""MkDocs' hooks: adds the pages that lie nowhere, lists the decisions, and leads links that leave `docs/` to their pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs_site.pages import made
from docs_site.repository import relinked

ROOT = Path(__file__).parents[1]
_DECISIONS = "adr"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put each decision record into the navigation, in the place of their folder."""
    records = sorted(path.name for path in (ROOT / "docs" / _DECISIONS).glob("*.md"))
    listed = [f"{_DECISIONS}/index.md", *(f"{_DECISIONS}/{name}" for name in records)]
    config.nav = _with_records(config.nav or [], listed)
    return config


def _with_records(entry: Any, listed: list[str]) -> Any:
    """The entry, with the records where their folder stands, however deep."""
    if isinstance(entry, list):
        return [_with_records(each, listed) for each in entry]
    if isinstance(entry, dict):
        return {name: _with_records(value, listed) for name, value in entry.items()}
    return listed if entry == f"{_DECISIONS}/" else entry


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that no file under `docs/` holds."""
    for place, text in made(ROOT).items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links of files under `docs/`; those of made pages lead to pages already."""
    return markdown if page.file.generated_by else relinked(markdown, f"docs/{page.file.src_uri}")


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Name the theme's search for who hears the page: it is a dialog without a name."""
    return output.replace(
        'data-md-component="search" role="dialog"',
        'data-md-component="search" role="dialog" aria-label="Search"',
    )
