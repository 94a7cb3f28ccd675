"""As whom the server is asked: one look at a time, a second old at most, and never again what was refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, TypeVar

import pytest
from kmetad_ambassador import identity as module
from kmetad_ambassador.identity import FRESH, Identity, Now

from kmetad.api import Credentials, CredentialsError, Server, Trust
from tests.apiserver import Authority
from tests.proxying import DEADLINE


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks are waited for, however busy the machine is; but for those tests that are about not waiting."""
    monkeypatch.setattr(module, "PATIENCE", DEADLINE)


T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]
HERE = Authority()
THERE = Authority()


class Clocked(asyncio.SelectorEventLoop):
    """An event loop whose clock can be set forward."""

    skipped = 0.0

    def time(self) -> float:
        """The loop's own, and what was skipped."""
        return super().time() + self.skipped


class Known(Credentials):
    """Credentials that say what they are told, and can be held while they are looked at."""

    def __init__(self, token: str = "a", ca: bytes = HERE.pem) -> None:
        self.token_now = token
        self.ca = ca
        self.cert = b""
        self.fault: Exception | None = None
        self.looks = self.renewals = self.rereads = 0
        self.renewed: Callable[[], bool] = lambda: False
        self._hold = False
        self._began = threading.Event()
        self._go_on = threading.Event()

    def headers(self) -> Mapping[str, str]:
        self.looks += 1
        token, fault = self.token_now, self.fault
        if self._hold:
            self._hold = False
            self._began.set()
            assert self._go_on.wait(DEADLINE)
        if fault is not None:
            raise fault
        return {"Authorization": f"Bearer {token}"}

    def trust(self) -> Trust:
        return Trust(self.ca, self.cert)

    def reread(self) -> None:
        self.rereads += 1

    def renew(self, sent: Mapping[str, str]) -> bool:
        self.renewals += 1
        return self.renewed()

    def hold(self) -> None:
        """The next look finds what there is now, and then waits."""
        self._began.clear()
        self._go_on.clear()
        self._hold = True

    async def held(self) -> None:
        """Until it waits."""
        assert await asyncio.to_thread(self._began.wait, DEADLINE)

    def let_go(self) -> None:
        """It goes on."""
        self._go_on.set()


@pytest.fixture
def loop() -> Iterator[Clocked]:
    """A loop of the test's."""
    made = Clocked()
    complaints: list[dict[str, Any]] = []
    made.set_exception_handler(lambda _, context: complaints.append(context))
    yield made
    made.run_until_complete(made.shutdown_default_executor())
    made.close()
    assert complaints == []


@pytest.fixture
def run(loop: Clocked) -> Run[Any]:
    """Runs something in it to its end."""
    return lambda coroutine: loop.run_until_complete(asyncio.wait_for(coroutine, DEADLINE))


def at(known: Credentials, url: str = "https://kube.test", *, verify: bool = True) -> Identity:
    """The identity at a server."""
    return Identity(Server(url, known, verify=verify))


def token(now: Now | None) -> str | None:
    """Which one would be sent."""
    if now is None:
        return None
    header = now.headers.get("Authorization", "")
    assert now.lines == "".join(f"{name}: {value}\r\n" for name, value in now.headers.items()).encode()
    return header.removeprefix("Bearer ")


async def refused(identity: Identity, sent: Now, at: float | None = None) -> Now | None:
    """What may be sent instead of what the server didn't accept; by default it was sent just now."""
    return await identity.renew(sent, asyncio.get_running_loop().time() if at is None else at)


async def turns(count: int = 20) -> None:
    """Let all tasks go as far as they come by themselves."""
    for _ in range(count):
        await asyncio.sleep(0)


# -- looking -----------------------------------------------------------------------------


def test_who_comes_meanwhile_waits_for_the_same_look(run: Run[Any]) -> None:
    """Many at once are one look, and have the same."""
    known = Known()
    identity = at(known)

    async def check() -> None:
        known.hold()
        looks = [asyncio.ensure_future(identity.look()) for _ in range(10)]
        await known.held()
        looks += [asyncio.ensure_future(identity.look()) for _ in range(10)]
        await turns()
        known.let_go()
        found = await asyncio.gather(*looks)
        assert {id(now) for now in found} == {id(found[0])}
        assert (known.looks, token(found[0])) == (1, "a")

    run(check())


