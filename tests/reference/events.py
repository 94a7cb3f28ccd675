"""events.md: every type of change, as hooks get it and as JSON has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kmetad._diff import diff
from kmetad.events import SUBJECTS, Batch
from kmetad.metadata import Digest, Resource, Snapshot, SourceState, Token
from kmetad.quantity import Quantity
from tests.reference.markdown import GENERATED, code, prose, table

SAW, SWAPPED = 1_767_323_045_123_456_000, 1_767_323_045_120_000_000


@dataclass(frozen=True)
class Example:
    """What a type's key, ``old`` and ``new`` are, and one change of it: a key, before and after."""

    key: str
    values: str
    at: str
    before: Any
    after: Any


EXAMPLES = {
    "source": Example(
        "the source's name",
        "its state: `healthy`, `polling` (the kernel tells of nothing there), `lost`, `unreadable`",
        "settings",
        SourceState("healthy", 0, ""),
        SourceState("lost", 1, "/etc/web isn't there"),
    ),
    "annotation": Example("the annotation's key", "its text", "example.com/log-level", None, "debug"),
    "field": Example("the field path", "its text", "metadata.labels['tier']", "silver", "gold"),
    "file": Example(
        "`SOURCE/path`", "null: contents are never shown", "settings/app.conf", Digest(b"1"), Digest(b"2")
    ),
    "label": Example("the label's key", "its text", "app", "a", "b"),
    "resource": Example(
        "`CONTAINER.limits.cpu`; CONTAINER as declared, nothing where none is",
        "the quantity as Kubernetes writes it; the bare number where no divisor is declared",
        "web.limits.cpu",
        Resource(250, Quantity("1m")),
        Resource(500, Quantity("1m")),
    ),
    "token": Example(
        "the source's name",
        "when it expires and whom it is for; never the token itself",
        "token",
        Token(1_767_326_645, ("https://kubernetes.default.svc.cluster.local",), Digest(b"1")),
        Token(1_767_330_245, ("https://kubernetes.default.svc.cluster.local",), Digest(b"2")),
    ),
    "trust": Example(
        "the source's name", "null: contents are never shown", "token", Digest(b"1"), Digest(b"2")
    ),
}
MEMBERS = (
    ("time", "RFC 3339", "when kmetad saw it"),
    (
        "swapped",
        "RFC 3339 or null",
        "when the kubelet swapped the volume: the new directory's modification time. Null where there was no swap",
    ),
    ("type", "string", "one of those below"),
    ("op", "string", "`added`, `changed` or `removed`"),
    ("key", "string", "as below"),
    ("old", "as below, or null", "null when it was added"),
    ("new", "as below, or null", "null when it was removed"),
    ("source", "string", "the source that speaks for the key now, or spoke for it when it was removed"),
    (
        "generation",
        "integer",
        "of the state of the Pod; counted since kmetad began, and without a meaning elsewhere",
    ),
)
HEAD = f"""\
{GENERATED}

# Changes

A hook `kmetad_on_TYPE(change)` gets one change, `kmetad_on_change(batch)` all that belong together: values of
[kmetad/events.py](../../kmetad/events.py). As JSON each is an object on a line of its own: `kmetad events -o json`
prints it, commands that kmetad-reload runs get it on standard input.

{table(("member", "is", "meaning"), ((code(m), form, told) for m, form, told in MEMBERS))}
Bytes that are no UTF-8 appear as lone surrogates, escaped (`\\udcff`). New versions of kmetad may add members.

Within a batch `source` comes first; then they are in the order of their types and keys.
"""
REST = """\
## Elsewhere

What another instance did with a delivery comes to `kmetad_on_applied(outcome)`: [hooks.md](hooks.md) has all hooks, and
what they get. kmetad-status streams the same objects over HTTP: [kmetad-status](../../plugins/kmetad-status).
"""


def page() -> str:
    """The text."""
    parts = [HEAD]
    for cls, subject in SUBJECTS:
        example = EXAMPLES[cls.type]
        parts.append(
            f"## {cls.type}\n\n{prose((cls.__doc__ or '').strip())} In Python: `{cls.__name__}`.\n\n"
            f"- key: {example.key}\n- old, new: {example.values}\n\n"
            f"```json\n{_line(cls.type, example, subject)}```\n"
        )
    return "\n".join([*parts, REST])


def _line(type_: str, example: Example, subject: str) -> str:
    """The JSON of one change: what the program itself makes of it."""
    source = {"tokens": "token", "trust": "token", "files": "settings"}.get(subject, "podinfo")
    before, after = (
        Snapshot(
            **{subject: {} if value is None else {example.at: value}},  # type: ignore[arg-type]
            generation=generation,
            swapped={source: SWAPPED},
            origins={type_: source},
        )
        for generation, value in ((6, example.before), (7, example.after))
    )
    changes = diff(before, after)
    assert len(changes) == 1, type_
    return Batch(changes, before, after, SAW).json_lines()
