"""Pages of the three programs' commands, from the trees of commands that the programs themselves run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

import typer
from typer.main import get_command

from docs_site.markdown import code, page, table, words

Command = Any  # typer's or click's: which of them depends on typer's version


def program(name: str, app: typer.Typer, about: str) -> str:
    """The page of one program: every command with its usage, arguments and options."""
    tree = get_command(app)
    return page(f"# {name}", about, *(_section(path, command) for path, command in leaves(tree, (name,))))


def leaves(command: Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Command]]:
    """Each command that does something, in the order of `--help`; hidden ones are left out."""
    if command.hidden:
        return
    if not hasattr(command, "commands"):
        yield path, command
        return
    context = command.context_class(command, info_name=path[-1])
    for name in command.list_commands(context):
        yield from leaves(command.get_command(context, name), (*path, name))


def _section(path: tuple[str, ...], command: Command) -> str:
    parent = None
    for name in path[:-1]:
        parent = command.context_class(command, info_name=name, parent=parent)
    context = command.context_class(command, info_name=path[-1], parent=parent)
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option" and not each.hidden]
    return page(
        f"## {' '.join(path[1:])}",
        f"```text\n{' '.join([*path, *command.collect_usage_pieces(context)])}\n```",
        _words(command.help),
        table(
            ("argument", "what"),
            [(code(each.make_metavar(context)), _words(each.help)) for each in arguments if each.help],
        ),
        table(
            ("option", "value", "default", "what"),
            [(_names(each), _value(each, context), _default(each), _words(each.help)) for each in options],
        ),
        f"```text\n{examples}\n```" if (examples := "\n".join((command.epilog or "").split("\n\n"))) else "",
    )


def _names(option: Any) -> str:
    return ", ".join(map(code, [*option.opts, *option.secondary_opts]))


def _value(option: Any, context: Any) -> str:
    if option.is_flag:
        return ""
    least, most = getattr(option.type, "min", None), getattr(option.type, "max", None)
    bounds = " ".join(
        [*([f"from {least}"] if least is not None else ()), *([f"to {most}"] if most is not None else ())]
    )
    return f"{code(option.make_metavar(context).removesuffix(' RANGE'))} {bounds}".strip()


def _default(option: Any) -> str:
    if option.required:
        return "must be given"
    value = getattr(option.default, "value", option.default)  # of an enum
    told = isinstance(value, str | int | float | PurePath) and not isinstance(value, bool)
    return code(value) if told else ""


def _words(text: str | None) -> str:
    return words(text).replace("\b", "").replace("\f", "")