def test_who_leaves_takes_nothing_from_the_others(run: Run[Any]) -> None:
    """Also whoever came first."""
    known = Known()
    identity = at(known)

    async def check() -> None:
        known.hold()
        looks = [asyncio.ensure_future(identity.look()) for _ in range(3)]
        await known.held()
        looks[0].cancel()
        looks[2].cancel()
        await turns()
        known.let_go()
        assert token(await looks[1]) == "a"
        assert [look.cancelled() for look in looks] == [True, False, True]
        assert known.looks == 1

    run(check())


def test_a_look_is_good_for_a_while(loop: Clocked, run: Run[Any]) -> None:
    """By the loop's clock; from then on another is needed."""
    known = Known()
    identity = at(known)
    assert identity.now(loop.time()) is None
    found = run(identity.look())
    at_once = loop.time()
    assert identity.now(at_once) is found
    assert identity.now(at_once + FRESH) is None
    loop.skipped += FRESH
    assert identity.now(loop.time()) is None
    known.token_now = "b"
    assert token(run(identity.look())) == "b"
    assert token(identity.now(loop.time())) == "b"


def test_the_context_is_kept_as_long_as_the_trust(run: Run[Any]) -> None:
    """Connections are told by it, and a new one would cost a handshake."""
    known = Known()
    identity = at(known)
    first = run(identity.look())
    known.token_now = "b"
    second = run(identity.look())
    assert second.context is first.context is not None
    known.ca = THERE.pem
    third = run(identity.look())
    assert third.context is not second.context
    assert (third.trust.ca, token(third)) == (THERE.pem, "b")


@pytest.mark.parametrize("cut", [0, 20, 40, -40])
def test_a_ca_that_isnt_whole(run: Run[Any], cut: int) -> None:
    """The one before stays, and the token is the new one all the same."""
    half, known = THERE.pem[:cut], Known()
    identity = at(known)
    first = run(identity.look())
    known.ca, known.token_now = half, "b"
    second = run(identity.look())
    assert (second.context, second.trust, token(second)) == (first.context, first.trust, "b")
    assert run(identity.reread(second)) is None
    known.ca = THERE.pem
    third = run(identity.look())
    assert third.trust.ca == THERE.pem


def test_a_ca_that_isnt_whole_at_first(run: Run[Any]) -> None:
    """There is none before."""
    known = Known(ca=THERE.pem[:-40])
    identity = at(known)
    with pytest.raises(CredentialsError, match="no whole certificate"):
        run(identity.look())
    known.ca = THERE.pem
    assert run(identity.look()).trust.ca == THERE.pem


@pytest.mark.parametrize(
    ("url", "verify", "secure"),
    [
        ("http://kube.test", True, False),
        ("https://kube.test", False, False),
        ("https://kube.test", True, True),
    ],
)
def test_credentials_are_for_verified_https_alone(
    run: Run[Any], url: str, verify: bool, secure: bool
) -> None:
    """Else they aren't even asked for, and a refusal changes nothing."""
    known = Known()
    known.renewed = lambda: True
    identity = at(known, url, verify=verify)
    now = run(identity.look())
    assert bool(now.headers) is bool(now.lines) is secure
    assert (now.context is None) is url.startswith("http:")
    if not secure:
        assert run(refused(identity, now)) is None
        assert (known.looks, known.renewals) == (0, 0)


# -- faults ------------------------------------------------------------------------------


def test_a_first_look_that_fails(loop: Clocked, run: Run[Any]) -> None:
    """All who wait are told; the next one looks again."""
    known = Known()
    known.fault = CredentialsError("no token")
    identity = at(known)

    async def check() -> None:
        known.hold()
        looks = [asyncio.ensure_future(identity.look()) for _ in range(3)]
        await known.held()
        known.let_go()
        for answer in await asyncio.gather(*looks, return_exceptions=True):
            assert isinstance(answer, CredentialsError)

    run(check())
    assert identity.now(loop.time()) is None
    known.fault = None
    assert token(run(identity.look())) == "a"
    assert known.looks == 2


