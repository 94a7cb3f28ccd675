"""Every exception that a call to the API server raises.

::

    ApiError (KmetadError)
    ├── NoServer              nothing says where the API server is
    ├── CredentialsError      a token, a CA or a kubeconfig can't be had
    ├── Unreachable           no answer came
    │   ├── TimedOut              not in time
    │   └── Untrusted             its certificate can't be verified
    ├── BadAnswer             what answered isn't an API server, or its answer is too long
    └── StatusError           the API server refused
        ├── BadRequest            400
        ├── Unauthorized          401: it doesn't know who asks
        ├── Forbidden             403: it knows, and no role allows it
        ├── NotFound              404
        ├── Conflict              409: it exists already, was changed meanwhile, or belongs to another manager
        ├── Gone                  410: the resourceVersion is too old
        ├── Invalid               422
        ├── TooManyRequests       429
        └── ServerError           500 and above

Messages are whole sentences that end in what to do. None holds a token.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from kmetad.errors import KmetadError


class ApiError(KmetadError):
    """The root of them all."""


class NoServer(ApiError):
    """Nothing says where the API server is."""


class CredentialsError(ApiError):
    """A token, a CA or a kubeconfig isn't there, can't be read, or isn't one."""


class Unreachable(ApiError):
    """No answer came: its name can't be resolved, nobody listens, the connection broke."""


class TimedOut(Unreachable):
    """No whole answer came in time."""


class Untrusted(Unreachable):
    """The server's certificate can't be verified, so nothing was sent to it."""


class BadAnswer(ApiError):
    """What came isn't an answer of an API server: a redirect, a page, broken JSON, too much of it."""


class StatusError(ApiError):
    """The API server refused, as its Status says (meta/v1 Status)."""

    def __init__(
        self,
        message: str,
        *,
        code: int,
        reason: str = "",
        said: str = "",
        details: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        """The HTTP status; of an error within a watch the code that its Status has."""
        self.reason = reason
        """One word for programs, as ``AlreadyExists``; may be empty."""
        self.said = said
        """What the server itself says."""
        self.details: Mapping[str, Any] = MappingProxyType(dict(details or {}))
        """The Status's own: name, kind, causes."""
        self.retry_after = retry_after
        """In so many seconds it may be tried again, as the server says; None if it doesn't."""


class BadRequest(StatusError):
    """400: it can't make sense of the request."""


class Unauthorized(StatusError):
    """401: no token came, or one that it doesn't accept. It was read afresh and tried once more."""


class Forbidden(StatusError):
    """403: no role of whoever asks allows it. Another token of the same account changes nothing."""

    user: str = ""
    """Whom it took the request for; these are empty where its message has another form."""
    verb: str = ""
    group: str = ""
    """The API group; empty for the core's."""
    resource: str = ""
    """With its subresource: ``pods/status``; for anything but a resource, its path."""
    namespace: str = ""
    """Empty: all of them, or none."""
    name: str = ""
    rule: Mapping[str, list[str]] | None = None
    """The rule of a Role (of a ClusterRole, without namespace) that would allow it."""


class NotFound(StatusError):
    """404: there is no such object, resource or path."""


class Conflict(StatusError):
    """409: it exists already, was changed meanwhile, or another field manager has the field."""


class Gone(StatusError):
    """410: the resourceVersion, or the token of a continued list, is too old: list again."""


class Invalid(StatusError):
    """422: the object isn't valid; ``details["causes"]`` says where."""


class TooManyRequests(StatusError):
    """429: not now; ``retry_after`` says when."""


class ServerError(StatusError):
    """500 and above: it couldn't do it."""


BY_CODE: Mapping[int, type[StatusError]] = MappingProxyType(
    {
        400: BadRequest,
        401: Unauthorized,
        403: Forbidden,
        404: NotFound,
        409: Conflict,
        410: Gone,
        422: Invalid,
        429: TooManyRequests,
    }
)
