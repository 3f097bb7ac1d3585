"""What the source says of each member of a class, in the comment on the member's own lines."""

from __future__ import annotations

import ast
import inspect
import io
import textwrap
import tokenize


def remarks(kind: type) -> dict[str, str]:
    """The comment on each member's lines, by the member's name; members without one are left out."""
    source = textwrap.dedent(inspect.getsource(kind))
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    (body,) = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for node in body.body:
        lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
        said = " ".join(comments[line] for line in lines if line in comments)
        if said and isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            assert isinstance(target, ast.Name)
            found[target.id] = said
    return found
