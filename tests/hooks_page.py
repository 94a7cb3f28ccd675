"""Writes the page of all hooks: ``python -m tests.hooks_page > docs/reference/hooks.md``."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from kmetad import events, hookspecs, metadata

DELIVERY = (
    "The delivery has failed: what would follow in it isn't called, and all of it comes again, as `lane.retry` says. "
    "`Skip` ends it as done."
)
START = (
    "It is called again, as `lane.retry` says, and no change comes before it has returned. "
    "`Fail(…, retry=False)` parks the instance until something changes; after `Skip` it has begun."
)
APPLIED = (
    "It is called again, as `lane.retry` says, until it returns, there is a newer outcome of that instance, or no "
    "attempt is left. `Skip`, and `Fail(…, retry=False)`, end that at once."
)
LOGGED = "It is logged, and that is all: `Retry`, `Skip` and `Fail` too."

HOOKS = {
    "kmetad_on_start": (
        "first in every life of kmetad; again until it returns",
        START,
    ),
    "kmetad_on_change": ("a delivery; after the hooks for its single changes", DELIVERY),
    **{
        f"kmetad_on_{type_}": ("a delivery; once for each such change", DELIVERY)
        for type_ in ("label", "annotation", "field", "resource", "file", "token", "trust", "source")
    },
    "kmetad_on_app_start": ("the app was started; between two deliveries", LOGGED),
    "kmetad_on_app_exit": ("the app has ended; between two deliveries", LOGGED),
    "kmetad_on_applied": (
        "another instance was told something; between two deliveries",
        APPLIED,
    ),
    "kmetad_app_env": ("after `kmetad_on_start`, and at the end of each delivery", DELIVERY),
    "kmetad_log_tags": ("after `kmetad_on_start`, and at the end of each delivery", DELIVERY),
    "kmetad_on_stop": ("last of all, when kmetad stops", LOGGED),
}
"""Each hook: when it is called, and what raising does."""

VALUES = (
    metadata.Snapshot,
    events.Batch,
    events.Change,
    events.LabelChange,
    events.AnnotationChange,
    events.FieldChange,
    events.ResourceChange,
    events.FileChange,
    events.TokenChange,
    events.TrustChange,
    events.SourceChange,
    metadata.Resource,
    metadata.Token,
    metadata.SourceState,
    metadata.Digest,
    events.Outcome,
    hookspecs.LogTags,
    hookspecs.Context,
    hookspecs.App,
    hookspecs.Retry,
    hookspecs.Skip,
    hookspecs.Fail,
)
"""What hooks are given, may answer, ask or raise."""

HEAD = """\
<!-- Written by `python -m tests.hooks_page`, from kmetad/hookspecs.py; change that. -->

# Hooks
"""

ALSO = f"""\
## Beside the hooks

The module of a plugin may hold more than `class Plugin`:

| name | what it is |
|---|---|
| `Options` | a frozen `msgspec.Struct`: what the table in the TOML takes; `Plugin.__init__` gets one as `options` |
| `API_VERSION` | the contract that it was written for, now {hookspecs.API_VERSION}; a newer one is refused |
| `ROLE` | what it asks of the API server, `{{"patch pods/status": "why"}}`, each key as `kmetad api can-i` takes it; \
shown by `kmetad plugins list -v` |

And the class more than hooks, called by `kmetad check` and at the start of `kmetad run` and never told a change:

| method | what it is |
|---|---|
| `__init__(self, options, context)` | either, both or none of them. It only remembers: a check makes plugins, too |
| `advice(self, snapshot)` | yields sentences about what won't work here; warnings, at the start and in `kmetad check` |
| `simulate(self, batch)` | yields sentences about what it would do, for `kmetad check --simulate`; does nothing |
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD, markdown(hookspecs.__doc__), *_contract(), *_overview()]
    for name, spec in specs().items():
        parts += _hook(name, spec)
    parts += [ALSO, "## What hooks are given, and may raise\n"]
    for value in VALUES:
        parts += _value(value)
    return "\n".join(parts)


def specs() -> dict[str, Callable[..., Any]]:
    """Every hook, in the order of the contract."""
    return {name: spec for name, spec in vars(hookspecs).items() if name.startswith("kmetad_")}