def test_a_first_look_that_fails_and_nobody_waits_for(run: Run[Any]) -> None:
    """Nobody complains of an exception that was never taken (the fixture checks)."""
    known = Known()
    known.fault = CredentialsError("no token")
    identity = at(known)

    async def check() -> None:
        known.hold()
        look = asyncio.ensure_future(identity.look())
        await known.held()
        look.cancel()
        await turns()
        known.let_go()
        known.fault = None
        for _ in range(1000):
            try:
                assert token(await identity.look()) == "a"
            except CredentialsError:
                continue  # that was still the first one
            return
        raise AssertionError("it fails for good")

    run(check())


def test_a_later_look_that_fails(loop: Clocked, run: Run[Any]) -> None:
    """What there was goes on, and isn't looked at again for each request."""
    known = Known()
    identity = at(known)
    run(identity.look())
    known.fault = CredentialsError("half-written")
    assert token(run(identity.look())) == "a"
    assert token(identity.now(loop.time())) == "a"
    known.fault, known.token_now = None, "b"
    loop.skipped += FRESH
    assert token(run(identity.look())) == "b"


@pytest.mark.parametrize("known_before", [False, True])
def test_faults_of_other_kinds(run: Run[Any], known_before: bool) -> None:
    """They are raised as they are, to whoever waits, and nothing is remembered of them."""
    known = Known()
    identity = at(known)
    if known_before:
        run(identity.look())
    known.fault = OSError("no more files")
    with pytest.raises(OSError, match="no more files"):
        run(identity.look())
    known.fault, known.token_now = None, "b"
    assert token(run(identity.look())) == "b"


# -- something has been replaced ---------------------------------------------------------


def test_look_again_from_another_thread(loop: Clocked, run: Run[Any]) -> None:
    """The next request looks, however fresh the last look is."""
    known = Known()
    identity = at(known)
    run(identity.look())
    known.token_now = "b"
    thread = threading.Thread(target=identity.look_again)
    thread.start()
    thread.join()
    assert identity.now(loop.time()) is None
    assert token(run(identity.look())) == "b"


def test_look_again_during_a_look(loop: Clocked, run: Run[Any]) -> None:
    """What that look finds may be old, and isn't fresh for anybody."""
    known = Known()
    identity = at(known)

    async def check() -> None:
        known.hold()
        look = asyncio.ensure_future(identity.look())
        await known.held()
        known.token_now = "b"
        await asyncio.to_thread(identity.look_again)
        known.let_go()
        await look
        assert token(identity.now(loop.time()) or await identity.look()) == "b"

    run(check())


