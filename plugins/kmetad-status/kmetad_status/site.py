"""The paths, and what is there. What isn't in the table isn't there: no path ever names a file."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from kmetad.hookspecs import Context
from kmetad_status import documents
from kmetad_status.answer import JSON, TEXT, Answer, Opening, refusal, whole
from kmetad_status.history import History

if TYPE_CHECKING:
    from kmetad_status.metrics import Metrics

KINDS = ("change", "outcome", "status", "metadata")
"""Of events, that may be listened to."""

PAGE = Path(__file__).parent / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Of the page's files."""


class Site:
    """Answers from what the daemon is at that moment. For the loop's own thread."""

    def __init__(
        self, context: Context, history: History, metadata: documents.Metadata, lag_limit: timedelta
    ) -> None:
        self._context = context
        self._history = history
        self._lag_limit = lag_limit
        self._metrics: Metrics | None = None
        self._files = {f"/{file.name}": file for file in sorted(PAGE.iterdir()) if file.suffix in TYPES}
        self._files["/"] = self._files.pop("/index.html")
        self._table: dict[str, Callable[[dict[str, list[str]], dict[str, str]], Answer | Opening]] = {
            "/livez": lambda query, headers: whole(b"ok\n", TEXT),
            "/readyz": lambda query, headers: self._readyz(),
            "/metrics": lambda query, headers: self._scraped(headers.get("accept", "")),
            "/api/status": lambda query, headers: whole(documents.status(context.status()), JSON),
            "/api/metadata": lambda query, headers: whole(metadata.of(context.snapshot()), JSON),
            "/api/timeline": lambda query, headers: self._timeline(),
            "/api/events": self._events,
        }

    def answer(self, method: str, target: str, headers: dict[str, str]) -> Answer | Opening:
        """What a request gets; ``headers`` by their names in lower case. Raises what the daemon's parts raise."""
        if not target.startswith("/"):
            return refusal(400, "The target has to be a path, as /livez")
        path, _, query = target.partition("?")
        if path not in self._table and path not in self._files:
            return refusal(404, f"There is nothing here. There are /, {', '.join(self._table)}")
        if method not in ("GET", "HEAD"):
            return refusal(405, "All here is for reading: GET or HEAD", ("Allow", "GET, HEAD"))
        if path in self._files:
            file = self._files[path]
            return whole(file.read_bytes(), TYPES[file.suffix])
        try:
            asked = parse_qs(query, keep_blank_values=True, max_num_fields=32)
        except ValueError:
            return refusal(400, "The query has too many fields")
        return self._table[path](asked, headers)

    def _readyz(self) -> Answer:
        why = tuple(documents.unready(self._context.status(), self._lag_limit))
        return refusal(503, "\n".join(why)) if why else whole(b"ok\n", TEXT)

    def _scraped(self, accept: str) -> Answer:
        if self._metrics is None:
            from kmetad_status.metrics import Metrics  # with the first scrape: most daemons are never scraped

            self._metrics = Metrics(self._context)
        return whole(*self._metrics.scraped(accept))

    def _timeline(self) -> Answer:
        timeline = self._history.timeline()
        return Answer(200, JSON, timeline, sum(map(len, timeline)))

    def _events(self, query: dict[str, list[str]], headers: dict[str, str]) -> Answer | Opening:
        kinds = frozenset(",".join(query.get("of", ["change"])).split(","))
        if not kinds <= frozenset(KINDS):
            return refusal(400, f"of: expected any of {', '.join(KINDS)}, with commas between them")
        return Opening(kinds, headers.get("last-event-id"))
