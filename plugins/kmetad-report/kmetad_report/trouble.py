"""What a failed call means: whether the Pod has gone, whether it is worth trying soon, and what to say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kmetad_report.wanted import COMPONENT

if TYPE_CHECKING:
    from kmetad.api import Conflict, StatusError

_MOST_ASKED = 60.0
"""Seconds that the API server may ask for: by then there may be something else to say."""
_MANAGER = re.compile(r'conflict with "([^"]*)"')


class Unplaced(Exception):
    """It isn't known which Pod this is."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A failed call."""

    kind: str
    """Each is said once, until a call succeeds."""
    sentence: str
    slow: bool = False
    """Somebody has to do something first, so trying again soon is of no use."""
    after: float = 0.0
    """The API server wants so many seconds of rest."""
    gone: bool = False
    """The Pod isn't there any more, or another one has its name."""
    foreseen: bool = True
    """False: it is a fault of somebody's code."""


def of(error: Exception, *, on_pod: str | None) -> Trouble:
    """What this error means. ``on_pod``: of a call that patches the Pod of this name, or its status."""
    from kmetad import api

    kind, said = type(error).__name__, str(error)
    if not isinstance(error, api.ApiError):
        foreseen = type(error) is Unplaced
        return Trouble(kind, said if foreseen else f"{kind}: {said}", foreseen=foreseen)
    if not isinstance(error, api.StatusError):
        return Trouble(kind, said, slow=isinstance(error, (api.NoServer, api.CredentialsError)))
    if on_pod is not None and _is_gone(error, on_pod):
        return Trouble("gone", said, gone=True)
    if isinstance(error, api.Forbidden):
        return Trouble(f"Forbidden to {error.verb} {error.resource}", said, slow=True)
    if isinstance(error, api.Conflict) and managers(error):
        return Trouble("Conflict", _shared(error), slow=True)
    slow = isinstance(error, (api.Unauthorized, api.BadRequest, api.Invalid, api.NotFound))
    return Trouble(kind, said, slow, after=min(error.retry_after or 0.0, _MOST_ASKED))


def _is_gone(error: StatusError, pod: str) -> bool:
    """Whether the Pod is: there is none, or its uid is another's, which no patch may change.

    To apply something that isn't there can mean to create it, which nobody has to be allowed. A 404 that
    doesn't name the Pod is whoever's in between.
    """
    from kmetad import api

    if isinstance(error, api.NotFound):
        return error.reason == "NotFound" and error.details.get("name") == pod
    if isinstance(error, api.Forbidden):
        return error.verb == "create" and error.resource.partition("/")[0] == "pods"
    if isinstance(error, api.Conflict):
        return not managers(error) and "uid" in error.said.lower()
    fields = [str(cause.get("field", "")) for cause in _causes(error)]
    return isinstance(error, api.Invalid) and "metadata.uid" in fields


def managers(error: Conflict) -> list[str]:
    """The field managers that have what was to be applied; empty where the conflict is another."""
    told = [cause for cause in _causes(error) if cause.get("reason") == "FieldManagerConflict"]
    found = (_MANAGER.search(str(cause.get("message", ""))) for cause in told)
    return sorted({name[1] for name in found if name})


def is_ours(name: str) -> bool:
    """Whether a field manager is a report: another container's, another instance's, or one of before."""
    return name.startswith(COMPONENT)


def _shared(error: Conflict) -> str:
    fields = sorted({str(cause.get("field", "")) for cause in _causes(error)})
    return (
        f"{', '.join(managers(error))} reports {', '.join(fields)} already, and something else: give one of the two "
        "another name, and set container, where several containers of the Pod report; remove what was reported "
        "under another configuration (kubectl annotate pod POD KEY-)"
    )


def _causes(error: StatusError) -> list[Mapping[str, Any]]:
    causes = error.details.get("causes")
    return [cause for cause in causes if isinstance(cause, dict)] if isinstance(causes, list) else []
