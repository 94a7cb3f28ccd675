"""What a request gets that isn't passed on: a Status, as the API server's own refusals are."""

from __future__ import annotations

import json
from typing import Literal

Kind = Literal["request", "target", "method", "host", "origin", "token", "filter", "rule", "limit", "server"]
"""What was wrong, in one word: for counters and the log."""

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    413: "RequestEntityTooLarge",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
"""Kubernetes' names (meta/v1, StatusReason); other statuses have none there."""


class Refusal(Exception):
    """Why a request isn't passed on.

    ``status`` is HTTP's. ``message`` is a sentence that says what to do; it may hold parts of the request's
    path, and who asks (Host, Origin), but nothing of its query or other headers. ``detail`` is
    for the log instead, where the client isn't to know.
    """

    def __init__(self, status: int, kind: Kind, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.kind: Kind = kind
        self.message = message
        self.detail = detail

    def body(self) -> bytes:
        """A Status (meta/v1) as JSON, which kubectl shows as it does the API server's own."""
        status: dict[str, object] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": f"kmetad proxy: {self.message}",
        }
        if self.status in _REASONS:
            status["reason"] = _REASONS[self.status]
        status["code"] = self.status
        return json.dumps(status).encode() + b"\n"