def test_who_comes_after_look_again_during_a_look(run: Run[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """That look began before, so another one is needed, once it is over."""
    monkeypatch.setattr(module, "PATIENCE", DEADLINE)
    known = Known()
    identity = at(known)

    async def check() -> None:
        await identity.look()
        known.hold()
        first = asyncio.ensure_future(identity.look())
        await known.held()
        known.token_now = "b"
        await asyncio.to_thread(identity.look_again)
        second = asyncio.ensure_future(identity.look())
        await turns()
        known.let_go()
        await first
        assert token(await second) == "b"

    run(check())


def test_what_was_found_last_is_good_while_a_look_is_slow(
    run: Run[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for a command of a kubeconfig who has something to send; what it brings comes with the next."""
    monkeypatch.setattr(module, "PATIENCE", 0.001)
    known = Known()
    identity = at(known)

    async def check() -> None:
        await identity.look()
        known.token_now = "b"
        known.hold()
        assert token(await identity.look()) == "a"
        await known.held()
        assert token(await identity.look()) == "a"
        assert known.looks == 2
        known.let_go()
        monkeypatch.setattr(module, "PATIENCE", DEADLINE)
        identity.look_again()
        assert token(await identity.look()) == "b"

    run(check())


# -- refused -----------------------------------------------------------------------------


def test_another_token(run: Run[Any]) -> None:
    """It is looked for, and found."""
    known = Known()
    identity = at(known)
    sent = run(identity.look())

    def renewed() -> bool:
        known.token_now = "b"
        return True

    known.renewed = renewed
    assert token(run(refused(identity, sent))) == "b"
    assert known.renewals == 1


def test_no_other_token(run: Run[Any]) -> None:
    """None; and what is in force stays so."""
    known = Known()
    identity = at(known)
    sent = run(identity.look())
    assert run(refused(identity, sent)) is None
    assert known.renewals == 1
    assert token(run(identity.look())) == "a"


def test_many_refusals_at_once(run: Run[Any]) -> None:
    """They are one renewal, whether it finds another token or not."""
    for found in (True, False):
        known = Known()
        identity = at(known)
        together = threading.Event()

        async def check(
            found: bool = found,
            known: Known = known,
            identity: Identity = identity,
            together: threading.Event = together,
        ) -> None:
            sent = await identity.look()

            def renewed() -> bool:
                assert together.wait(DEADLINE)
                known.token_now = "b" if found else "a"
                return found

            known.renewed = renewed
            renewals = [asyncio.ensure_future(refused(identity, sent)) for _ in range(10)]
            await turns()
            together.set()
            answers = [token(now) for now in await asyncio.gather(*renewals)]
            assert answers == (["b"] * 10 if found else [None] * 10)
            assert known.renewals == 1

        run(check())


def test_refusals_one_after_the_other(loop: Clocked, run: Run[Any]) -> None:
    """Nothing else was found: for a while no command is run again for it, but what a look finds is taken."""
    known = Known()
    identity = at(known)
    sent = run(identity.look())
    before = loop.time()
    for _ in range(3):
        assert run(refused(identity, sent, before)) is None
    assert known.renewals == 1
    loop.skipped += FRESH / 2
    assert run(refused(identity, sent)) is None
    assert known.renewals == 1
    loop.skipped += FRESH
    assert run(refused(identity, sent)) is None
    assert known.renewals == 2
    known.token_now = "another"
    found = run(refused(identity, sent))
    assert token(found) == "another"
    assert known.renewals == 2


def test_a_refusal_that_comes_after_somebody_said_that_there_is_another_token(
    loop: Clocked, run: Run[Any]
) -> None:
    """It was sent before nothing else was found, and that isn't so any more."""
    known = Known()
    identity = at(known)
    sent = run(identity.look())
    before = loop.time()
    assert run(refused(identity, sent, before)) is None

    def renewed() -> bool:
        return True

    known.token_now, known.renewed = "b", renewed
    identity.look_again()
    assert token(run(refused(identity, sent, before))) == "b"


def test_a_refusal_that_comes_late(run: Run[Any]) -> None:
    """Another request has found another token already: nothing is asked for, and that is the answer."""
    known = Known()
    identity = at(known)
    sent = run(identity.look())
    known.token_now = "b"
    run(identity.look())
    assert token(run(refused(identity, sent))) == "b"


def test_a_refusal_after_another_ca_has_come(run: Run[Any]) -> None:
    """That is no other credential: the same token isn't sent again."""
    known = Known()
    identity = at(known)
    sent = run(identity.look())
    known.ca = THERE.pem
    run(identity.look())
    assert run(refused(identity, sent)) is None


def test_another_certificate(run: Run[Any]) -> None:
    """It is a credential of this side, too; also where another request has found it already."""
    for before in (False, True):
        known = Known()
        identity = at(known)
        known.cert = pem(HERE, "first")
        sent = run(identity.look())
        known.cert = pem(HERE, "second")
        known.renewed = lambda before=before: not before  # type: ignore[misc]
        if before:
            run(identity.look())
        now = run(refused(identity, sent))
        assert now is not None
        assert now.trust.cert == known.cert
        assert now.context is not sent.context


def pem(authority: Authority, user: str) -> bytes:
    """A client certificate with its key."""
    issued = authority.client(user)
    return issued.certificate + issued.key


def test_a_renewal_isnt_answered_by_a_look_that_began_before(loop: Clocked, run: Run[Any]) -> None:
    """That has read the old token, and is still under way when the new one is there."""
    known = Known()
    identity = at(known)

    async def check() -> None:
        sent = await identity.look()
        known.hold()
        old = asyncio.ensure_future(identity.look())
        await known.held()

        def renewed() -> bool:
            known.token_now = "b"
            return True

        known.renewed = renewed
        renewal = asyncio.ensure_future(refused(identity, sent))
        while known.renewals == 0:
            await asyncio.sleep(0)
        await turns()
        known.let_go()
        assert token(await renewal) == "b"
        await old
        assert token(identity.now(loop.time())) == "b", "whichever look was over first"

    run(check())


def test_a_reread_isnt_answered_by_a_look_that_began_before(run: Run[Any]) -> None:
    """Likewise for the CA."""

    class Slow(Known):
        def trust(self) -> Trust:
            ca = self.ca
            super().headers()
            return Trust(ca)

        def headers(self) -> Mapping[str, str]:
            return {"Authorization": "Bearer a"}

    known = Slow()
    identity = at(known)

    async def check() -> None:
        seen = await identity.look()
        known.hold()
        old = asyncio.ensure_future(identity.look())
        await known.held()
        known.ca = THERE.pem
        reread = asyncio.ensure_future(identity.reread(seen))
        while known.rereads == 0:
            await asyncio.sleep(0)
        await turns()
        known.let_go()
        found = await reread
        assert found is not None and found.trust.ca == THERE.pem
        await old

    run(check())


def test_a_renewal_whose_look_fails(run: Run[Any]) -> None:
    """Another one was told of, and can't be had: the old one isn't it."""
    known = Known()
    identity = at(known)
    sent = run(identity.look())

    def renewed() -> bool:
        known.fault = CredentialsError("gone again")
        return True

    known.renewed = renewed
    try:
        now = run(refused(identity, sent))
    except CredentialsError:
        now = None
    assert token(now) != "a"


def test_a_renewal_that_fails(run: Run[Any]) -> None:
    """All who wait are told, and the next refusal tries again."""
    known = Known()
    identity = at(known)
    sent = run(identity.look())

    def fails() -> bool:
        raise CredentialsError("the plugin ended with 1")

    known.renewed = fails

    async def check() -> None:
        renewals = [asyncio.ensure_future(refused(identity, sent)) for _ in range(3)]
        for answer in await asyncio.gather(*renewals, return_exceptions=True):
            assert isinstance(answer, CredentialsError)

    run(check())

    def renewed() -> bool:
        known.token_now = "b"
        return True

    known.renewed = renewed
    assert token(run(refused(identity, sent))) == "b"


def test_a_renewal_that_nobody_waits_for_any_more(run: Run[Any]) -> None:
    """Its clients have gone; it comes to its end all the same, for the next."""
    known = Known()
    identity = at(known)
    together = threading.Event()

    async def check() -> None:
        sent = await identity.look()

        def renewed() -> bool:
            assert together.wait(DEADLINE)
            known.token_now = "b"
            return True

        known.renewed = renewed
        renewals = [asyncio.ensure_future(refused(identity, sent)) for _ in range(2)]
        await turns()
        for renewal in renewals:
            renewal.cancel()
        await turns()
        together.set()
        assert token(await refused(identity, sent)) == "b"
        assert known.renewals == 1

    run(check())


def test_a_token_that_comes_after_it_was_looked_for(loop: Clocked, run: Run[Any]) -> None:
    """The next refusal finds it, at the latest after the next look; at once when somebody says that it has come."""
    for told in (True, False):
        known = Known()
        identity = at(known)
        sent = run(identity.look())
        assert run(refused(identity, sent)) is None
        known.token_now = "b"
        known.renewed = lambda: True
        if told:
            identity.look_again()
        else:
            loop.skipped += FRESH
        now = identity.now(loop.time()) or run(identity.look())
        assert token(now) == "b"


# -- what it shows -----------------------------------------------------------------------


def test_what_is_in_force_shows_no_secret(run: Run[Any]) -> None:
    """Not by repr, however deep."""
    known = Known("MARKER")
    known.cert = pem(HERE, "MARKER")
    identity = at(known)
    now = run(identity.look())
    for shown in (repr(now), repr(identity), f"{now}", f"{identity}", repr([now]), repr(now.trust)):
        assert "MARKER" not in shown
        assert "PRIVATE KEY" not in shown
