"""What a table's keys mean, as the strings below its Struct's fields say it: for editors, and for docs/reference."""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise
from textwrap import dedent


def documented(table: type) -> dict[str, str]:
    """By field, the text below it in the source, on one line; without those that have none.

    Fields of base classes included. Where there is no source to read, nothing is known.
    """
    found: dict[str, str] = {}
    for part in reversed(table.__mro__):
        for field, below in pairwise(_body(part)):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = " ".join(text.split())
    return found


def _body(part: type) -> list[ast.stmt]:
    if part.__module__ in ("builtins", "msgspec"):
        return []
    try:
        (defined,) = ast.parse(dedent(inspect.getsource(part))).body
    except (OSError, TypeError, SyntaxError):
        return []  # made on the fly, or its file is gone
    return defined.body if isinstance(defined, ast.ClassDef) else []