def markdown(documented: str | None) -> str:
    """A docstring as Markdown: code marked by one backtick, literal blocks indented by four."""
    text = inspect.cleandoc(documented or "")
    return re.sub(r"^::\n\n", "", text, flags=re.MULTILINE).replace("``", "`") + "\n"


def _contract() -> Iterator[str]:
    yield f"The contract's version is {hookspecs.API_VERSION}, in `kmetad.hookspecs.API_VERSION`:\n"
    said = attributes(hookspecs)["API_VERSION"][1].partition("\n\n")[2]
    yield markdown(said)


def _overview() -> Iterator[str]:
    yield "| hook | when it is called |\n|---|---|"
    for name in specs():
        yield f"| [`{name}`](#{name}) | {HOOKS[name][0]} |"
    yield ""


def _hook(name: str, spec: Callable[..., Any]) -> Iterator[str]:
    when, raising = HOOKS[name]
    signature = inspect.signature(spec)
    yield f"## {name}\n"
    yield f"    def {name}({', '.join(['self', *signature.parameters])})\n"
    yield markdown(spec.__doc__)
    yield f"- When: {when}."
    for argument in signature.parameters.values():
        yield f"- `{argument.name}`: {_linked(argument.annotation)}"
    if signature.return_annotation != "None":
        yield f"- It may return: {_linked(signature.return_annotation)}"
    yield f"- If it raises: {raising[0].lower()}{raising[1:]}\n"


def _value(value: type) -> Iterator[str]:
    yield f"### {value.__name__}\n"
    yield re.sub(r">>> .*", "", markdown(value.__doc__))
    rows = list(_members(value))
    if rows:
        yield "| attribute | type | |\n|---|---|---|"
        yield from rows
        yield ""


def _members(value: type) -> Iterator[str]:
    """Rows for the attributes of a class, its properties and its methods, those it inherits aside."""
    for name, (annotation, documented) in attributes(value).items():
        if not name.startswith("_") and not annotation.startswith("ClassVar"):
            yield f"| `{name}` | {_cell(annotation)} | {_sentence(documented)} |"
    for name, member in vars(value).items():
        if name.startswith("_") or not (member.__doc__ and isinstance(member, (property, type(_value)))):
            continue
        if isinstance(member, property):
            annotation = inspect.signature(member.fget).return_annotation  # type: ignore[arg-type]
            yield f"| `{name}` | {_cell(annotation)} | {_sentence(member.__doc__)} |"
        else:
            arguments = [str(p).partition(":")[0] for p in inspect.signature(member).parameters.values()]
            yield f"| `{name}({', '.join(arguments[1:])})` | | {_sentence(member.__doc__)} |"


def attributes(owner: Any) -> dict[str, tuple[str, str]]:
    """By attribute of a class or module, its annotation and the text below it, as the source has them."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
    makers = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    ]
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    bodies = [tree.body, *(node.body for node in (*classes, *makers))]
    found: dict[str, tuple[str, str]] = {}
    for body in bodies:
        for statement, after in zip(body, [*body[1:], ast.Pass()], strict=True):
            told = _text(after)
            match statement:
                case ast.AnnAssign(target=ast.Name(id=name)):
                    found[name] = ast.unparse(statement.annotation), told
                case ast.Assign(targets=[ast.Name(id=name)]) if told:
                    found[name] = "", told
                case ast.Assign(targets=[ast.Attribute(attr=name)]) if told:
                    found[name] = "bool", told  # of the only one there is
    return found


def _text(statement: ast.stmt) -> str:
    """A string that stands for itself, as below an attribute."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return str(statement.value.value)
    return ""


def _sentence(documented: str | None) -> str:
    return " ".join(markdown(documented).split()).replace("|", "\\|")


def _cell(annotation: str) -> str:
    return f"`{annotation}`".replace("|", "\\|")


def _linked(annotation: str) -> str:
    """A type, as a link where this page has it."""
    known = {value.__name__ for value in VALUES}
    return f"[`{annotation}`](#{annotation.lower()})" if annotation in known else f"`{annotation}`"


if __name__ == "__main__":
    print(page(), end="")
