"""One request and its answer: sent to the API server with its credentials, once more after a 401, and back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kmetad.api import CredentialsError
from kmetad_ambassador.answer import Answer, How
from kmetad_ambassador.back import Back, Pool
from kmetad_ambassador.front import LINGER, Front
from kmetad_ambassador.headers import request_lines
from kmetad_ambassador.identity import Hidden, Identity, Now
from kmetad_ambassador.incoming import Incoming
from kmetad_ambassador.refusal import Refusal
from kmetad_ambassador.tunnel import Tunnel

REPEATABLE = 256 * 1024
"""Bytes of a body that is sent only when it is there whole, and so can be sent once more. Longer ones are streamed."""


class Exchange:
    """See the module. Made for a request that is allowed; ``target`` is exactly what was checked.

    ``closing``: whether the client's connection is to be closed after the answer.
    """

    def __init__(
        self, front: Front, request: Incoming, target: bytes, host: bytes, *, closing: Callable[[], bool]
    ) -> None:
        self.came = 0
        """Bytes of the request's body."""
        self.renewed = False
        """Whether it was sent again with another token."""
        self.answer: Answer | None = None
        """The answer of the newest try."""
        self.tunnel: Tunnel | None = None
        """Once the protocol is switched."""
        self._front = front
        self._request = request
        self._closing = closing
        self._protocol = request.protocol
        self._ending = False
        self._first = b"%s %s HTTP/1.1\r\nHost: %s\r\n" % (request.method.encode("ascii"), target, host)
        self._host = host.decode("ascii")
        self._lines = b"".join(request_lines(request.headers, request.noted.get(b"connection", b"")))

    @property
    def status(self) -> int:
        """Of the answer; 0 where there is none."""
        return 0 if self.answer is None else self.answer.status

    @property
    def sent(self) -> int:
        """Bytes of bodies to the client."""
        return (0 if self.answer is None else self.answer.sent) + (
            0 if self.tunnel is None else self.tunnel.sent
        )

    def end_early(self) -> None:
        """End the answer in order where it has no end of its own: a watch between two events."""
        self._ending = True
        if self.answer is not None:
            self.answer.end_early()

    async def run(self, identity: Identity, pool: Pool) -> bool:
        """To its end; whether the client's connection may have another request.

        Raises Refusal where the client has to be told why there is no answer.
        """
        loop = asyncio.get_running_loop()
        whole = await self._body()
        new = False
        may_renew = whole is not None
        while True:
            try:
                now = identity.now(loop.time()) or await identity.look()
                back = await pool.take(now, new=new)
            except CredentialsError as error:
                raise _no_credentials(error) from None
            answer = self.answer = Answer(
                self._front,
                self._request,
                back,
                self._protocol,
                repeatable=whole is not None,
                may_renew=may_renew,
                closing=self._closing,
            )
            if self._ending:
                answer.end_early()
            sent_at = loop.time()
            how = await self._once(back, answer, now, whole)
            if how == "unauthorized":
                may_renew = False
                try:
                    self.renewed = await identity.renew(now, sent_at) is not None
                except CredentialsError as error:
                    raise _no_credentials(error) from None
                if self.renewed:
                    continue
                answer.let_go()
            elif how == "stale":
                new = True
                continue
            elif how == "switched":
                await self._switch(back)
                return False
            elif how == "broken" and not answer.begun:
                raise Refusal(502, "server", f"the API server at {self._host}: {answer.fault}")
            elif how in ("broken", "gone"):
                self._front.cut()
                return False
            return not answer.last

    async def _once(self, back: Back, answer: Answer, now: Now, whole: bytes | None) -> How:
        """One try."""
        front = self._front
        front.watcher = answer
        if front.gone:
            answer.client_gone()
            return "gone"
        try:
            back.send(
                Hidden(b"".join((self._first, self._lines, now.lines, self._framing(whole), whole or b""))),
                answer,
                whole=whole is not None,
                to_head=self._request.method == "HEAD",
            )
            if whole is not None:
                return await answer.done
            return await self._stream(back, answer)
        except BaseException:
            back.close()
            raise
        finally:
            front.watcher = None

    def _framing(self, whole: bytes | None) -> bytes:
        """What tells where the body ends, and the end of the head."""
        if self._protocol is not None:
            length = b"Content-Length: 0\r\n" if self._request.method != "GET" else b""
            return b"%sConnection: Upgrade\r\nUpgrade: %s\r\n\r\n" % (length, self._protocol)
        size = self._request.length if whole is None else len(whole)
        if size is None:
            return b"Transfer-Encoding: chunked\r\n\r\n"
        if size or self._request.method not in ("GET", "HEAD", "DELETE"):
            return b"Content-Length: %d\r\n\r\n" % size
        return b"\r\n"

    async def _body(self) -> bytes | None:
        """The whole body, where it is short; None where it is streamed."""
        request = self._request
        if request.complete and not request.body:
            return b""
        if not request.complete and b"expect" in request.noted:
            self._front.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not request.complete and (request.length is None or request.length > REPEATABLE):
            return None
        pieces = []
        while piece := await self._piece():
            pieces.append(piece)
        return b"".join(pieces)

    async def _piece(self) -> bytes:
        piece = await self._front.piece(self._request)
        self.came += len(piece)
        return piece

    async def _stream(self, back: Back, answer: Answer) -> How:
        """Send the body as it comes. The server may answer before it has all of it."""
        upload = asyncio.ensure_future(self._upload(back, answer))
        try:
            await asyncio.wait((upload, answer.done), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done.done():
                try:
                    upload.result()
                except Refusal:
                    if answer.begun:
                        raise ConnectionError from None  # too late for another answer
                    raise
            return await answer.done
        finally:
            upload.cancel()
            await asyncio.wait((upload,))  # which takes note of what it raised, too

    async def _upload(self, back: Back, answer: Answer) -> None:
        chunked = self._request.length is None
        answer.taking = asyncio.Event()
        while piece := await self._piece():
            answer.taking.clear()
            if not back.more(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece):
                await answer.taking.wait()
        back.more(b"0\r\n\r\n" if chunked else b"", last=True)

    async def _switch(self, back: Back) -> None:
        """From here on, neither side speaks HTTP."""
        front = self._front
        self.tunnel = Tunnel(front.line, back.line)
        try:
            await self.tunnel.run(back.rest, front.rest)
        finally:
            self.came += self.tunnel.came
            front.line.receiver = front
            back.close_when_written(LINGER)
            front.close()


def _no_credentials(error: CredentialsError) -> Refusal:
    # A kubeconfig's command may have said anything: that is for the log.
    message = "the proxy has no credentials for the API server now; its log says why"
    return Refusal(502, "server", message, detail=str(error))
