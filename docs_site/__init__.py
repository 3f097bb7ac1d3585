"""The documentation's site: what MkDocs needs besides `docs/`, and the pages that are made from the code."""
