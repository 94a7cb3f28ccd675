"""What the API does: a request to a path becomes a verb on objects, and that an answer."""

from __future__ import annotations

import copy
import random
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from tests.apiserver import discovery, events, openapi, patches, protobuf, reviews, streams, validation
from tests.apiserver.access import Attributes, Identity
from tests.apiserver.answers import (
    MODIFIED,
    NO_PAGE,
    TEXT,
    Answer,
    Refusal,
    already_exists,
    answer,
    bad_request,
    conflict,
    invalid,
    method_not_allowed,
    missing,
    no_such_resource,
    not_found,
    unsupported_media_type,
)
from tests.apiserver.connection import Exchange, Request
from tests.apiserver.discovery import Resource
from tests.apiserver.forms import Form, negotiated
from tests.apiserver.managed import Manager, applied, updated
from tests.apiserver.objects import Object, normal, selects
from tests.apiserver.store import Change, Key, token_for

if TYPE_CHECKING:
    from tests.apiserver.server import ApiServer

MAX_BODY = 3 * 1024 * 1024
_NAMED_BY = "bcdfghjklmnpqrstvwxz2456789"
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}
_OWN_PATCHES = {
    "application/merge-patch+json": patches.merge,
    "application/json-patch+json": patches.apply_json,
    "application/strategic-merge-patch+json": patches.strategic,
}
APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True)
class Target:
    """What a path means."""

    group: str = ""
    version: str = ""
    plural: str = ""  # empty for a path that is no resource's
    subresource: str = ""
    namespace: str = ""
    name: str = ""

    @property
    def full(self) -> str:
        """The resource as rules name it."""
        return f"{self.plural}/{self.subresource}" if self.subresource else self.plural


