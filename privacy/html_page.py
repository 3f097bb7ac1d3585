"""Pages that ask nothing of any other place, and in which nothing that was given is markup."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined


def rendered(package: str, **values: object) -> str:
    """`page.html` of the package, filled with `values`.

    Guarantee: all text is escaped, whoever wrote it, but for what its maker declared to be `Markup`; a value that the
    template misses is an error, never a gap.
    """
    environment = Environment(
        loader=PackageLoader(package, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(**values)
