"""What became of requests: counters, and a line in the log for each.

No value of a query is ever shown, for it may be a secret, but for an object's name in a field selector; nor a header.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

from kmetad_ambassador.asked import Asked
from kmetad_ambassador.refusal import Refusal

LogRequests = Literal["all", "refused", "none"]

_LONGEST = 200
"""Characters of what a client has chosen: a name, or a target that was refused for what it is."""


class Tally:
    """Counters since the start."""

    def __init__(
        self, log: Any, log_requests: LogRequests = "all", taken: Callable[[], bool] = lambda: True
    ) -> None:
        """``taken`` tells whether a line of at most 4,096 bytes could be written without waiting."""
        self.requests = 0
        """All that came, whatever became of them."""
        self.statuses: Counter[int] = Counter()
        """What they were answered, by status; 0 where the client went before."""
        self.refused: Counter[str] = Counter()
        """Those that weren't passed on, or not answered by the server, by the kind of Refusal."""
        self.active = 0
        """Under way now."""
        self.sent = self.came = 0
        """Bytes of bodies to clients, and from them."""
        self.connections = 0
        """Connections made to the API server."""
        self.renewals = 0
        """Requests that were sent again with another token."""
        self.dropped = 0
        """Lines that weren't logged, since nobody took them."""
        self._log = log
        self._log_all = log_requests == "all"
        self._log_refused = log_requests != "none"
        self._taken = taken

    def refusal(
        self, refusal: Refusal, method: str, target: bytes, asked: Asked | None, seconds: float
    ) -> None:
        """A request was refused."""
        self.requests += 1
        self.statuses[refusal.status] += 1
        self.refused[refusal.kind] += 1
        if (self._log_refused or refusal.detail) and self._is_taken():
            # Of a whole URL nothing, for it may have a password in it; of a fragment, which may be a token, neither.
            shown = target.partition(b"?")[0].partition(b"#")[0][:_LONGEST] if target[:1] == b"/" else b""
            self._log.warning(
                "ambassador.refused",
                method=method,
                path=shown.decode("latin-1"),
                **_terms(asked),
                status=refusal.status,
                kind=refusal.kind,
                reason=_cut(refusal.detail or refusal.message, 1000),
                seconds=round(seconds, 6),
            )

    def answered(
        self,
        method: str,
        query: str,
        asked: Asked,
        status: int,
        sent: int,
        came: int,
        seconds: float,
        fault: str,
    ) -> None:
        """A request was passed on. ``fault``: what ended its answer before its time."""
        self.requests += 1
        self.statuses[status] += 1
        self.sent += sent
        self.came += came
        if self._log_all and self._is_taken():
            extra = {"query": _names(query)} if query else {}
            if fault:
                extra["fault"] = fault
            self._log.info(
                "ambassador.request",
                method=method,
                path=_cut(asked.path, 1000),
                **extra,
                **_terms(asked),
                status=status,
                bytes=sent,
                seconds=round(seconds, 6),
            )

    def lines(self) -> list[str]:
        """Each counter with its name, for people."""
        lines = [f"requests {self.requests}", f"active {self.active}"]
        lines += [f"status {status or 'none'} {count}" for status, count in sorted(self.statuses.items())]
        lines += [f"refused {kind} {count}" for kind, count in sorted(self.refused.items())]
        lines += [
            f"bytes_sent {self.sent}",
            f"bytes_received {self.came}",
            f"server_connections {self.connections}",
            f"token_renewals {self.renewals}",
        ]
        if self.dropped:
            lines.append(f"log_lines_dropped {self.dropped}")
        return lines

    def _is_taken(self) -> bool:
        """Where nobody reads a pipe, all clients would wait for it, and the end, too."""
        taken = self._taken()
        self.dropped += not taken
        return taken


def _terms(asked: Asked | None) -> dict[str, str]:
    """What was asked for, in Kubernetes' terms, as far as it is."""
    if asked is None:
        return {}
    terms = {"verb": asked.verb}
    if asked.resource:
        resource = f"{asked.resource}.{asked.api_group}" if asked.api_group else asked.resource
        terms["resource"] = f"{resource}/{asked.subresource}" if asked.subresource else resource
    if asked.namespace:
        terms["namespace"] = asked.namespace
    if asked.name:
        terms["name"] = asked.name
    return {name: _cut(term, _LONGEST) for name, term in terms.items()}


def _names(query: str) -> str:
    """The parameters without their values."""
    return _cut(
        "&".join(dict.fromkeys(part.partition("=")[0] for part in query.split("&") if part)), _LONGEST
    )


def _cut(text: str, most: int) -> str:
    """In ASCII, and not too long: a whole line has to fit into what a pipe takes at once."""
    shown = text if text.isascii() else text.encode("ascii", "backslashreplace").decode("ascii")
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"