def target_of(path: str) -> Target:
    """Read a path."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return Target()
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in ("status", "finalize"):
            rest = rest[2:]
    name = rest[1] if len(rest) > 1 else ""
    return Target(group, version, rest[0], "/".join(rest[2:]), namespace, name)


def understand(request: Request) -> None:
    """Fill in what the request wants."""
    target = target_of(request.where)
    request.resource = target.full
    if not target.plural:
        request.verb = request.method.lower()
    elif request.method in _VERBS:
        request.verb = _VERBS[request.method]
    elif request.method == "DELETE":
        request.verb = "delete" if target.name else "deletecollection"
    elif request.query.get("watch", "").lower() in ("1", "true"):
        request.verb = "watch"
    else:
        request.verb = "get" if target.name else "list"


def serve(server: ApiServer, exchange: Exchange, user: Identity) -> None:
    """Answer a request of a user. Raises the refusal."""
    request = exchange.request
    target = target_of(request.where)
    server.rules.check(
        user,
        Attributes(request.verb, request.where, target.group, target.full, target.namespace, target.name),
    )
    if len(request.body) > MAX_BODY:
        raise Refusal(413, "RequestEntityTooLarge", f"Request entity too large: limit is {MAX_BODY}")
    if not target.plural:
        if request.method != "GET":
            raise method_not_allowed()
        verbose = "verbose" in request.query
        accept = request.header("Accept") or ""
        if request.where.startswith("/openapi/"):
            exchange.answer(openapi.document(request.where, accept))
            return
        address = f"{server.host}:{server.port}"
        exchange.answer(discovery.document(request.where, accept, address, verbose))
        return
    resource = discovery.resources().get((target.group, target.version, target.plural))
    if resource is None:
        if target.version not in discovery.versions(target.group):
            exchange.answer(NO_PAGE)
            return
        raise no_such_resource()
    if (review := reviews.answering(target.full)) is not None and request.method == "POST":
        exchange.answer(review(server, user, request, target.namespace, target.name))
        return
    _Operation(server, exchange, user, target, resource).run()


class _Operation:
    """One verb on one resource."""

    def __init__(
        self, server: ApiServer, exchange: Exchange, user: Identity, target: Target, resource: Resource
    ) -> None:
        self.server = server
        self.store = server.store
        self.exchange = exchange
        self.request = exchange.request
        self.query = exchange.request.query
        self.user = user
        self.target = target
        self.resource = resource
        self.key = Key(resource.storage, target.namespace if resource.namespaced else "", target.name)
        self.dry = self.query.get("dryRun") == "All"
        self.warnings: list[str] = []

    def run(self) -> None:
        """Do it, and answer."""
        self._permitted()
        if self.target.subresource in streams.SUBRESOURCES:
            self._stream()
            return
        self.form = negotiated(self.request.header("Accept") or "*/*")
        verb, sub = self.request.verb, self.target.subresource
        if sub == "log":
            self._log()
        elif verb == "watch":
            self._watch()
        elif verb == "list":
            self._answer_list()
        elif verb == "get":
            self._answer(self._existing())
        elif verb == "create":
            self._answer(self._create(), 201)
        elif verb == "update":
            self._answer(self._update())
        elif verb == "patch":
            found, status = self._patch()
            self._answer(found, status)
        elif verb == "delete":
            self.exchange.answer(self._delete())
        else:
            self._delete_all()

    def _permitted(self) -> None:
        verbs = self.resource.verbs
        if self.target.subresource:
            found = self.resource.subresources.get(self.target.subresource)
            if found is None:
                raise no_such_resource()
            verbs = found
        named = bool(self.target.name)
        wrong = self.request.method in ("PUT", "PATCH") and not named
        wrong |= self.request.method == "POST" and named and not self.target.subresource
        unknown = self.target.subresource not in ("", "status", "log", *streams.SUBRESOURCES)
        if wrong or unknown or self.request.verb not in verbs:
            raise method_not_allowed()

    # What is answered.

    def _shown(self, found: Object) -> Object:
        """In the version that was asked for."""
        if self.resource.kind == "Event":
            return events.shown(found, self.resource)
        return found

    def _answer(self, found: Object, status: int = 200) -> None:
        headers = [("Warning", f'299 - "{words}"') for words in self.warnings]
        self.exchange.answer(self.form.one(self._shown(found), self.resource, status, headers))

    def _selected(self, found: Object) -> bool:
        return selects(
            self.query.get("labelSelector", ""), self.query.get("fieldSelector", ""), self._shown(found)
        )

    def _version(self) -> int:
        given = self.query.get("resourceVersion") or "0"
        if not given.isascii() or not given.isdigit():
            message = f'resourceVersion: Invalid value: "{given}": strconv.ParseUint: parsing "{given}": invalid syntax'
            raise Refusal(500, None, message)
        return int(given)

    def _answer_list(self) -> None:
        with self.store.lock:
            version, start = self._version(), ""
            self._not_in_future(version)
            if self.query.get("continue"):
                version, start = self.store.start(self.query["continue"])
            elif self.query.get("resourceVersionMatch") == "Exact":
                self.store.exact(version)
            else:
                version = self.store.version
            found = self.store.at(version, self.resource.storage, self.target.namespace)
        names = {
            key: f"/{key.name}" if self.target.namespace else f"/{key.namespace}/{key.name}" for key in found
        }
        items = [key for key in found if self._selected(found[key]) and f"{names[key]}\0" > start]
        metadata: dict[str, Any] = {"resourceVersion": str(version if version >= 0 else self.store.version)}
        limit = int(self.query.get("limit") or 0)
        if limit and len(items) > limit:
            metadata["continue"] = token_for(version, f"{names[items[limit - 1]]}\0")
            if not self.query.get("labelSelector") and not self.query.get("fieldSelector"):
                metadata["remainingItemCount"] = len(items) - limit
            items = items[:limit]
        shown = [self._shown(found[key]) for key in items]
        self.exchange.answer(self.form.several(shown, self.resource, metadata))

    def _not_in_future(self, version: int) -> None:
        if version > self.store.version:
            cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
            raise Refusal(
                504,
                "Timeout",
                f"Timeout: Too large resource version: {version}, current: {self.store.version}",
                {"causes": [cause], "retryAfterSeconds": 1},
                headers=[("Retry-After", "1")],
            )

    def _watch(self) -> None:
        query, exchange = self.query, self.exchange
        version = self._version()
        bookmarks = query.get("allowWatchBookmarks", "").lower() in ("1", "true")
        initial = version == 0 or query.get("sendInitialEvents", "").lower() in ("1", "true")
        deadline = time.monotonic() + float(query.get("timeoutSeconds") or 1800)
        exchange.kind = (self.resource.api_version, self.resource.kind)
        with self.store.feed() as feed:
            with self.store.lock:
                past: list[Change] = []
                if initial:
                    now = self.store.version
                    there = self.store.at(now, self.resource.storage, self.target.namespace)
                    past = [Change(now, key, None, found) for key, found in there.items()]
                else:
                    try:
                        past = self.store.since(version)
                    except Refusal as refusal:
                        exchange.event("ERROR", refusal.status)
                        exchange.end()
                        return
                    now = version
                list(feed.take())  # what came before the lock is in `past`
                exchange.position = self.store.version
            exchange.start()
            for change in past:
                self._event(change)
            if initial and bookmarks:
                exchange.bookmark(now, initial=True)
            with self.server.watching_now(exchange):
                while (left := deadline - time.monotonic()) > 0:
                    exchange.wait(left, feed)
                    for told in feed.take():
                        if isinstance(told, Change):
                            self._event(told)
                            exchange.position = told.version
                        else:
                            told(exchange)
                        if exchange.ended:
                            return
            exchange.end()

    def _event(self, change: Change) -> None:
        """Send the event that a change is to this watch: an object may enter and leave its selection."""
        key = change.key
        if key.storage != self.resource.storage or self.target.namespace not in ("", key.namespace):
            return
        if self.target.name not in ("", key.name):
            return
        before, after = (
            found if found is not None and self._selected(found) else None
            for found in (change.before, change.after)
        )
        if after is not None:
            kind, shown = "ADDED" if before is None else "MODIFIED", after
        elif before is not None:
            metadata = {**before["metadata"], "resourceVersion": str(change.version)}
            kind, shown = "DELETED", {**before, "metadata": metadata}
        else:
            return
        self.exchange.event(kind, self.form.event(self._shown(shown), self.resource))

    def _log(self) -> None:
        self._existing()
        with self.store.feed() as feed:
            lines = self.server.logs.get((self.key.namespace, self.key.name), [])
            sent = max(0, len(lines) - int(self.query.get("tailLines") or len(lines)))
            if self.query.get("follow", "").lower() not in ("1", "true"):
                words = "".join(f"{line}\n" for line in lines[sent:])
                self.exchange.answer(Answer(200, words.encode(), "text/plain"))
                return
            self.exchange.start(200, content_type=TEXT)
            while True:
                for line in lines[sent:]:
                    self.exchange.chunk(f"{line}\n".encode())
                sent = max(sent, len(lines))
                if self.store.get(self.key) is None:
                    self.exchange.end()
                    return
                self.exchange.wait(None, feed)
                list(feed.take())
                lines = self.server.logs.get((self.key.namespace, self.key.name), [])

    def _stream(self) -> None:
        target = self.target
        # Whoever opens a WebSocket, which is a GET, needs the right to create as well (1.35 on).
        wanted = Attributes("create", "", target.group, target.full, target.namespace, target.name)
        self.server.rules.check(self.user, wanted)
        streams.serve(self.server, self.exchange, self._existing(), target.subresource)

    # What is changed.

    def _existing(self) -> Object:
        found = self.store.get(self.key)
        if found is None:
            raise not_found(self.target.plural, self.target.group, self.target.name)
        return found

    def _body(self) -> Object:
        kind = (self.request.header("Content-Type") or "application/json").partition(";")[0].strip()
        if kind not in ("application/json", "application/yaml", "*/*", protobuf.MEDIA_TYPE):
            raise unsupported_media_type()
        given = validation.decoded(self.request.body, is_yaml=kind == "application/yaml")
        validation.check_kind(given, self.resource)
        given = {**given, "kind": self.resource.kind, "apiVersion": self.resource.api_version}
        validation.check_types(given)
        return given

    def _manager(self, operation: str) -> Manager:
        name = self.query.get("fieldManager") or (self.request.header("User-Agent") or "").partition("/")[0]
        return Manager(name, operation, self.resource.api_version, self.target.subresource)

    def _create(self) -> Object:
        given = self._body()
        if self.target.subresource:
            raise method_not_allowed()
        return self._created(given, self._manager("Update"))

    def _created(self, given: Object, manager: Manager, owned: list[Object] | None = None) -> Object:
        metadata = dict(given.get("metadata") or {})
        if self.resource.namespaced:
            if metadata.setdefault("namespace", self.target.namespace) != self.target.namespace:
                raise bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
        else:
            metadata.pop("namespace", None)
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + "".join(random.choices(_NAMED_BY, k=5))
        if not metadata.get("name"):
            cause = missing("metadata.name", "name or generateName is required")
            raise invalid(self.resource.kind, self.resource.group, "", [cause])
        given = {**given, "metadata": metadata}
        self.warnings += validation.prune(given, self.query.get("fieldValidation", "Warn"))
        validation.check_new(given, self.resource)
        made = copy.deepcopy(given)
        made["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": _now()}
        made["metadata"].pop("resourceVersion", None)
        if self.resource.kind == "Pod":
            made["metadata"]["generation"] = 1
            made["status"] = {"phase": "Pending", "qosClass": "BestEffort"}
        if self.resource.kind == "Namespace":
            made["status"] = {"phase": "Active"}
        made = normal(made)
        if owned is None:
            owned = updated({}, made, manager, _now())
        made["metadata"]["managedFields"] = owned
        if self.resource.kind == "Event":
            made = events.stored(made, self.resource)
        key = Key(self.key.storage, self.key.namespace, metadata["name"])
        with self.store.lock:
            if self.store.get(key) is not None:
                raise already_exists(self.target.plural, self.target.group, metadata["name"])
            return made if self.dry else self.store.put(key, made)

    def _update(self) -> Object:
        given = self._body()
        with self.store.lock:
            before = self._shown(self._existing())
            return self._changed(before, given, self._manager("Update"))

    def _patch(self) -> tuple[Object, int]:
        kind = (self.request.header("Content-Type") or "").partition(";")[0].strip()
        if kind == APPLY:
            return self._apply()
        patcher = _OWN_PATCHES.get(kind)
        if patcher is None:
            raise unsupported_media_type()
        with self.store.lock:
            before = self._shown(self._existing())
            patch = validation.decoded_patch(
                self.request.body, list if patcher is patches.apply_json else dict
            )
            after = patcher(before, patch)
            validation.check_types(after, patched=True)
            self.warnings += validation.prune(after, self.query.get("fieldValidation", "Warn"), patched=True)
            return self._changed(before, after, self._manager("Update")), 200

    def _apply(self) -> tuple[Object, int]:
        if not self.query.get("fieldManager"):
            cause = missing("fieldManager", "is required for apply patch")
            raise invalid("PatchOptions", "meta.k8s.io", "", [cause])
        try:
            given = yaml.safe_load(self.request.body)
        except yaml.YAMLError as error:
            raise bad_request(f"error decoding YAML: {error}") from None
        validation.check_applied(given, self.resource, self.target.namespace, self.target.name)
        manager = self._manager("Apply")
        force = self.query.get("force", "").lower() in ("1", "true")
        with self.store.lock:
            before = self.store.get(self.key)
            if before is None:
                return self._apply_new(given, manager), 201
            before = self._shown(before)
            after, owned = applied(before, given, manager, force=force, now=_now())
            return self._changed(before, after, manager, owned), 200

    def _apply_new(self, given: Object, manager: Manager) -> Object:
        """Create what is applied: that takes the right to."""
        if self.target.subresource:
            self._existing()
        target = self.target
        wanted = Attributes("create", "", target.group, target.full, target.namespace, target.name)
        self.server.rules.check(self.user, wanted)
        if uid := (given.get("metadata") or {}).get("uid"):
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise conflict(target.plural, target.group, target.name, why)
        after, owned = applied({}, given, manager, force=False, now=_now())
        after = {**after, "kind": self.resource.kind, "apiVersion": self.resource.api_version}
        return self._created(after, manager, owned)

    def _changed(
        self, before: Object, after: Object, manager: Manager, owned: list[Object] | None = None
    ) -> Object:
        """Put an object in the place of another, as far as that is allowed. The store is locked."""
        target, resource = self.target, self.resource
        old, new = before["metadata"], dict(after.get("metadata") or {})
        given_name = new.setdefault("name", target.name)
        if given_name != target.name:
            raise bad_request(
                f"the name of the object ({given_name}) does not match the name on the URL ({target.name})"
            )
        if new.get("uid", old["uid"]) != old["uid"]:
            place = "/".join(part for part in (target.plural, target.namespace, target.name) if part)
            why = (
                f"StorageError: invalid object, Code: 4, Key: /registry/{place}, ResourceVersion: 0, "
                f"AdditionalErrorMsg: Precondition failed: UID in precondition: {new['uid']}, "
                f"UID in object meta: {old['uid']}"
            )
            raise conflict(target.plural, target.group, target.name, why)
        if new.get("resourceVersion") not in (None, "", old["resourceVersion"]):
            raise conflict(target.plural, target.group, target.name, MODIFIED)
        for fixed in ("namespace", "uid", "resourceVersion", "creationTimestamp", "generation"):
            if fixed in old:
                new[fixed] = old[fixed]
        after = validation.kept_apart(before, {**after, "metadata": new}, target.subresource, resource)
        validation.check_changed(before, after, resource)
        after = normal(after)
        if owned is None:
            owned = updated(before, after, manager, _now())
        after["metadata"]["managedFields"] = owned
        after = normal(after)
        if _same(before, after):
            return self._stored(before)
        if before.get("spec") != after.get("spec") and "generation" in old:
            after["metadata"]["generation"] = old["generation"] + 1
        kept = self._stored(after)
        return kept if self.dry else self.store.put(self.key, kept)

    def _stored(self, shown: Object) -> Object:
        return events.stored(shown, self.resource) if self.resource.kind == "Event" else shown

    def _delete(self) -> Answer:
        options = validation.decoded(self.request.body) if self.request.body else {}
        with self.store.lock:
            before = self._existing()
            self._precondition(before, options.get("preconditions") or {})
            gone = before if self.dry else self.store.remove(self.key)
        assert gone is not None
        if self.resource.kind == "Pod":
            shown = {**gone, "metadata": {**gone["metadata"], "deletionTimestamp": _now()}}
            return answer(normal(shown))
        said = {"name": self.target.name, "group": self.target.group, "kind": self.target.plural}
        said = {key: value for key, value in said.items() if value} | {"uid": gone["metadata"]["uid"]}
        return answer(
            {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": said}
        )

    def _precondition(self, before: Object, wanted: dict[str, Any]) -> None:
        uid, version = before["metadata"]["uid"], before["metadata"]["resourceVersion"]
        what = ""
        if wanted.get("uid", uid) != uid:
            what = (
                f"the UID in the precondition ({wanted['uid']}) does not match the UID in record ({uid}). "
                "The object might have been deleted and then recreated"
            )
        elif wanted.get("resourceVersion", version) != version:
            what = (
                f"the ResourceVersion in the precondition ({wanted['resourceVersion']}) does not match the "
                f"ResourceVersion in record ({version}). The object might have been modified"
            )
        if what:  # the kind stands where other messages have the resource
            raise conflict(self.resource.kind, self.resource.group, self.target.name, what)

    def _delete_all(self) -> None:
        with self.store.lock:
            found = self.store.at(self.store.version, self.resource.storage, self.target.namespace)
            chosen = [key for key in found if self._selected(found[key])]
            for key in chosen:
                self.store.remove(key)
            metadata = {"resourceVersion": str(self.store.version)}
        shown = [self._shown(found[key]) for key in chosen]
        self.exchange.answer(Form().several(shown, self.resource, metadata))


def _same(before: Object, after: Object) -> bool:
    """Whether nothing has changed; the times of managedFields don't count."""
    return all(
        one == other
        for one, other in zip(_without_times(normal(before)), _without_times(normal(after)), strict=True)
    )


def _without_times(given: Object) -> Iterator[Any]:
    metadata = dict(given["metadata"])
    managed = metadata.pop("managedFields", [])
    yield {**given, "metadata": metadata}
    yield [{key: value for key, value in entry.items() if key != "time"} for entry in managed]


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
