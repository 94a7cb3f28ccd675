"""Whatever happens to a watch: who follows its events knows in the end what there is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kmetad.api import Client, Watch, find_server, path_of
from tests.apiserver import ApiServer, Authority, behaviour, pod
from tests.apiserver.mount import Mount

APP = "system:serviceaccount:lab:app"
PODS = path_of("pods", namespace="lab")
DEADLINE = 60.0

Step = Callable[[ApiServer, Mount], object]
NAMES = st.sampled_from(["a", "b", "c"])


def change(name: str, value: int) -> Step:
    """A Pod is made or changed."""
    return lambda server, _: server.put(pod(name, "lab", labels={"n": str(value)}))


def remove(name: str) -> Step:
    """A Pod goes, if it is there."""
    return lambda server, _: server.remove("Pod", "lab", name)


def interrupt(act: behaviour.Behaviour) -> Step:
    """Something happens to the watches that are open."""
    return lambda server, _: server.interrupt(act)


def refuse(act: behaviour.Behaviour | str, verb: str) -> Step:
    """Something happens to the next request."""
    return lambda server, _: server.script(verb, act)


def renew(server: ApiServer, mounted: Mount) -> None:
    """Another token, the old one no longer good; another CA, and connections cut."""
    old, after = mounted.token, Authority()
    mounted.rotate(token=server.token(APP), ca=server.authority.pem + after.pem)
    server.revoke(old)
    server.rotate_certificate(after)


def settle(server: ApiServer, mounted: Mount) -> None:
    """Nothing: whoever does the steps waits here until the follower has caught up."""


ENDS = [
    behaviour.end,
    behaviour.close,
    behaviour.reset,
    behaviour.torn_line,
    behaviour.torn_connection,
    behaviour.watch_error(410),
    behaviour.watch_error(500),
    behaviour.bookmark,
]
REFUSALS = [behaviour.gone, behaviour.unavailable, behaviour.html(), behaviour.too_many_requests(0)]
STEPS = st.one_of(
    st.builds(change, NAMES, st.integers(0, 9)),
    st.builds(change, NAMES, st.integers(0, 9)),
    st.builds(remove, NAMES),
    st.builds(interrupt, st.sampled_from(ENDS)),
    st.builds(refuse, st.sampled_from([*ENDS[:7], *REFUSALS]), st.just("watch")),
    st.builds(refuse, st.sampled_from([behaviour.close, behaviour.too_short, *REFUSALS[1:]]), st.just("list")),
    st.just(lambda server, _: server.compact()),
    st.just(lambda server, _: server.hang_up()),
    st.just(renew),
    st.just(settle),
    st.just(settle),
)  # fmt: skip


class Follower:
    """Somebody who keeps what the events say."""

    def __init__(self, client: Client) -> None:
        self.known: dict[str, str] = {}
        self._changed = threading.Condition()
        self.watch = Watch(client._transport, PODS, {}, timeout=DEADLINE, wait=lambda seconds: False)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for event in self.watch:
            with self._changed:
                if event.type == "LISTED":
                    self.known = dict(map(_entry, event.object["items"]))
                elif event.type == "DELETED":
                    self.known.pop(_entry(event.object)[0], None)
                else:
                    self.known |= [_entry(event.object)]
                self._changed.notify_all()

    def until(self, known: dict[str, str]) -> None:
        """Wait until this is what is known."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.known == known, DEADLINE), (self.known, known)

    def end(self) -> None:
        """Stop it, and wait for its end."""
        self.watch.stop()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()


def _entry(thing: dict[str, Any]) -> tuple[str, str]:
    return thing["metadata"]["name"], thing["metadata"]["labels"]["n"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the mounts are."""
    return tmp_path_factory.mktemp("accounts")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, max_size=25))
def test_it_converges(directory: Path, steps: list[Step]) -> None:
    """Changes, ends of every kind, refusals, forgotten pasts and rotations, in any order."""
    with ApiServer() as server:
        server.allow(APP, ["list", "watch"], ["pods"], namespace="lab")
        server.put(pod("a", "lab", labels={"n": "0"}))
        mounted = server.mount(directory / str(server.port), APP)
        with Client(find_server(url=server.url, token_path=str(mounted.path)), timeout=DEADLINE) as client:
            follower = Follower(client)
            try:
                # First it is accepted: a token that is renewed twice meanwhile would be a refusal that is raised.
                for step in [settle, *steps, change("last", 0), settle]:
                    step(server, mounted)
                    if step is settle:
                        follower.until(dict(map(_entry, server.objects("Pod", "lab"))))
            finally:
                follower.end()
